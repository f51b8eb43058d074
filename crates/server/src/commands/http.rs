//! One small question to a server on this machine, without a client library: plain HTTP/1.0 on loopback.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use panda_domain::secret::Secret;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The longest answer that is read.
const LIMIT_BYTES: u64 = 1 << 20;

/// Returns status and body of a GET.
pub(super) async fn get(address: SocketAddr, path: &str, limit: Duration) -> Result<(u16, String)> {
    get_with(address, path, "", limit).await
}

/// Returns status and body of a GET by somebody with a token.
pub(super) async fn get_as(
    token: &Secret,
    address: SocketAddr,
    path: &str,
    limit: Duration,
) -> Result<(u16, String)> {
    get_with(address, path, &format!("Authorization: Bearer {}\r\n", token.reveal()), limit).await
}

async fn get_with(address: SocketAddr, path: &str, header: &str, limit: Duration) -> Result<(u16, String)> {
    let asking = async {
        let mut stream =
            TcpStream::connect(address).await.with_context(|| format!("connect to {address}"))?;
        let request =
            format!("GET {path} HTTP/1.0\r\nHost: {address}\r\nAccept: application/json\r\n{header}\r\n");
        stream.write_all(request.as_bytes()).await.with_context(|| format!("ask {address}"))?;
        let mut answer = Vec::new();
        stream.take(LIMIT_BYTES).read_to_end(&mut answer).await.with_context(|| format!("hear {address}"))?;
        parse(&String::from_utf8_lossy(&answer))
    };
    match tokio::time::timeout(limit, asking).await {
        Ok(outcome) => outcome,
        Err(_) => bail!("no answer from {address} within {} s", limit.as_secs()),
    }
}

fn parse(answer: &str) -> Result<(u16, String)> {
    let (head, body) = answer.split_once("\r\n\r\n").context("the answer isn't HTTP")?;
    let status =
        head.split(' ').nth(1).and_then(|status| status.parse().ok()).context("the answer isn't HTTP")?;
    Ok((status, body.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn status_and_body_are_read_from_a_real_socket() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = [0; 512];
            let read = stream.read(&mut head).await.unwrap();
            stream.write_all(b"HTTP/1.0 503 Service Unavailable\r\nA: b\r\n\r\nnot yet").await.unwrap();
            String::from_utf8_lossy(&head[..read]).into_owned()
        });
        let answer = get(address, "/readyz", Duration::from_secs(5)).await.unwrap();
        assert_eq!(answer, (503, "not yet".to_owned()));
        assert!(serving.await.unwrap().starts_with("GET /readyz HTTP/1.0\r\n"));
    }

    #[test]
    fn what_is_not_http_is_an_error() {
        assert!(parse("SSH-2.0-x").is_err());
    }
}
