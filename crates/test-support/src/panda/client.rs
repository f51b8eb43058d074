//! A client that talks to the router as a browser or a CLI would.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{HeaderMap, Request, Response, header};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::EDGE_SECRET;

const COOKIE: &str = "__Host-panda";
/// How long a test waits for something that should come at once.
const PATIENCE: Duration = Duration::from_secs(20);

/// One client. Each change makes another one, so that a test can compare.
#[derive(Clone)]
pub struct Client {
    router: Router,
    peer: SocketAddr,
    headers: HeaderMap,
    token: Option<String>,
    cookie: Option<String>,
    says_origin: bool,
}

impl Client {
    pub(super) fn new(router: Router, peer: SocketAddr) -> Self {
        Self { router, peer, headers: HeaderMap::new(), token: None, cookie: None, says_origin: true }
    }

    /// Returns the client signed in by the cookie that an answer set.
    #[must_use]
    pub fn with_cookie_of(&self, answer: &Answer) -> Self {
        let set = answer.header("set-cookie");
        let value = set.strip_prefix(COOKIE).and_then(|rest| rest.strip_prefix('='));
        let value =
            value.and_then(|rest| rest.split(';').next()).expect("the answer sets the session's cookie");
        Self { cookie: Some(value.to_owned()), token: None, ..self.clone() }
    }

    /// Returns the client with an API token instead of a cookie.
    #[must_use]
    pub fn with_token(&self, token: &str) -> Self {
        Self { token: Some(token.to_owned()), cookie: None, ..self.clone() }
    }

    /// Returns the client at another address.
    #[must_use]
    pub fn from_ip(&self, ip: &str) -> Self {
        let ip: IpAddr = ip.parse().expect("an address");
        Self { peer: SocketAddr::new(ip, 40_000), ..self.clone() }
    }

    /// Returns the client as it looks when its requests come through the edge.
    #[must_use]
    pub fn from_edge(&self, ip: &str) -> Self {
        self.from_ip("127.0.0.1").header("x-panda-edge", EDGE_SECRET).header("x-forwarded-for", ip)
    }

    /// Returns the client with one more header.
    #[must_use]
    pub fn header(&self, name: &'static str, value: &str) -> Self {
        let mut more = self.clone();
        more.headers.insert(name, value.parse().expect("a header's value"));
        more
    }

    /// Returns the client without the origin that a browser says.
    #[must_use]
    pub fn without_origin(&self) -> Self {
        Self { says_origin: false, ..self.clone() }
    }

    /// Returns the session's secret.
    pub fn cookie(&self) -> Option<&str> {
        self.cookie.as_deref()
    }

    /// Returns the token's secret.
    pub fn secret(&self) -> &str {
        self.token.as_deref().expect("the client has a token")
    }

    /// Makes a token and returns the client that has it.
    pub async fn token(&self, name: &str, scope: &str) -> Self {
        let made = self.post("/api/v1/tokens", json!({ "name": name, "scope": scope })).await;
        assert_eq!(made.status, 201, "{}", made.text);
        self.with_token(made.json["secret"].as_str().expect("the secret is text"))
    }

    /// Asks for something.
    pub async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, None, Vec::new()).await
    }

    /// Posts JSON.
    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.send("POST", path, Some("application/json"), body.to_string().into_bytes()).await
    }

    /// Changes something by JSON.
    pub async fn patch(&self, path: &str, body: Value) -> Answer {
        self.send("PATCH", path, Some("application/json"), body.to_string().into_bytes()).await
    }

    /// Sends a form as a browser does.
    pub async fn form(&self, path: &str, body: &str) -> Answer {
        let kind = Some("application/x-www-form-urlencoded");
        self.send("POST", path, kind, body.as_bytes().to_vec()).await
    }

    /// Removes something.
    pub async fn delete(&self, path: &str) -> Answer {
        self.send("DELETE", path, None, Vec::new()).await
    }

    /// Sends any bytes whose length is known.
    pub async fn send(&self, method: &str, path: &str, kind: Option<&str>, body: Vec<u8>) -> Answer {
        let request = self.request(method, path, kind, Some(body.len()), Body::from(body));
        Answer::read(self.call(request).await).await
    }

    /// Sends any bytes in pieces whose sum is not announced.
    pub async fn stream(&self, method: &str, path: &str, kind: &str, body: Vec<u8>) -> Answer {
        let pieces: Vec<Result<Vec<u8>, std::io::Error>> =
            body.chunks(64 << 10).map(|c| Ok(c.to_vec())).collect();
        let body = Body::from_stream(futures_util::stream::iter(pieces));
        let request = self.request(method, path, Some(kind), None, body);
        Answer::read(self.call(request).await).await
    }

    /// Opens a stream of server-sent events.
    pub async fn open_stream(&self, path: &str) -> EventStream {
        let response = self.call(self.request("GET", path, None, None, Body::empty())).await;
        assert_eq!(response.status(), 200);
        EventStream { body: response.into_body(), buffer: String::new() }
    }

    fn request(
        &self,
        method: &str,
        path: &str,
        kind: Option<&str>,
        length: Option<usize>,
        body: Body,
    ) -> Request<Body> {
        let mut request = Request::builder().method(method).uri(path).body(body).expect("a request");
        let headers = request.headers_mut();
        headers.insert(header::HOST, "panda.example.com".parse().expect("a value"));
        if self.says_origin {
            headers.insert(header::ORIGIN, "https://panda.example.com".parse().expect("a value"));
        }
        if let Some(kind) = kind {
            headers.insert(header::CONTENT_TYPE, kind.parse().expect("a value"));
        }
        if let Some(length) = length.filter(|length| *length > 0) {
            headers.insert(header::CONTENT_LENGTH, length.into());
        }
        if let Some(token) = &self.token {
            headers.insert(header::AUTHORIZATION, format!("Bearer {token}").parse().expect("a value"));
        }
        if let Some(cookie) = &self.cookie {
            headers.insert(header::COOKIE, format!("theme=x; {COOKIE}={cookie}").parse().expect("a value"));
        }
        for (name, value) in &self.headers {
            headers.insert(name.clone(), value.clone());
        }
        request.extensions_mut().insert(ConnectInfo(self.peer));
        request
    }

    async fn call(&self, request: Request<Body>) -> Response<Body> {
        let answer = self.router.clone().oneshot(request);
        let answer = tokio::time::timeout(PATIENCE, answer).await.expect("an answer in time");
        answer.unwrap_or_else(|never| match never {})
    }
}

/// A whole answer.
#[derive(Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The body as text.
    pub text: String,
    /// The body as JSON, `null` when it is none.
    pub json: Value,
    headers: HeaderMap,
}

impl Answer {
    async fn read(response: Response<Body>) -> Self {
        let (parts, body) = response.into_parts();
        let bytes = tokio::time::timeout(PATIENCE, body.collect()).await.expect("a body in time");
        let text = String::from_utf8_lossy(&bytes.expect("a body").to_bytes()).into_owned();
        let json = serde_json::from_str(&text).unwrap_or(Value::Null);
        Self { status: parts.status.as_u16(), text, json, headers: parts.headers }
    }

    /// Returns a header, empty when it isn't there.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// Returns the problem's code, empty when it is no problem.
    pub fn code(&self) -> &str {
        self.json["code"].as_str().unwrap_or_default()
    }

    /// Returns the body without the request's id, to compare two answers.
    pub fn without_instance(&self) -> Value {
        let mut body = self.json.clone();
        if let Some(fields) = body.as_object_mut() {
            fields.remove("instance");
        }
        body
    }
}

/// One server-sent event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SseEvent {
    /// Its `id`.
    pub id: String,
    /// Its `event`.
    pub event: String,
    /// Its `data`.
    pub data: String,
}

/// An open stream of server-sent events.
pub struct EventStream {
    body: Body,
    buffer: String,
}

impl EventStream {
    /// Waits for the next event; fails when the stream ends before.
    pub async fn next_event(&mut self) -> SseEvent {
        loop {
            if let Some(end) = self.buffer.find("\n\n") {
                let block: String = self.buffer.drain(..end + 2).collect();
                let event = parse(&block);
                if event != SseEvent::default() {
                    return event;
                }
                continue;
            }
            assert!(self.read_more().await, "the stream ended");
        }
    }

    /// Waits until the server ends the stream.
    pub async fn to_end(&mut self) {
        while self.read_more().await {}
    }

    async fn read_more(&mut self) -> bool {
        let frame =
            tokio::time::timeout(PATIENCE, self.body.frame()).await.expect("the stream goes on in time");
        match frame {
            Some(frame) => {
                if let Ok(data) = frame.expect("the stream doesn't break").into_data() {
                    self.buffer.push_str(&String::from_utf8_lossy(&data));
                }
                true
            }
            None => false,
        }
    }
}

fn parse(block: &str) -> SseEvent {
    let mut event = SseEvent::default();
    for line in block.lines() {
        match line.split_once(": ") {
            Some(("id", value)) => value.clone_into(&mut event.id),
            Some(("event", value)) => value.clone_into(&mut event.event),
            Some(("data", value)) => event.data.push_str(value),
            _ => {}
        }
    }
    event
}
