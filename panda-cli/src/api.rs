//! The HTTP API as this client speaks it: deadlines, problems, a pinned authority, streams that resume.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use panda_api_types::{ErrorCode, Page, Problem};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use url::Url;

use crate::error::{CliError, Result};
use crate::target::{Server, is_loopback, said};

/// How long one exchange may take, streams and uploads apart.
const EXCHANGE: Duration = Duration::from_mins(1);
const CONNECT: Duration = Duration::from_secs(10);
/// The most items that a list gathers.
const MAX_ITEMS: usize = 10_000;

/// A client of one server. Has no `Debug`, because of the token.
pub(crate) struct Api {
    http: reqwest::Client,
    /// Who is asked, and as whom.
    pub(crate) server: Server,
}

/// What is asked: a path below /api/v1 and its query.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ask {
    segments: Vec<String>,
    query: Vec<(&'static str, String)>,
}

impl Ask {
    /// Starts a path; each part is escaped.
    pub(crate) fn at<S: AsRef<str>>(segments: impl IntoIterator<Item = S>) -> Self {
        Self {
            segments: segments.into_iter().map(|part| part.as_ref().to_owned()).collect(),
            query: Vec::new(),
        }
    }

    /// Goes further down.
    #[must_use]
    pub(crate) fn then<S: AsRef<str>>(mut self, segments: impl IntoIterator<Item = S>) -> Self {
        self.segments.extend(segments.into_iter().map(|part| part.as_ref().to_owned()));
        self
    }

    /// Adds to the query.
    #[must_use]
    #[expect(clippy::needless_pass_by_value, reason = "numbers, names and texts read alike at the call")]
    pub(crate) fn with(mut self, key: &'static str, value: impl ToString) -> Self {
        self.query.push((key, value.to_string()));
        self
    }

    /// Adds to the query if there is a value.
    #[must_use]
    pub(crate) fn with_some(self, key: &'static str, value: Option<impl ToString>) -> Self {
        match value {
            Some(value) => self.with(key, value),
            None => self,
        }
    }

    /// Returns the address at this server.
    pub(crate) fn url(&self, base: &Url) -> Url {
        let mut url = base.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(["api", "v1"]).extend(&self.segments);
        }
        if !self.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&self.query);
        }
        url
    }
}

impl Api {
    /// Makes a client that trusts the server's pinned authority, or the system's.
    pub(crate) fn new(server: Server) -> Result<Self> {
        let mut builder = builder(&server.url);
        if let Some(pem) = &server.ca {
            let certificates = reqwest::Certificate::from_pem_bundle(pem.as_bytes()).map_err(|_| {
                CliError::new(ErrorCode::InvalidRequest, "the pinned authority is no PEM certificate")
                    .hint("run `panda login` again")
            })?;
            builder = builder.tls_certs_only(certificates);
        }
        let http = builder.build().map_err(|error| network(&error, &server.url))?;
        Ok(Self { http, server })
    }

    /// Makes a client that checks no certificate and knows no token: good for nothing but to ask for the
    /// server's public facts, which are compared afterwards.
    pub(crate) fn unchecked(url: Url) -> Result<Self> {
        let built = builder(&url).tls_danger_accept_invalid_certs(true).build();
        let http = built.map_err(|error| network(&error, &url))?;
        Ok(Self { http, server: Server { url, token: None, ca: None } })
    }

    /// Returns the address of one of the server's pages.
    pub(crate) fn page<'a>(&self, path: impl IntoIterator<Item = &'a str>) -> String {
        let mut url = self.server.url.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        url.to_string()
    }

    /// Starts a request.
    pub(crate) fn request(&self, method: Method, ask: &Ask) -> RequestBuilder {
        let request = self.http.request(method, ask.url(&self.server.url));
        match &self.server.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    /// Sends a request; a problem becomes an error.
    pub(crate) async fn send(&self, request: RequestBuilder) -> Result<Response> {
        let response = request.send().await.map_err(|error| network(&error, &self.server.url))?;
        if response.status().is_success() { Ok(response) } else { Err(self.problem(response).await) }
    }

    /// Reads.
    pub(crate) async fn get<T: DeserializeOwned>(&self, ask: &Ask) -> Result<T> {
        self.body(self.request(Method::GET, ask).timeout(EXCHANGE)).await
    }

    /// Reads a text.
    pub(crate) async fn text(&self, ask: &Ask) -> Result<String> {
        let response = self.send(self.request(Method::GET, ask).timeout(EXCHANGE)).await?;
        response.text().await.map_err(|error| network(&error, &self.server.url))
    }

    /// Reads a list, page by page, up to `limit` items.
    pub(crate) async fn list<T: DeserializeOwned>(&self, ask: &Ask, limit: Option<u32>) -> Result<Vec<T>> {
        let wanted = limit.map_or(MAX_ITEMS, |limit| limit as usize);
        let mut items = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let size = wanted.saturating_sub(items.len()).clamp(1, 200);
            let page: Page<T> =
                self.get(&ask.clone().with("limit", size).with_some("cursor", cursor.as_deref())).await?;
            items.extend(page.items);
            if items.len() >= wanted {
                items.truncate(wanted);
                return Ok(items);
            }
            if page.next_cursor.is_none() || page.next_cursor == cursor {
                return Ok(items);
            }
            cursor = page.next_cursor;
        }
    }

    /// Sends a body and reads the answer.
    pub(crate) async fn exchange<B: Serialize, T: DeserializeOwned>(
        &self,
        method: Method,
        ask: &Ask,
        body: &B,
    ) -> Result<T> {
        self.body(self.request(method, ask).timeout(EXCHANGE).json(body)).await
    }

    /// Sends a request without a body and reads the answer.
    pub(crate) async fn ask<T: DeserializeOwned>(&self, method: Method, ask: &Ask) -> Result<T> {
        self.body(self.request(method, ask).timeout(EXCHANGE)).await
    }

    /// Sends a request without a body and doesn't read the answer.
    pub(crate) async fn order(&self, method: Method, ask: &Ask) -> Result<()> {
        self.send(self.request(method, ask).timeout(EXCHANGE)).await.map(drop)
    }

    /// Sends and reads the answer.
    pub(crate) async fn body<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T> {
        let response = self.send(request).await?;
        let bytes = response.bytes().await.map_err(|error| network(&error, &self.server.url))?;
        serde_json::from_slice(&bytes).map_err(|error| {
            CliError::new(
                ErrorCode::Internal,
                format!("`{}` answered something else than its API says: {error}", self.server.url),
            )
            .hint("`panda doctor` compares the versions of client and server")
        })
    }

    fn not_signed_in(&self, error: CliError) -> CliError {
        let url = &self.server.url;
        if self.server.token.is_none() {
            return error
                .detail_instead(format!("you aren't signed in to `{url}`"))
                .hint_instead(format!("run `panda login --server {url}`"));
        }
        let error = error.detail_instead(format!("`{url}` refuses the login: it has ended or was revoked"));
        error.hint_instead(if said("PANDA_TOKEN").is_some() {
            "run `panda login` and unset PANDA_TOKEN, or give it a new token (`panda tokens create`)"
                .to_owned()
        } else {
            format!("run `panda login --server {url}`")
        })
    }

    async fn problem(&self, response: Response) -> CliError {
        let status = response.status();
        let retry_after =
            response.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
        let body = response.bytes().await.unwrap_or_default();
        if let Ok(problem) = serde_json::from_slice::<Problem>(&body) {
            let error = CliError::from(problem);
            return match error.code() {
                Some(ErrorCode::Unauthenticated) => self.not_signed_in(error),
                Some(ErrorCode::Unclaimed) => error.hint(format!("claim it at {}", self.server.url)),
                _ => error,
            };
        }
        let code = match status {
            StatusCode::NOT_FOUND => ErrorCode::NotFound,
            StatusCode::UNAUTHORIZED => ErrorCode::Unauthenticated,
            StatusCode::FORBIDDEN => ErrorCode::Forbidden,
            StatusCode::CONFLICT => ErrorCode::Conflict,
            StatusCode::PAYLOAD_TOO_LARGE => ErrorCode::TooLarge,
            StatusCode::TOO_MANY_REQUESTS => ErrorCode::RateLimited,
            StatusCode::GATEWAY_TIMEOUT => ErrorCode::Timeout,
            StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE => ErrorCode::Unavailable,
            status if status.is_client_error() => ErrorCode::InvalidRequest,
            _ => ErrorCode::Internal,
        };
        let mut problem = Problem::new(code, format!("`{}` answered {status}", self.server.url));
        problem.retry_after = retry_after;
        CliError::from(problem).hint("is this address a Panda server?")
    }
}

fn builder(url: &Url) -> reqwest::ClientBuilder {
    let builder = reqwest::Client::builder()
        .user_agent(concat!("panda/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT)
        .redirect(reqwest::redirect::Policy::none());
    match url.host_str() {
        Some(host) if is_loopback(url) => builder.no_proxy().resolve_to_addrs(host, &loopback(url)),
        _ => builder,
    }
}

/// Returns where `*.localhost` is.
pub(crate) fn loopback(url: &Url) -> [SocketAddr; 2] {
    let port = url.port_or_known_default().unwrap_or(443);
    [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)].map(|ip| SocketAddr::new(ip, port))
}

/// Tells that the server can't be reached, and the innermost reason.
pub(crate) fn network(error: &(dyn std::error::Error + 'static), url: &Url) -> CliError {
    let mut inner = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    let why = inner.to_string();
    let lower = why.to_lowercase();
    let untrusted =
        ["certificate", "unknownissuer", "unknown issuer"].iter().any(|word| lower.contains(word));
    // What came back wasn't TLS at all.
    let plain = lower.contains("corrupt message") || lower.contains("invalidcontenttype");
    let hint = if plain && is_loopback(url) {
        format!("nothing speaks https there; try {}", url.as_str().replacen("https:", "http:", 1))
    } else if plain {
        "nothing speaks https there; check the port".to_owned()
    } else if untrusted {
        format!(
            "if the server has its own authority, run `panda login --server {url}`; it shows the fingerprint"
        )
    } else if is_loopback(url) {
        "is the server running on this machine? `panda-server doctor` tells".to_owned()
    } else {
        "check the address and the network; `panda doctor` looks closer".to_owned()
    };
    CliError::new(ErrorCode::Unavailable, format!("can't reach `{url}`: {why}")).hint(hint)
}
