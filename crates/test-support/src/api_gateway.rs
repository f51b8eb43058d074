//! A way to a Kubernetes API server that can be troubled: away, slow, busy, forgetful. It also tells what was asked.
//!
//! It speaks plain HTTP on loopback and stands in front of `kubectl proxy`, which has the credentials.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What is wrong with the API server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// Nothing.
    None,
    /// Connections end, and no new one comes about.
    Away,
    /// Each answer comes so much later.
    Slow(Duration),
    /// It answers 429 and asks for a second.
    Busy,
    /// Open watches end, and it has forgotten where they stood: 410.
    Forgetful,
}

/// One request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The method.
    pub method: String,
    /// The path with its query.
    pub uri: String,
    /// The trouble that there was.
    pub trouble: Trouble,
}

impl Seen {
    /// Tells whether it opened a watch.
    pub fn is_watch(&self) -> bool {
        self.uri.contains("watch=true")
    }
}

/// The gateway. Ends with the handle.
#[derive(Debug)]
pub struct ApiGateway {
    /// Where it listens.
    pub address: SocketAddr,
    trouble: watch::Sender<Trouble>,
    seen: Arc<Mutex<Vec<Seen>>>,
    tasks: [JoinHandle<()>; 2],
}

#[derive(Clone)]
struct Forwarding {
    to: String,
    client: reqwest::Client,
    trouble: watch::Receiver<Trouble>,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl ApiGateway {
    /// Starts one in front of a `kubectl proxy`.
    pub async fn start(proxy: SocketAddr) -> anyhow::Result<Self> {
        let (trouble, told) = watch::channel(Trouble::None);
        let seen = Arc::<Mutex<Vec<Seen>>>::default();
        let (front, back) =
            (TcpListener::bind("127.0.0.1:0").await?, TcpListener::bind("127.0.0.1:0").await?);
        let (address, inner) = (front.local_addr()?, back.local_addr()?);
        let forwarding = Forwarding {
            to: format!("http://{proxy}"),
            client: reqwest::Client::builder().no_proxy().no_gzip().build()?,
            trouble: told.clone(),
            seen: Arc::clone(&seen),
        };
        let router = Router::new().fallback(forward).with_state(forwarding);
        let serving = tokio::spawn(async move {
            // It ends with the handle.
            let _ = axum::serve(back, router).await;
        });
        let accepting = tokio::spawn(async move {
            while let Ok((near, _)) = front.accept().await {
                tokio::spawn(pass(near, inner, told.clone()));
            }
        });
        Ok(Self { address, trouble, seen, tasks: [serving, accepting] })
    }

    /// Makes the trouble begin, in place of the one before.
    pub fn make(&self, trouble: Trouble) {
        self.trouble.send_replace(trouble);
    }

    /// Returns what was asked since the last time.
    pub fn take_seen(&self) -> Vec<Seen> {
        std::mem::take(&mut *self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for ApiGateway {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// Passes a connection on until it ends or the server is away.
async fn pass(mut near: TcpStream, inner: SocketAddr, mut trouble: watch::Receiver<Trouble>) {
    if *trouble.borrow_and_update() == Trouble::Away {
        return;
    }
    let Ok(mut far) = TcpStream::connect(inner).await else { return };
    tokio::select! {
        () = ends(&mut trouble) => {}
        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
    }
}

/// Waits for a trouble that ends connections.
async fn ends(trouble: &mut watch::Receiver<Trouble>) {
    while trouble.changed().await.is_ok() {
        if matches!(*trouble.borrow_and_update(), Trouble::Away | Trouble::Forgetful) {
            return;
        }
    }
    std::future::pending::<()>().await;
}

async fn forward(State(way): State<Forwarding>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let uri = parts.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
    let trouble = *way.trouble.borrow();
    let seen = Seen { method: parts.method.to_string(), uri: uri.clone(), trouble };
    let is_watch = seen.is_watch();
    way.seen.lock().unwrap_or_else(PoisonError::into_inner).push(seen);
    match trouble {
        Trouble::Busy => return status(StatusCode::TOO_MANY_REQUESTS, "TooManyRequests"),
        Trouble::Forgetful if is_watch => return status(StatusCode::GONE, "Expired"),
        Trouble::Slow(by) => tokio::time::sleep(by).await,
        Trouble::None | Trouble::Away | Trouble::Forgetful => {}
    }
    let mut asked = way.client.request(parts.method, format!("{}{uri}", way.to));
    for (name, value) in parts.headers.iter().filter(|(name, _)| *name != header::HOST) {
        asked = asked.header(name, value);
    }
    match asked.body(reqwest::Body::wrap_stream(body.into_data_stream())).send().await {
        Ok(answer) => {
            let mut response = Response::builder().status(answer.status());
            for (name, value) in
                answer.headers().iter().filter(|(name, _)| *name != header::TRANSFER_ENCODING)
            {
                response = response.header(name, value);
            }
            let body = Body::from_stream(answer.bytes_stream());
            response.body(body).unwrap_or_else(|_| StatusCode::BAD_GATEWAY.into_response())
        }
        Err(_) => StatusCode::BAD_GATEWAY.into_response(),
    }
}

/// An error as the API server says it.
fn status(code: StatusCode, reason: &str) -> Response {
    let text = format!(
        r#"{{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"{reason}","message":"{reason}","code":{}}}"#,
        code.as_u16()
    );
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::RETRY_AFTER, "1")];
    (code, headers, text).into_response()
}
