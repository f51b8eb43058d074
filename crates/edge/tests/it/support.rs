//! An edge, an upstream that tells what it saw, and clients that send exactly what they are told.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use http::{Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use panda_edge::client::EdgeClient;
use panda_edge::protocol::{Route, RouteKind, RouteOptions, Snapshot, Upstream as Instance};
use panda_edge::{AccessLogTarget, Edge, EdgeConfig, Limits};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// An edge in this process.
pub(crate) struct TestEdge {
    pub(crate) edge: Edge,
    pub(crate) client: EdgeClient,
    pub(crate) folder: Arc<tempfile::TempDir>,
}

pub(crate) fn config(folder: &Path) -> EdgeConfig {
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    EdgeConfig {
        http: vec![any],
        https: vec![any],
        control: folder.join("edge.sock"),
        state_dir: folder.join("state"),
        access_log: AccessLogTarget::Off,
        metrics: None,
        workers: 2,
        trusted_proxies: vec![],
        limits: Limits { drain_grace: Duration::from_millis(300), ..Limits::default() },
    }
}

impl TestEdge {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub(crate) async fn start_with(change: impl FnOnce(&mut EdgeConfig)) -> Self {
        Self::start_in(Arc::new(tempfile::tempdir().unwrap()), change).await
    }

    pub(crate) async fn start_in(
        folder: Arc<tempfile::TempDir>,
        change: impl FnOnce(&mut EdgeConfig),
    ) -> Self {
        let mut config = config(folder.path());
        change(&mut config);
        let client = EdgeClient::new(&config.control);
        let edge = Edge::start(config).await.unwrap();
        Self { edge, client, folder }
    }

    pub(crate) fn http(&self) -> SocketAddr {
        self.edge.listening().http[0]
    }

    pub(crate) fn https(&self) -> SocketAddr {
        self.edge.listening().https[0]
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    pub(crate) async fn put(&self, generation: u64, routes: Vec<Route>) {
        let snapshot = Snapshot { generation, routes, ..Snapshot::default() };
        let applied = self.client.put_snapshot(&snapshot).await.unwrap();
        assert_eq!(applied.generation, generation);
    }
}

pub(crate) fn route(id: &str, host: &str, prefix: &str, upstreams: &[SocketAddr]) -> Route {
    Route {
        id: id.to_owned(),
        app: id.to_owned(),
        process: "web".to_owned(),
        hosts: vec![host.to_owned()],
        tcp_port: None,
        path_prefix: prefix.to_owned(),
        kind: RouteKind::App,
        upstreams: upstreams
            .iter()
            .map(|address| Instance { id: address.to_string(), address: (*address).into() })
            .collect(),
        options: RouteOptions::default(),
    }
}

/// An upstream that answers with its name and what it received.
pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    pub(crate) connections: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Upstream {
    pub(crate) async fn start(name: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::on(listener, name)
    }

    pub(crate) fn on(listener: TcpListener, name: &'static str) -> Self {
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&connections);
        let task = tokio::spawn(async move {
            let mut tasks = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                let service = service_fn(move |request| tell(name, request));
                tasks.spawn(async move {
                    let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                    let _ = connection.with_upgrades().await;
                });
            }
        });
        Self { address, connections, task }
    }
}

type Answer = Result<Response<BoxBody<Bytes, Infallible>>, Infallible>;

async fn tell(name: &'static str, mut request: Request<Incoming>) -> Answer {
    let full = |text: String| Full::from(text).boxed();
    match request.uri().path() {
        "/echo" => {
            let body = request.into_body().collect().await.map(http_body_util::Collected::to_bytes);
            Ok(Response::new(Full::new(body.unwrap_or_default()).boxed()))
        }
        "/events" => {
            // Each event waits for a byte of the request, so that nothing moves unless all of it streams.
            let events = request.into_body().into_data_stream().map(|part| {
                let text = format!("data: {}\n\n", String::from_utf8_lossy(&part.unwrap_or_default()));
                Ok(Frame::data(Bytes::from(text)))
            });
            let mut response = Response::new(BodyExt::boxed(SyncBody(StreamBody::new(Box::pin(events)))));
            response.headers_mut().insert("content-type", "text/event-stream".parse().unwrap());
            Ok(response)
        }
        "/socket" => {
            let upgrade = hyper::upgrade::on(&mut request);
            tokio::spawn(async move {
                let mut stream = TokioIo::new(upgrade.await.unwrap());
                let mut buffer = [0; 1024];
                while let Ok(count) = stream.read(&mut buffer).await
                    && count > 0
                {
                    stream.write_all(&buffer[..count]).await.unwrap();
                }
            });
            let mut response = Response::new(full(String::new()));
            *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
            response.headers_mut().insert("upgrade", "websocket".parse().unwrap());
            response.headers_mut().insert("connection", "upgrade".parse().unwrap());
            Ok(response)
        }
        "/never" => std::future::pending().await,
        "/inner" => {
            let mut response = Response::new(full("inner".to_owned()));
            response.headers_mut().insert("connection", "x-inner".parse().unwrap());
            response.headers_mut().insert("x-inner", "1".parse().unwrap());
            response.headers_mut().insert("keep-alive", "timeout=5".parse().unwrap());
            Ok(response)
        }
        _ => {
            let mut text = format!("{name} {} {}\n", request.method(), request.uri());
            for (key, value) in request.headers() {
                let _ = writeln!(text, "{key}: {}", value.to_str().unwrap());
            }
            Ok(Response::new(full(text)))
        }
    }
}

/// A stream that one task polls is as good as `Sync`.
struct SyncBody<S>(StreamBody<S>);

impl<S> hyper::body::Body for SyncBody<S>
where
    S: futures_util::Stream<Item = Result<Frame<Bytes>, Infallible>> + Unpin,
{
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        std::pin::Pin::new(&mut self.0).poll_frame(cx)
    }
}

/// Sends bytes as they are and returns everything until the end of the connection.
pub(crate) async fn raw(address: SocketAddr, request: &[u8]) -> String {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request).await.unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    };
    tokio::time::timeout(DEADLINE, exchange).await.expect("the edge ends the connection in time")
}

/// Sends a GET and returns status and the rest of the answer, head included.
pub(crate) async fn get(address: SocketAddr, host: &str, path: &str) -> (u16, String) {
    get_with(address, host, path, "").await
}

pub(crate) async fn get_with(address: SocketAddr, host: &str, path: &str, headers: &str) -> (u16, String) {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{headers}\r\n");
    let answer = raw(address, request.as_bytes()).await;
    (status_of(&answer), answer)
}

pub(crate) fn status_of(answer: &str) -> u16 {
    answer.get(9..12).and_then(|status| status.parse().ok()).unwrap_or(0)
}

/// Reads until the text appears.
pub(crate) async fn read_until(stream: &mut (impl AsyncReadExt + Unpin), text: &str) -> String {
    let reading = async {
        let mut seen = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            let count = stream.read(&mut buffer).await.unwrap();
            seen.extend_from_slice(&buffer[..count]);
            let so_far = String::from_utf8_lossy(&seen).into_owned();
            if so_far.contains(text) {
                return so_far;
            }
            assert!(count > 0, "the connection ended before `{text}`: {so_far}");
        }
    };
    tokio::time::timeout(DEADLINE, reading).await.unwrap_or_else(|_| panic!("`{text}` didn't come"))
}

/// Polls until the condition holds.
pub(crate) async fn eventually<F: Future<Output = bool>>(what: &str, mut condition: impl FnMut() -> F) {
    let polling = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(DEADLINE, polling).await.unwrap_or_else(|_| panic!("waited in vain: {what}"));
}
