//! Answers of the edge itself: plain, short, and clear about what happened.

use http::header::{self, HeaderName, HeaderValue};
use http::{Response, StatusCode};

use crate::account::Account;
use crate::upstream::body::AnswerBody;

/// Makes a plain page.
pub(crate) fn text(
    status: StatusCode,
    text: impl Into<String>,
    account: Option<Account>,
) -> Response<AnswerBody> {
    let mut account = account;
    if let Some(account) = &mut account {
        account.answered(status);
    }
    let mut response = Response::new(AnswerBody::own(text.into().into_bytes(), account));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(HeaderName::from_static("x-panda-edge"), HeaderValue::from_static("1"));
    response
}

/// Makes a page after which the connection ends.
pub(crate) fn closing(status: StatusCode, reason: &str, account: Option<Account>) -> Response<AnswerBody> {
    let mut response = text(status, format!("{} {reason}.\n", sentence(status)), account);
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

/// Makes a page for when nobody can answer now.
pub(crate) fn unavailable(reason: &str, account: Option<Account>) -> Response<AnswerBody> {
    let status = StatusCode::SERVICE_UNAVAILABLE;
    let mut response = text(status, format!("{} {reason}.\n", sentence(status)), account);
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("2"));
    response
}

/// Makes the page for a host or path that nobody claimed.
pub(crate) fn no_app(host: &str) -> Response<AnswerBody> {
    text(
        StatusCode::NOT_FOUND,
        format!(
            "404 No app answers here.\n\nNothing is deployed at {host}, or its domain isn't attached to an app.\n"
        ),
        None,
    )
}

/// Sends the client to another place.
pub(crate) fn redirect(status: StatusCode, location: &str, account: Option<Account>) -> Response<AnswerBody> {
    let Ok(value) = HeaderValue::from_str(location) else {
        return closing(StatusCode::BAD_REQUEST, "the address is malformed", account);
    };
    let mut response = text(status, format!("{} {location}\n", sentence(status)), account);
    response.headers_mut().insert(header::LOCATION, value);
    response
}

fn sentence(status: StatusCode) -> String {
    format!("{} {}:", status.as_u16(), status.canonical_reason().unwrap_or_default())
}
