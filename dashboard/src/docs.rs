//! The API's document for people, and a page for each error code: those of the API, and those of builds and deployments.

use askama::Template;
use axum::Router;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use panda_api_types::ErrorCode;
use panda_domain::failure::{Explained, FailureCode};
use panda_platform_api::Error;
use panda_platform_api::http::Shared;

use crate::page::{PageError, html};

pub(crate) fn routes() -> Router<Shared> {
    Router::new()
        .route("/docs", get(api))
        .route("/docs/errors", get(errors))
        .route("/docs/errors/{code}", get(error))
}

#[derive(Template)]
#[template(path = "docs.html")]
struct ApiPage;

async fn api() -> Response {
    html(StatusCode::OK, &ApiPage)
}

struct Entry {
    word: &'static str,
    title: &'static str,
    status: u16,
    exit: u8,
    meaning: &'static str,
    fix: &'static str,
}

#[derive(Template)]
#[template(path = "errors.html")]
struct ErrorsPage {
    entries: Vec<Entry>,
    failures: Vec<FailurePage>,
}

async fn errors() -> Response {
    let entries = ErrorCode::ALL.iter().copied().map(entry).collect();
    let failures = FailureCode::ALL.iter().copied().map(failure).collect();
    html(StatusCode::OK, &ErrorsPage { entries, failures })
}

#[derive(Template)]
#[template(path = "error_code.html")]
struct ErrorCodePage {
    entry: Entry,
}

#[derive(Template)]
#[template(path = "failure_code.html")]
struct FailurePage {
    word: &'static str,
    explained: Explained,
}

async fn error(Path(word): Path<String>) -> Result<Response, PageError> {
    if let Some(code) = FailureCode::ALL.iter().find(|code| code.word().eq_ignore_ascii_case(&word)) {
        return Ok(html(StatusCode::OK, &failure(*code)));
    }
    let code = ErrorCode::ALL.iter().copied().find(|code| code.word() == word);
    let code = code.ok_or_else(|| Error::not_found("page"))?;
    Ok(html(StatusCode::OK, &ErrorCodePage { entry: entry(code) }))
}

fn failure(code: FailureCode) -> FailurePage {
    FailurePage { word: code.word(), explained: code.explained() }
}

fn entry(code: ErrorCode) -> Entry {
    let (meaning, fix) = explained(code);
    Entry { word: code.word(), title: code.title(), status: code.status(), exit: code.exit(), meaning, fix }
}

/// What the code means and what to do about it.
fn explained(code: ErrorCode) -> (&'static str, &'static str) {
    use ErrorCode as C;
    match code {
        C::Internal => (
            "The server has a bug, or something under it broke in a way that nobody foresaw.",
            "Try again once. If it stays, give the request's id to the operator: the cause is in the server's log.",
        ),
        C::NotFound => (
            "There is nothing of this name, or it belongs to a team that you are not in. The answer is the same for both.",
            "Check the name with `panda apps`, and the team with `panda whoami`.",
        ),
        C::Unauthenticated => (
            "The request came without a login, or with one that has ended or was revoked.",
            "Sign in with `panda login`. In CI, make a new token with `panda tokens create`.",
        ),
        C::Forbidden => (
            "The login is valid but its role or its scope doesn't cover this, or the request came from another site's page.",
            "Use a token with a wider scope, or ask an owner of the team for the role.",
        ),
        C::Unclaimed => (
            "The server is new and has no owner yet.",
            "Open the address on the server's console, or run `panda login` with the token that is printed there.",
        ),
        C::Conflict => (
            "What is there now doesn't allow it: it is being destroyed, or something else is going on.",
            "Look at `panda status`, wait for what is going on, and try again.",
        ),
        C::NameTaken => ("The name is in use.", "Choose another name, or remove what has it."),
        C::InvalidRequest => (
            "The body, a field or a parameter is wrong. `errors` names each field and what would be right.",
            "Correct the fields that `errors` names.",
        ),
        C::InvalidManifest => (
            "`panda.toml` is wrong. `errors` names the key.",
            "Correct the keys that `errors` names; the reference of `panda.toml` has them all.",
        ),
        C::InvalidSource => (
            "The uploaded directory can't be used: a path leads outside, it is too large, or a file is missing.",
            "Leave the named file out with `.pandaignore`, or deploy an image.",
        ),
        C::Unsupported => (
            "This server's runtime can't do it, or the key waits for a later version.",
            "Leave it out, or move to a runtime that has it.",
        ),
        C::Unavailable => (
            "Something that the server needs can't be reached right now. Running apps are not touched.",
            "Try again after the seconds in `retry_after`. Operators: `panda-server doctor`.",
        ),
        C::Timeout => ("It took too long and was ended.", "Try again; if it stays, tell the operator."),
        C::QuotaExceeded => {
            ("A limit of the team is reached.", "Remove what isn't needed, or ask for a higher limit.")
        }
        C::RateLimited => {
            ("Too many requests came in a short time.", "Wait for the seconds in `retry_after`.")
        }
        C::TooLarge => ("The body is larger than the server takes.", "Send less at once."),
        C::UndecryptableSecrets => (
            "Env or secrets were stored under another key than the server has now. Nothing is guessed: it stops here.",
            "Operators: give the server the key file that it had, from the backup of the keys.",
        ),
        C::AuthorizationPending => (
            "The device login waits until somebody approves it in a browser.",
            "Open the address that the terminal shows and compare the code.",
        ),
        C::SlowDown => ("The device login was polled too often.", "Poll every five seconds."),
        C::Expired => (
            "It works once, or for some minutes, and that is over: a claim token, a device login.",
            "Start again: `panda login`.",
        ),
    }
}
