//! The program itself: flags, signals, and one process taking over from another.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use panda_edge::client::EdgeClient;
use panda_edge::protocol::Snapshot;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};

use crate::support::{Upstream, eventually, get, read_until, route};
use crate::tcp::{Repeater, free_port, tcp_route};

fn edge(folder: &Path, http: &str) -> Child {
    #[expect(clippy::disallowed_methods, reason = "the program under test is the process")]
    Command::new(env!("CARGO_BIN_EXE_panda-edge"))
        .args(["--http", http, "--https", "127.0.0.1:0", "--workers", "2", "--drain-grace", "1"])
        .arg("--control")
        .arg(folder.join("edge.sock"))
        .arg("--state-dir")
        .arg(folder.join("state"))
        .stderr(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

fn terminate(child: &Child) {
    let pid = child.id().unwrap().to_string();
    #[expect(clippy::disallowed_methods, reason = "the standard library has no SIGTERM")]
    let status = std::process::Command::new("kill").args(["-TERM", &pid]).status();
    assert!(status.unwrap().success());
}

async fn running(client: &EdgeClient, child: &Child) {
    let pid = child.id().unwrap();
    eventually("the edge runs", || async { client.status().await.is_ok_and(|status| status.pid == pid) })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_process_takes_over_and_no_request_fails() {
    let folder = tempfile::tempdir().unwrap();
    let (app, repeater) = (Upstream::start("app").await, Repeater::start("tcp").await);
    let port = free_port().await;
    let mut old = edge(folder.path(), "127.0.0.1:0");
    let client = EdgeClient::new(folder.path().join("edge.sock"));
    running(&client, &old).await;
    let address = client.status().await.unwrap().listening.http[0];
    let snapshot = Snapshot {
        generation: 1,
        routes: vec![route("a", "a.test", "/", &[app.address]), tcp_route("b", port, &[repeater.address])],
        ..Snapshot::default()
    };
    client.put_snapshot(&snapshot).await.unwrap();

    let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut clients = tokio::task::JoinSet::new();
    for number in 0..8 {
        let (stop, answered) = (Arc::clone(&stop), Arc::clone(&answered));
        // Half of them open a connection a request, half keep theirs as long as they may.
        clients.spawn(ask_until(stop, answered, address, number % 2 == 0));
    }
    for _ in 0..4 {
        clients.spawn(greet_until(Arc::clone(&stop), port));
    }
    for _ in 0..3 {
        let enough = answered.load(Ordering::SeqCst) + 100;
        eventually("requests go on", || async { answered.load(Ordering::SeqCst) > enough }).await;
        let new = edge(folder.path(), &address.to_string());
        running(&client, &new).await;
        terminate(&old);
        let ended = tokio::time::timeout(Duration::from_secs(20), old.wait()).await;
        assert!(ended.expect("the old one ends").unwrap().success());
        old = new;
    }
    stop.store(true, Ordering::SeqCst);
    while let Some(failures) = clients.join_next().await {
        assert_eq!(failures.unwrap(), Vec::<String>::new());
    }
}

/// Opens a TCP connection after the other, and demands the greeting of each.
async fn greet_until(stop: Arc<AtomicBool>, port: u16) -> Vec<String> {
    use tokio::io::AsyncReadExt;
    let mut failures = Vec::new();
    while !stop.load(Ordering::SeqCst) {
        let mut greeting = [0; 4];
        let greeted =
            async { TcpStream::connect(("127.0.0.1", port)).await?.read_exact(&mut greeting).await };
        if let Err(error) = greeted.await {
            failures.push(format!("tcp: {error}"));
        }
    }
    failures
}

async fn ask_until(
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    address: SocketAddr,
    keep: bool,
) -> Vec<String> {
    let mut failures = Vec::new();
    let mut kept: Option<TcpStream> = None;
    while !stop.load(Ordering::SeqCst) {
        let manner = if keep { "keep-alive" } else { "close" };
        let request = format!("GET / HTTP/1.1\r\nHost: a.test\r\nConnection: {manner}\r\n\r\n");
        let mut stream = match kept.take() {
            Some(stream) => stream,
            None => match TcpStream::connect(address).await {
                Ok(stream) => stream,
                Err(error) => {
                    failures.push(format!("connect: {error}"));
                    continue;
                }
            },
        };
        if let Err(error) = stream.write_all(request.as_bytes()).await {
            failures.push(format!("write: {error}"));
            continue;
        }
        match read_answer(&mut stream).await {
            Ok(closes) => {
                answered.fetch_add(1, Ordering::SeqCst);
                kept = (keep && !closes).then_some(stream);
            }
            Err(failure) => failures.push(failure),
        }
    }
    failures
}

/// Reads a whole answer; returns whether the edge said that it closes.
async fn read_answer(stream: &mut TcpStream) -> Result<bool, String> {
    use tokio::io::AsyncReadExt;
    let (mut seen, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let count = stream.read(&mut buffer).await.map_err(|error| format!("read: {error}"))?;
        if count == 0 {
            return Err(format!("ended after `{}`", String::from_utf8_lossy(&seen)));
        }
        seen.extend_from_slice(&buffer[..count]);
        let text = String::from_utf8_lossy(&seen);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "))
            .and_then(|length| length.parse::<usize>().ok())
            .ok_or_else(|| format!("no length in `{head}`"))?;
        if body.len() >= length {
            return if head.starts_with("HTTP/1.1 200") {
                Ok(head.contains("connection: close"))
            } else {
                Err(head.to_owned())
            };
        }
    }
}

#[tokio::test]
async fn killed_and_started_again_it_serves_from_disk() {
    let (folder, app) = (tempfile::tempdir().unwrap(), Upstream::start("app").await);
    let client = EdgeClient::new(folder.path().join("edge.sock"));
    let mut child = edge(folder.path(), "127.0.0.1:0");
    running(&client, &child).await;
    let snapshot = Snapshot {
        generation: 9,
        routes: vec![route("a", "a.test", "/", &[app.address])],
        ..Snapshot::default()
    };
    client.put_snapshot(&snapshot).await.unwrap();
    child.kill().await.unwrap();
    let again = edge(folder.path(), "127.0.0.1:0");
    running(&client, &again).await;
    let status = client.status().await.unwrap();
    assert_eq!(status.generation, 9);
    assert_eq!(get(status.listening.http[0], "a.test", "/").await.0, 200);
}

#[tokio::test]
async fn a_taken_port_is_refused_with_its_holder_and_the_flag_that_moves_it() {
    let folder = tempfile::tempdir().unwrap();
    let holder = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = holder.local_addr().unwrap();
    let mut child = edge(folder.path(), &address.to_string());
    let message = read_until(child.stderr.as_mut().unwrap(), "--http").await;
    assert!(!child.wait().await.unwrap().success());
    // An edge of somebody else would share the port without a word, and answer half of its requests.
    let other = tempfile::tempdir().unwrap();
    let running_edge = edge(other.path(), "127.0.0.1:0");
    let client = EdgeClient::new(other.path().join("edge.sock"));
    running(&client, &running_edge).await;
    let port = client.status().await.unwrap().listening.http[0].to_string();
    let mut second = edge(folder.path(), &port);
    let refused = read_until(second.stderr.as_mut().unwrap(), "--http").await;
    assert!(refused.contains(&format!("panda-edge (pid {})", running_edge.id().unwrap())), "{refused}");
    let me = format!("(pid {})", std::process::id());
    assert!(message.contains(&format!("port {}", address.port())) && message.contains(&me), "{message}");
}
