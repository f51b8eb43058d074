//! The platform's API as the tests speak it.

use std::fmt;
use std::time::Duration;

use panda_api_types::{ErrorCode, Problem};
use reqwest::{Method, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The longest that an answer may take; none of the API's own work needs more.
const PATIENCE: Duration = Duration::from_secs(30);

/// A client with a token.
#[derive(Debug, Clone)]
pub struct Api {
    http: reqwest::Client,
    base: String,
    token: Option<String>,
}

fn base(address: &str) -> String {
    format!("{address}/api/v1")
}

/// Anything but a success.
#[derive(Debug)]
pub enum Refusal {
    /// problem+json.
    Problem(Box<Problem>),
    /// An answer that isn't problem+json, which is a bug.
    Bare(StatusCode, String),
    /// No answer.
    Broken(String),
}

impl Refusal {
    /// Returns the problem, if the server told one.
    pub fn problem(&self) -> Option<&Problem> {
        if let Self::Problem(problem) = self { Some(problem) } else { None }
    }

    /// Returns the code, if the server told one.
    pub fn code(&self) -> Option<ErrorCode> {
        self.problem().map(|problem| problem.code)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Problem(p) => {
                write!(f, "{} {:?}: {} {:?} {:?}", p.status, p.code, p.detail, p.hint, p.errors)
            }
            Self::Bare(status, text) => write!(f, "{status} without a problem: {text}"),
            Self::Broken(text) => write!(f, "no answer: {text}"),
        }
    }
}

impl std::error::Error for Refusal {}

impl Api {
    /// Returns the same client of a server at another address.
    #[must_use]
    pub fn moved_to(self, address: &str) -> Self {
        Self { base: base(address), ..self }
    }

    /// Makes a client of the server at this address, such as `http://127.0.0.1:7080`.
    pub fn at(address: &str) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build()?;
        Ok(Self { http, base: base(address), token: None })
    }

    /// Sends this token from now on.
    #[must_use]
    pub fn with_token(mut self, token: &str) -> Self {
        self.token = Some(token.to_owned());
        self
    }

    /// Sends no token.
    #[must_use]
    pub fn without_token(&self) -> Self {
        Self { token: None, ..self.clone() }
    }

    /// Begins a request at a path below `/api/v1`.
    pub fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.base));
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    /// Reads.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Refusal> {
        answer(self.request(Method::GET, path)).await
    }

    /// Reads text.
    pub async fn text(&self, path: &str) -> Result<String, Refusal> {
        body(self.request(Method::GET, path)).await
    }

    /// Sends a body.
    pub async fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, Refusal> {
        answer(self.request(method, path).json(body)).await
    }

    /// Posts.
    pub async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, Refusal> {
        self.send(Method::POST, path, body).await
    }

    /// Posts without a body, whatever the answer's.
    pub async fn poke(&self, path: &str) -> Result<String, Refusal> {
        body(self.request(Method::POST, path)).await
    }

    /// Deletes, whatever the answer's body.
    pub async fn delete(&self, path: &str) -> Result<String, Refusal> {
        body(self.request(Method::DELETE, path)).await
    }
}

/// Sends and reads the answer.
pub async fn answer<T: DeserializeOwned>(request: reqwest::RequestBuilder) -> Result<T, Refusal> {
    let text = body(request).await?;
    serde_json::from_str(&text).map_err(|error| Refusal::Bare(StatusCode::OK, format!("{error} in: {text}")))
}

/// Sends and returns the body of a success.
pub async fn body(request: reqwest::RequestBuilder) -> Result<String, Refusal> {
    let broken = |error: reqwest::Error| Refusal::Broken(format!("{error:?}"));
    let answer = request.send().await.map_err(broken)?;
    let status = answer.status();
    let text = answer.text().await.map_err(broken)?;
    if status.is_success() {
        return Ok(text);
    }
    match serde_json::from_str(&text) {
        Ok(problem) => Err(Refusal::Problem(Box::new(problem))),
        Err(_) => Err(Refusal::Bare(status, text)),
    }
}
