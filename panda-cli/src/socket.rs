//! A terminal over a WebSocket: keys go there, output comes back, the last word is the exit code.

use std::io::{IsTerminal, Read, Write};
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use panda_api_types::{ErrorCode, Problem};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use serde::Deserialize;
use tokio::net::TcpStream;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::{Error as SocketError, Message};
use tokio_tungstenite::{Connector, MaybeTlsStream, WebSocketStream, client_async_tls_with_config};

use crate::api::{Ask, loopback, network};
use crate::error::{CliError, Result};
use crate::target::{Server, is_loopback};

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

const CONNECT: Duration = Duration::from_secs(15);
/// How often the other side is asked for a sign of life.
const PING: Duration = Duration::from_secs(20);
const STANDARD_OUT: u8 = 1;

/// What the server says in text messages.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Word {
    Exit(i64),
    Problem(Box<Problem>),
}

/// Opens a WebSocket to a path of the API.
pub(crate) async fn connect(server: &Server, ask: &Ask) -> Result<Socket> {
    match tokio::time::timeout(CONNECT, open(server, ask)).await {
        Ok(result) => result,
        Err(_) => Err(CliError::new(ErrorCode::Timeout, format!("`{}` doesn't answer", server.url))),
    }
}

async fn open(server: &Server, ask: &Ask) -> Result<Socket> {
    let mut url = ask.url(&server.url);
    let scheme = if url.scheme() == "https" { "wss" } else { "ws" };
    url.set_scheme(scheme).expect("both are web schemes");
    let mut request = url.as_str().into_client_request().map_err(|error| network(&error, &server.url))?;
    if let Some(token) = &server.token {
        let value = format!("Bearer {token}").parse().map_err(|_| {
            CliError::new(ErrorCode::Unauthenticated, "the token has characters that no token has")
                .hint("run `panda login`")
        })?;
        request.headers_mut().insert("authorization", value);
    }
    let stream = if is_loopback(&server.url) {
        TcpStream::connect(&loopback(&server.url)[..]).await
    } else {
        let host = server.url.host_str().unwrap_or_default().trim_matches(['[', ']']);
        TcpStream::connect((host, server.url.port_or_known_default().unwrap_or(443))).await
    };
    let stream = stream.map_err(|error| network(&error, &server.url))?;
    let connected = client_async_tls_with_config(request, stream, None, connector(server)?).await;
    connected.map(|(socket, _)| socket).map_err(|error| refused(&error, server))
}

fn connector(server: &Server) -> Result<Option<Connector>> {
    let Some(pem) = &server.ca else { return Ok(None) };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let added = certificate.ok().map(|certificate| roots.add(certificate));
        if !matches!(added, Some(Ok(()))) {
            return Err(CliError::new(
                ErrorCode::InvalidRequest,
                "the pinned authority is no PEM certificate",
            ));
        }
    }
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    Ok(Some(Connector::Rustls(Arc::new(config))))
}

fn refused(error: &SocketError, server: &Server) -> CliError {
    let SocketError::Http(response) = error else { return network(error, &server.url) };
    let body = response.body().as_deref().unwrap_or_default();
    if let Ok(problem) = serde_json::from_slice::<Problem>(body) {
        return CliError::from(problem);
    }
    let code = match response.status().as_u16() {
        401 => ErrorCode::Unauthenticated,
        403 => ErrorCode::Forbidden,
        404 => ErrorCode::NotFound,
        _ => ErrorCode::Unavailable,
    };
    CliError::new(code, format!("`{}` answered {}", server.url, response.status()))
}

/// Tells whether both ends of a terminal are there.
pub(crate) fn has_terminal() -> bool {
    std::io::stdin().is_terminal() && std::io::stdout().is_terminal()
}

/// Returns columns and rows.
pub(crate) fn terminal_size() -> Option<(u16, u16)> {
    crossterm::terminal::size().ok()
}

/// Carries input and output until the command ends; returns its exit code.
pub(crate) async fn carry(mut socket: Socket, first: Option<String>, tty: bool) -> Result<u8> {
    if let Some(first) = first {
        send(&mut socket, Message::text(first)).await?;
    }
    let _raw = if tty { Some(RawTerminal::enter()?) } else { None };
    let mut input = read_input();
    let mut resized = signal(SignalKind::window_change())
        .map_err(|error| CliError::new(ErrorCode::Internal, format!("listen for resizes: {error}")))?;
    let mut ping = tokio::time::interval(PING);
    let mut open = true;
    loop {
        tokio::select! {
            message = socket.next() => match message {
                Some(Ok(message)) => if let Some(exit) = received(message)? { return Ok(exit) },
                Some(Err(error)) => return Err(broken(&error.to_string())),
                None => return Err(broken("the server ended it without an exit code")),
            },
            bytes = input.recv(), if open => {
                open = bytes.is_some();
                let message = bytes.map_or_else(|| Message::text(r#"{"eof":true}"#), Message::binary);
                send(&mut socket, message).await?;
            }
            _ = resized.recv(), if tty => if let Some((columns, rows)) = terminal_size() {
                send(&mut socket, Message::text(format!(r#"{{"resize":[{columns},{rows}]}}"#))).await?;
            },
            _ = ping.tick() => send(&mut socket, Message::Ping(Vec::new().into())).await?,
        }
    }
}

/// Sends; a connection that the server has closed is no error here, because its last word (the exit code,
/// or why it refused) is still to be read.
async fn send(socket: &mut Socket, message: Message) -> Result<()> {
    use SocketError::{AlreadyClosed, ConnectionClosed, Io, Protocol};
    match socket.send(message).await {
        Ok(())
        | Err(ConnectionClosed | AlreadyClosed | Io(_) | Protocol(ProtocolError::SendAfterClosing)) => Ok(()),
        Err(error) => Err(broken(&error.to_string())),
    }
}

fn broken(why: &str) -> CliError {
    CliError::new(ErrorCode::Unavailable, format!("the connection broke off: {why}"))
}

/// Prints output as it is: a terminal session is the command's own, control codes included.
fn received(message: Message) -> Result<Option<u8>> {
    match message {
        Message::Binary(bytes) => {
            let Some((stream, bytes)) = bytes.split_first() else { return Ok(None) };
            // When nobody reads any more, the command ends by itself or by Ctrl-C.
            let _ = if *stream == STANDARD_OUT {
                let mut out = std::io::stdout().lock();
                out.write_all(bytes).and_then(|()| out.flush())
            } else {
                let mut err = std::io::stderr().lock();
                err.write_all(bytes).and_then(|()| err.flush())
            };
            Ok(None)
        }
        Message::Text(text) => match serde_json::from_str(text.as_str()) {
            Ok(Word::Exit(code)) => Ok(Some(u8::try_from(code).unwrap_or(1))),
            Ok(Word::Problem(problem)) => Err(CliError::from(*problem)),
            // Other words are for later versions.
            Err(_) => Ok(None),
        },
        _ => Ok(None),
    }
}

/// Reads stdin on a thread of its own: a blocked read can't be taken back, it ends with the process.
fn read_input() -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel(8);
    std::thread::spawn(move || {
        let mut buffer = vec![0; 16 << 10];
        while let Ok(length) = std::io::stdin().lock().read(&mut buffer) {
            if length == 0 || sender.blocking_send(buffer[..length].to_vec()).is_err() {
                return;
            }
        }
    });
    receiver
}

/// The terminal without line editing; given back when dropped.
struct RawTerminal;

impl RawTerminal {
    fn enter() -> Result<Self> {
        crossterm::terminal::enable_raw_mode()
            .map_err(|error| CliError::new(ErrorCode::Internal, format!("switch the terminal: {error}")))?;
        Ok(Self)
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        // There is nobody left to tell; `reset` helps by hand.
        let _ = crossterm::terminal::disable_raw_mode();
    }
}
