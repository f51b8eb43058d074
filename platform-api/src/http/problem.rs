//! Every error as problem+json, whoever made it: use-case, extractor, layer or framework.

use std::any::Any;
use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use panda_api_types::{ErrorCode, Problem};

use super::request_id::RequestId;
use crate::error::Error;

const CONTENT_TYPE: &str = "application/problem+json";

/// An error on its way out; rendered where the request's id is known.
#[derive(Clone)]
struct Refusal(Arc<Error>);

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.code().status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = Response::new(Body::empty());
        *response.status_mut() = status;
        response.extensions_mut().insert(Refusal(Arc::new(self)));
        response
    }
}

impl Error {
    /// Returns the error as it goes over the wire; streams and sockets send it in their own frames.
    pub fn to_problem(&self, request_id: Option<&RequestId>) -> Problem {
        let mut problem = Problem::new(self.code(), self.detail());
        problem.instance = request_id.map(ToString::to_string).unwrap_or_default();
        problem.hint = self.hint().map(str::to_owned);
        problem.errors = self.fields().to_vec();
        problem.retry_after = self.retry_after_s();
        problem
    }
}

/// Turns a handler's panic into an answer; the panic hook has logged where it was.
#[expect(clippy::needless_pass_by_value, reason = "a caught panic is handed over")]
pub(super) fn of_panic(panic: Box<dyn Any + Send + 'static>) -> Response {
    let text = panic
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        .unwrap_or_else(|| "no text".to_owned());
    Error::internal(format!("a handler panicked: {text}")).into_response()
}

/// Writes the body of every error and logs what the asker must not see, once.
pub(super) fn render(mut response: Response, id: &RequestId, method: &Method, uri: &Uri) -> Response {
    let status = response.status();
    if !status.is_client_error() && !status.is_server_error() {
        return response;
    }
    if let Some(Refusal(error)) = response.extensions_mut().remove::<Refusal>() {
        log(&error);
        return written(response, &error.to_problem(Some(id)));
    }
    if !speaks_for_itself(&response) {
        let mut problem = of_status(status, &format!("{method} {}", shown(uri.path())));
        problem.instance = id.to_string();
        return written(response, &problem);
    }
    response
}

fn written(response: Response, problem: &Problem) -> Response {
    let (mut parts, _) = response.into_parts();
    parts.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE));
    parts.headers.remove(header::CONTENT_LENGTH);
    if let Some(seconds) = problem.retry_after {
        parts.headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    if problem.code == ErrorCode::Unauthenticated {
        parts.headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"panda\""));
    }
    let body = serde_json::to_vec(problem).expect("a problem has only texts and numbers");
    Response::from_parts(parts, Body::from(body))
}

/// Logs the cause of an error, which the asker must not see; pages that write their own errors call it.
pub fn log(error: &Error) {
    let code = error.code().word();
    match (error.code(), error.chain()) {
        (ErrorCode::Internal, chain) => {
            tracing::error!(error.code = code, "{error}: {}", chain.as_deref().unwrap_or("no cause"));
        }
        (_, Some(chain)) => tracing::warn!(error.code = code, "{error}: {chain}"),
        (_, None) => {}
    }
}

/// Pages of the dashboard write their own errors for people.
fn speaks_for_itself(response: &Response) -> bool {
    let kind = response.headers().get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    kind.starts_with("text/html") || kind.starts_with(CONTENT_TYPE)
}

/// Says what the framework only gave a status for.
fn of_status(status: StatusCode, what: &str) -> Problem {
    let (code, detail) = match status {
        StatusCode::METHOD_NOT_ALLOWED => (ErrorCode::InvalidRequest, format!("`{what}` isn't possible")),
        StatusCode::NOT_FOUND => (ErrorCode::NotFound, "there is no such page".to_owned()),
        StatusCode::PAYLOAD_TOO_LARGE => (ErrorCode::TooLarge, "the request's body is too large".to_owned()),
        StatusCode::UNAUTHORIZED => (ErrorCode::Unauthenticated, "no valid login came along".to_owned()),
        StatusCode::FORBIDDEN => (ErrorCode::Forbidden, "this isn't allowed".to_owned()),
        status if status.is_client_error() => {
            (ErrorCode::InvalidRequest, "the request can't be understood".to_owned())
        }
        _ => (ErrorCode::Internal, "something went wrong on the server".to_owned()),
    };
    let mut problem = Problem::new(code, detail);
    problem.status = status.as_u16();
    if code == ErrorCode::TooLarge {
        problem.hint = Some("send less at once; large values belong into files of the source".to_owned());
    }
    problem
}

fn shown(path: &str) -> String {
    path.chars().filter(|c| !c.is_control()).take(120).collect()
}
