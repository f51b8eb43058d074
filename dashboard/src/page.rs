//! What all pages share: who looks at them, and how they say that something went wrong.

use askama::Template;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{Html, IntoResponse, Redirect, Response};
use panda_api_types::ErrorCode;
use panda_platform_api::auth::Principal;
use panda_platform_api::http::{Shared, cookie, problem};
use panda_platform_api::{Error, Result};

/// Returns the person who is signed in, if there is one.
pub(crate) async fn viewer(platform: &Shared, headers: &HeaderMap) -> Result<Option<Principal>> {
    match cookie::secret_of(headers) {
        Some(secret) => Principal::by_session(&mut platform.store.read().await?, &secret).await,
        None => Ok(None),
    }
}

/// Renders a template with a status.
pub(crate) fn html(status: StatusCode, page: &impl Template) -> Response {
    match page.render() {
        Ok(text) => (status, Html(text)).into_response(),
        Err(error) => PageError(Error::internal(error)).into_response(),
    }
}

/// Sends the browser to another of our pages.
pub(crate) fn go(path: &str) -> Response {
    Redirect::to(path).into_response()
}

/// Returns what a form shows above its fields, or the error itself when it isn't about the form.
pub(crate) fn notice(error: Error) -> Result<(StatusCode, String), PageError> {
    match error.code() {
        ErrorCode::Internal | ErrorCode::Unavailable | ErrorCode::UndecryptableSecrets => {
            Err(PageError(error))
        }
        code => {
            let mut text = error.detail().to_owned();
            if let Some(hint) = error.hint() {
                text = format!("{text}; {hint}");
            }
            let status = StatusCode::from_u16(code.status()).unwrap_or(StatusCode::BAD_REQUEST);
            Ok((status, text))
        }
    }
}

/// An error that takes the whole page.
#[derive(Debug)]
pub(crate) struct PageError(Error);

impl From<Error> for PageError {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

#[derive(Template)]
#[template(path = "error.html")]
struct ErrorPage<'a> {
    title: &'a str,
    detail: &'a str,
    hint: Option<&'a str>,
    code: &'a str,
}

impl IntoResponse for PageError {
    fn into_response(self) -> Response {
        let error = self.0;
        problem::log(&error);
        let status = StatusCode::from_u16(error.code().status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let page = ErrorPage {
            title: error.code().title(),
            detail: error.detail(),
            hint: error.hint(),
            code: error.code().word(),
        };
        match page.render() {
            Ok(text) => (status, Html(text)).into_response(),
            Err(_) => error.into_response(),
        }
    }
}
