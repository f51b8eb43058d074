//! Route changes under load: does a request fail, and when does a change show?

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use panda_edge::protocol::Snapshot;
use serde::Serialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::proxies::{route, start_edge};

const CLIENTS: usize = 8;
const PAUSE: Duration = Duration::from_millis(2);

/// What the changes at one number of routes did.
#[derive(Debug, Serialize)]
pub(crate) struct Changes {
    pub(crate) routes: usize,
    pub(crate) count: usize,
    pub(crate) requests: u64,
    pub(crate) failed: u64,
    /// From sending a change until a request was answered by the new instance.
    pub(crate) effect_micros: Vec<u64>,
    /// From sending a change until it was acknowledged, on disk included.
    pub(crate) acknowledged_micros: Vec<u64>,
    /// Time of the first, whole snapshot, acknowledgement included.
    pub(crate) snapshot_micros: u64,
}

/// Measures with so many routes.
pub(crate) async fn run(edge: &Path, routes: usize, changes: usize) -> anyhow::Result<Changes> {
    let folder = tempfile::tempdir()?;
    let mut tasks = JoinSet::new();
    let ports = [upstream("one", &mut tasks).await?, upstream("two", &mut tasks).await?];
    let (proxy, client) = start_edge(edge, folder.path(), 2).await?;
    let mut current = Snapshot {
        generation: 1,
        routes: (0..routes).map(|number| route(number, &host(number), ports[0])).collect(),
        ..Snapshot::default()
    };
    let started = Instant::now();
    client.put_snapshot(&current).await.context("send the first snapshot")?;
    let snapshot_micros = micros(started);
    let (stop, requests, failed) =
        (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS {
        let (stop, requests, failed) = (Arc::clone(&stop), Arc::clone(&requests), Arc::clone(&failed));
        let (port, target) = (proxy.http, host(if number % 2 == 0 { 0 } else { number % routes }));
        clients.spawn(async move {
            let mut connection = None;
            while !stop.load(Ordering::Relaxed) {
                requests.fetch_add(1, Ordering::Relaxed);
                if ask(&mut connection, port, &target).await.is_none() {
                    failed.fetch_add(1, Ordering::Relaxed);
                }
                tokio::time::sleep(PAUSE).await;
            }
        });
    }
    let (mut effect_micros, mut acknowledged_micros) = (Vec::new(), Vec::new());
    let mut probe = None;
    for change in 0..changes {
        let mut next = current.clone();
        next.generation += 1;
        let name = ["two", "one"][change % 2];
        next.routes[0] = route(0, &host(0), ports[(change + 1) % 2]);
        let outline = panda_edge::protocol::Outline::of(&current);
        let sent = Instant::now();
        let patch = panda_edge::protocol::Patch::between(&outline, &next);
        let sending = async {
            client.patch(&patch).await?;
            Ok::<_, anyhow::Error>(micros(sent))
        };
        let seeing = async {
            loop {
                if ask(&mut probe, proxy.http, &host(0)).await.as_deref() == Some(name) {
                    return Ok(micros(sent));
                }
                anyhow::ensure!(sent.elapsed() < Duration::from_secs(10), "change {change} never showed");
            }
        };
        let (acknowledged, effect) = tokio::try_join!(sending, seeing)?;
        acknowledged_micros.push(acknowledged);
        effect_micros.push(effect);
        current = next;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    stop.store(true, Ordering::Relaxed);
    while clients.join_next().await.is_some() {}
    Ok(Changes {
        routes,
        count: changes,
        requests: requests.load(Ordering::Relaxed),
        failed: failed.load(Ordering::Relaxed),
        effect_micros,
        acknowledged_micros,
        snapshot_micros,
    })
}

fn host(number: usize) -> String {
    format!("app-{number}.bench.test")
}

fn micros(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX)
}

/// Answers every request with its name, on kept connections.
async fn upstream(name: &'static str, tasks: &mut JoinSet<()>) -> anyhow::Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.set_nodelay(true);
            connections.spawn(async move {
                let mut buffer = vec![0; 4096];
                let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{name}", name.len());
                // The edge sends one head at a time, in one write.
                while let Ok(count) = stream.read(&mut buffer).await
                    && count > 0
                    && stream.write_all(answer.as_bytes()).await.is_ok()
                {}
            });
        }
    });
    Ok(port)
}

/// Asks once; `None` is a failure of whatever kind.
async fn ask(connection: &mut Option<TcpStream>, port: u16, host: &str) -> Option<String> {
    let mut stream = if let Some(stream) = connection.take() {
        stream
    } else {
        let stream = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
        stream.set_nodelay(true).ok()?;
        stream
    };
    let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let (mut seen, mut buffer) = (Vec::new(), [0; 2048]);
    loop {
        let count = stream.read(&mut buffer).await.ok().filter(|count| *count > 0)?;
        seen.extend_from_slice(&buffer[..count]);
        let text = std::str::from_utf8(&seen).ok()?;
        if let Some((head, body)) = text.split_once("\r\n\r\n")
            && body.len() == 3
        {
            let body = head.starts_with("HTTP/1.1 200").then(|| body.to_owned());
            *connection = Some(stream);
            return body;
        }
    }
}
