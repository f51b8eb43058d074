//! A server whose answers a test writes down, and the binary that talks to it.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use assert_cmd::Command;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A request as it arrived.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) authorization: Option<String>,
    pub(crate) last_event_id: Option<String>,
    pub(crate) body: Vec<u8>,
}

impl Seen {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("the body is JSON")
    }
}

/// The server; it ends with the test.
pub(crate) struct Fake {
    pub(crate) url: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    runtime: tokio::runtime::Runtime,
}

impl Fake {
    /// Serves routes below /api/v1.
    pub(crate) fn start(routes: Router) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.expect("a runtime starts");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let router = recorded(routes, &seen);
        let listener =
            runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).expect("a port is free");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        runtime.spawn(async move { axum::serve(listener, router).await });
        Self { url, seen, runtime }
    }

    /// Serves over a listener of the test's own.
    pub(crate) fn start_on<L>(
        url: String,
        routes: Router,
        listen: impl FnOnce(&tokio::runtime::Runtime) -> L,
    ) -> Self
    where
        L: axum::serve::Listener,
        L::Addr: std::fmt::Debug,
    {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.expect("a runtime starts");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let router = recorded(routes, &seen);
        let listener = listen(&runtime);
        runtime.spawn(async move { axum::serve(listener, router).await });
        Self { url, seen, runtime }
    }

    /// Returns the requests so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().expect("no test panics with it").clone()
    }

    /// Returns the requests of a method to a path that ends so.
    pub(crate) fn seen_at(&self, method: &str, end: &str) -> Vec<Seen> {
        self.seen().into_iter().filter(|seen| seen.method == method && seen.path.ends_with(end)).collect()
    }

    /// Waits until a request came.
    pub(crate) fn wait_for(&self, method: &str, end: &str) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while self.seen_at(method, end).is_empty() {
            assert!(Instant::now() < deadline, "{method} …{end} never came: {:?}", self.seen());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub(crate) fn stop(self) {
        self.runtime.shutdown_background();
    }
}

fn recorded(routes: Router, seen: &Arc<Mutex<Vec<Seen>>>) -> Router {
    let seen = Arc::clone(seen);
    Router::new()
        .nest("/api/v1", routes)
        .fallback(|| async { problem(404, "not-found", "there is no such thing") })
        .layer(from_fn(move |request: Request, next: Next| {
            let seen = Arc::clone(&seen);
            async move { record(request, next, &seen).await }
        }))
}

async fn record(request: Request, next: Next, seen: &Mutex<Vec<Seen>>) -> Response {
    let (parts, body) = request.into_parts();
    let upgrade = parts.headers.contains_key(header::UPGRADE);
    let text = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let mut entry = Seen {
        method: parts.method.to_string(),
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        authorization: text("authorization"),
        last_event_id: text("last-event-id"),
        body: Vec::new(),
    };
    let body = if upgrade {
        body
    } else {
        entry.body = to_bytes(body, 64 << 20).await.map(Into::into).unwrap_or_default();
        Body::from(entry.body.clone())
    };
    seen.lock().expect("no test panics with it").push(entry);
    next.run(Request::from_parts(parts, body)).await
}

/// Returns a problem as the server sends it.
pub(crate) fn problem(status: u16, code: &str, detail: &str) -> Response {
    let body = json!({
        "type": format!("/docs/errors/{code}"), "title": code, "status": status, "detail": detail,
        "instance": "req_1", "code": code,
        "hint": if code == "not-found" { Some("`panda apps list` shows the apps that you can see") } else { None },
    });
    let mut response = (StatusCode::from_u16(status).expect("a status"), body.to_string()).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    response
}

/// Returns server-sent events that end after the last one.
pub(crate) fn sse(events: &[(&str, Value)], first_id: usize) -> Response {
    let text: String = events
        .iter()
        .enumerate()
        .flat_map(|(index, (kind, data))| {
            [format!("id: {}\n", first_id + index), format!("event: {kind}\n"), format!("data: {data}\n\n")]
        })
        .collect();
    ([(header::CONTENT_TYPE, "text/event-stream")], text).into_response()
}

pub(crate) fn app(name: &str) -> Value {
    json!({
        "id": "app_1", "name": name, "project": "default", "environment": "production",
        "url": format!("https://{name}.localhost"), "release": 3, "state": "running",
        "processes": {
            "web": { "replicas": 2, "ready": 2, "cpu_millis": 1000, "memory_bytes": 536_870_912 },
            "worker": { "replicas": 1, "ready": 1, "cpu_millis": 250, "memory_bytes": 1_073_741_824 },
        },
        "created_at": "2020-01-01T00:00:00Z",
    })
}

pub(crate) fn deployment(state: &str) -> Value {
    let active = matches!(state, "queued" | "building" | "releasing" | "rolling");
    json!({
        "id": "dep_1", "app": "shop", "environment": "production", "state": state, "active": active,
        "trigger": "deploy", "source": "upload 1234567", "release": 4, "by": "ada@example.com",
        "url": "https://shop.localhost", "created_at": "2020-01-01T00:00:00Z",
    })
}

/// A user with a folder for logins and a directory to work in.
pub(crate) struct User {
    home: TempDir,
    pub(crate) directory: TempDir,
    server: Option<String>,
}

impl User {
    /// Someone who is signed in by PANDA_SERVER and PANDA_TOKEN.
    pub(crate) fn of(fake: &Fake) -> Self {
        Self { server: Some(fake.url.clone()), ..Self::stranger() }
    }

    /// Someone without any server.
    pub(crate) fn stranger() -> Self {
        let make = || tempfile::tempdir().expect("a temporary folder");
        Self { home: make(), directory: make(), server: None }
    }

    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.directory.path().join(path);
        std::fs::create_dir_all(path.parent().expect("a file has a folder")).expect("make the folder");
        std::fs::write(path, text).expect("write the file");
    }

    pub(crate) fn read(&self, path: &str) -> String {
        std::fs::read_to_string(self.directory.path().join(path)).expect("the file is there")
    }

    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    pub(crate) fn variables(&self) -> Vec<(&'static str, String)> {
        let mut variables = vec![
            ("PANDA_CONFIG_DIR", self.home.path().to_string_lossy().into_owned()),
            ("PATH", std::env::var("PATH").unwrap_or_default()),
        ];
        if let Some(server) = &self.server {
            variables.push(("PANDA_SERVER", server.clone()));
            variables.push(("PANDA_TOKEN", "panda_test".to_owned()));
        }
        variables
    }

    /// Runs `panda` with words that have no spaces.
    pub(crate) fn panda(&self, line: &str) -> Ran {
        self.run(&line.split_whitespace().collect::<Vec<_>>(), "")
    }

    pub(crate) fn run(&self, arguments: &[&str], stdin: &str) -> Ran {
        self.spawn(arguments, stdin, &[])
    }

    pub(crate) fn run_with(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Ran {
        self.spawn(arguments, "", variables)
    }

    fn spawn(&self, arguments: &[&str], stdin: &str, more: &[(&str, &str)]) -> Ran {
        let mut command = Command::new(env!("CARGO_BIN_EXE_panda"));
        command.args(arguments).env_clear().envs(self.variables()).envs(more.iter().copied());
        command.current_dir(self.directory.path());
        let output = command.write_stdin(stdin).timeout(Duration::from_mins(1)).output().expect("panda runs");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("panda prints UTF-8");
        Ran { code: output.status.code().unwrap_or(-1), out: text(output.stdout), err: text(output.stderr) }
    }
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    #[track_caller]
    pub(crate) fn ends(&self, code: i32) -> &Self {
        assert_eq!(self.code, code, "stdout:\n{}\nstderr:\n{}", self.out, self.err);
        self
    }

    pub(crate) fn last_json(&self) -> Value {
        let line = self.out.lines().last().unwrap_or_default();
        serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {}", self.out))
    }
}
