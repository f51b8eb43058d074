//! The control socket: HTTP on a unix socket that only the owner may open.

use std::convert::Infallible;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Serialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio_util::task::TaskTracker;

use crate::handover::Predecessor;
use crate::metrics;
use crate::persist::{Disk, PersistError};
use crate::protocol::{Applied, Ejected, ListenAddresses, Patch, Problem, Snapshot, Status, Usage};
use crate::registry::{Invalid, Registry};
use crate::shared::Shared;

const BODY_LIMIT_BYTES: usize = 256 << 20;
const CALL_DEADLINE: Duration = Duration::from_mins(1);

/// What the control side owns.
pub(crate) struct Control {
    pub(crate) shared: Arc<Shared>,
    pub(crate) listening: ListenAddresses,
    pub(crate) warnings: Vec<String>,
    state: Mutex<State>,
}

struct State {
    registry: Registry,
    disk: Disk,
    persisted: u64,
}

/// Why a change wasn't acknowledged.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error("generation {sent} is older than {current}, which is served")]
    Stale { sent: u64, current: u64 },
    #[error("the change starts at generation {from}, but {current} is served")]
    Gap { from: u64, current: u64 },
    #[error("{0}")]
    Invalid(#[from] Invalid),
    #[error("read the change: {0}")]
    Malformed(#[from] serde_json::Error),
    #[error("{error}: {source}", source = std::error::Error::source(.0).map(ToString::to_string).unwrap_or_default(), error = .0)]
    NotPersisted(#[from] PersistError),
}

impl Refused {
    fn answer(&self, generation: u64) -> Response<Full<Bytes>> {
        let (status, code) = match self {
            Self::Stale { .. } => (StatusCode::CONFLICT, "stale-generation"),
            Self::Gap { .. } => (StatusCode::CONFLICT, "generation-gap"),
            Self::Invalid(_) | Self::Malformed(_) => (StatusCode::UNPROCESSABLE_ENTITY, "invalid-change"),
            Self::NotPersisted(_) => (StatusCode::INSUFFICIENT_STORAGE, "not-persisted"),
        };
        problem(status, code, self.to_string(), generation)
    }
}

impl Control {
    /// Takes over what was found on disk and makes it the table.
    pub(crate) fn new(
        shared: Arc<Shared>,
        workers: usize,
        disk: Disk,
        loaded: crate::persist::Loaded,
        listening: ListenAddresses,
    ) -> Self {
        let mut registry = Registry::new(workers);
        let mut persisted = 0;
        if let Some(snapshot) = loaded.snapshot {
            persisted = snapshot.generation;
            let patch = registry.patch_to(snapshot);
            registry.apply_trusted(&patch);
            shared.table.store(Arc::new(registry.table()));
        }
        let state = Mutex::new(State { registry, disk, persisted });
        Self { shared, listening, warnings: loaded.warnings, state }
    }

    fn with_state<R>(&self, act: impl FnOnce(&mut State) -> R) -> R {
        act(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn generation(&self) -> u64 {
        self.shared.table.load().generation
    }

    fn put(&self, body: &[u8]) -> Result<Applied, Refused> {
        let snapshot: Snapshot = serde_json::from_slice(body)?;
        self.with_state(|state| {
            let current = state.registry.generation();
            if snapshot.generation < current {
                return Err(Refused::Stale { sent: snapshot.generation, current });
            }
            let patch = state.registry.patch_to(snapshot);
            state.registry.apply(&patch)?;
            self.publish(state);
            state.disk.write_snapshot(&state.registry.snapshot())?;
            state.persisted = state.registry.generation();
            Ok(Applied { generation: state.persisted })
        })
    }

    fn patch(&self, body: &[u8]) -> Result<Applied, Refused> {
        let patch: Patch = serde_json::from_slice(body)?;
        self.with_state(|state| {
            let current = state.registry.generation();
            if patch.to < current {
                return Err(Refused::Stale { sent: patch.to, current });
            }
            if patch.from != current {
                return Err(Refused::Gap { from: patch.from, current });
            }
            state.registry.apply(&patch)?;
            self.publish(state);
            let State { registry, disk, persisted } = state;
            disk.append(&patch, *persisted, || registry.snapshot())?;
            *persisted = patch.to;
            Ok(Applied { generation: patch.to })
        })
    }

    /// Puts the table in effect, before it is written down: a change that is asked for is wanted now, and
    /// what a crash would lose was never acknowledged.
    fn publish(&self, state: &State) {
        self.shared.table.store(Arc::new(state.registry.table()));
        self.shared.follow_ports(&mut Predecessor::None);
        self.shared.wake_held();
    }

    fn status(&self) -> Status {
        let now_ms = self.shared.now_ms();
        self.with_state(|state| Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            uptime_ms: now_ms,
            generation: state.registry.generation(),
            persisted_generation: state.persisted,
            listening: self.listening.clone(),
            tcp_ports: self.shared.ports.status(),
            routes: state.registry.route_count() as u64,
            certificates: state.registry.certificate_count() as u64,
            connections: self.shared.connections.load(Relaxed),
            held: u64::from(self.shared.held.load(Relaxed)),
            unrouted: self.shared.unrouted.load(Relaxed),
            ejected: state
                .registry
                .instances()
                .filter_map(|instance| {
                    let left = instance.ejected_for(now_ms)?;
                    Some(Ejected {
                        upstream: instance.id.to_string(),
                        address: instance.address.to_string(),
                        for_ms: u64::try_from(left.as_millis()).unwrap_or(u64::MAX),
                    })
                })
                .collect(),
            log_lines_dropped: self.shared.log.as_ref().map_or(0, crate::access_log::AccessLog::dropped),
            warnings: self.warnings.clone(),
        })
    }

    fn usage(&self) -> Usage {
        let stats = self.with_state(|state| state.registry.stats());
        Usage { uptime_ms: self.shared.now_ms(), apps: stats.iter().map(|stats| stats.usage()).collect() }
    }

    fn metrics(&self) -> String {
        let stats = self.with_state(|state| state.registry.stats());
        metrics::exposition(&self.status(), &stats)
    }
}

/// Binds the control socket; one that an earlier process left is replaced in one step, so that there is
/// always one to connect to.
pub(crate) fn bind(path: &Path) -> io::Result<UnixListener> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let mut temporary = path.to_owned();
    temporary.set_extension(format!("{}.new", std::process::id()));
    let _ = std::fs::remove_file(&temporary);
    let listener = UnixListener::bind(&temporary)?;
    std::fs::set_permissions(&temporary, std::fs::Permissions::from_mode(0o600))?;
    std::fs::rename(&temporary, path)?;
    Ok(listener)
}

/// Remembers which socket file is ours, to remove it at the end and never a successor's.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    inode: Option<u64>,
}

impl SocketFile {
    pub(crate) fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), inode: std::fs::metadata(path).ok().map(|file| file.ino()) }
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.inode.is_some() && std::fs::metadata(&self.path).ok().map(|file| file.ino()) == self.inode {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Serves the control socket until the process stops.
pub(crate) async fn serve(control: Arc<Control>, listener: UnixListener) {
    let (tasks, stop) = (TaskTracker::new(), control.shared.stop.clone());
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => break,
        };
        match accepted {
            Ok((stream, _)) => {
                tasks.spawn(serve_one(Arc::clone(&control), stream, true));
            }
            Err(error) => {
                tracing::warn!(%error, "failed to accept a control connection");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
    tasks.close();
    let _ = tokio::time::timeout(Duration::from_secs(2), tasks.wait()).await;
}

/// Serves metrics over TCP until the process stops; nothing else can be asked for there.
pub(crate) async fn serve_metrics(control: Arc<Control>, listener: TcpListener) {
    let (tasks, stop) = (TaskTracker::new(), control.shared.stop.clone());
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => break,
        };
        match accepted {
            Ok((stream, _)) => {
                tasks.spawn(serve_one(Arc::clone(&control), stream, false));
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

async fn serve_one(control: Arc<Control>, stream: impl AsyncRead + AsyncWrite + Unpin, may_control: bool) {
    let service = service_fn(move |request| {
        let control = Arc::clone(&control);
        async move { Ok::<_, Infallible>(answer(control, request, may_control).await) }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(Duration::from_secs(10));
    let _ = builder.serve_connection(TokioIo::new(stream), service).await;
}

async fn answer(
    control: Arc<Control>,
    request: Request<Incoming>,
    may_control: bool,
) -> Response<Full<Bytes>> {
    let generation = control.generation();
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    match (&method, path.as_str()) {
        (&Method::GET, "/metrics") => {
            let mut response = Response::new(Full::from(control.metrics()));
            let format = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
            response.headers_mut().insert(header::CONTENT_TYPE, format);
            response
        }
        _ if !may_control => not_found(generation),
        (&Method::GET, "/v1/snapshot") => json(StatusCode::OK, &Applied { generation }),
        (&Method::GET, "/v1/status") => json(StatusCode::OK, &control.status()),
        (&Method::GET, "/v1/usage") => json(StatusCode::OK, &control.usage()),
        (&Method::PUT | &Method::PATCH, "/v1/snapshot") => change(control, request).await,
        _ => not_found(generation),
    }
}

async fn change(control: Arc<Control>, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let is_patch = *request.method() == Method::PATCH;
    let body = Limited::new(request.into_body(), BODY_LIMIT_BYTES).collect();
    let body = if let Ok(Ok(body)) = tokio::time::timeout(CALL_DEADLINE, body).await {
        body.to_bytes()
    } else {
        let generation = control.generation();
        return problem(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too-large",
            "the change didn't arrive whole".to_owned(),
            generation,
        );
    };
    let work = {
        let control = Arc::clone(&control);
        // Parsing and writing to disk take their time; status is answered meanwhile.
        tokio::task::spawn_blocking(move || if is_patch { control.patch(&body) } else { control.put(&body) })
    };
    match work.await {
        Ok(Ok(applied)) => json(StatusCode::OK, &applied),
        Ok(Err(refused)) => {
            tracing::warn!("refused a change: {refused}");
            refused.answer(control.generation())
        }
        Err(error) => {
            tracing::error!(%error, "a change ended in a panic");
            problem(
                StatusCode::INTERNAL_SERVER_ERROR,
                "internal",
                "the change failed".to_owned(),
                control.generation(),
            )
        }
    }
}

fn not_found(generation: u64) -> Response<Full<Bytes>> {
    problem(StatusCode::NOT_FOUND, "not-found", "nothing is there".to_owned(), generation)
}

fn problem(status: StatusCode, code: &str, detail: String, generation: u64) -> Response<Full<Bytes>> {
    json(status, &Problem { code: code.to_owned(), detail, generation })
}

fn json(status: StatusCode, body: &impl Serialize) -> Response<Full<Bytes>> {
    let text = serde_json::to_vec(body).unwrap_or_default();
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
