//! The registry's token endpoint, for nodes of a cluster that pull by themselves: `docs/decisions/2026-11-25-node-logins.md`.
//!
//! Nothing is kept or looked up: what the caller shows is a token of ours that names its repository. So every server of an
//! installation answers, and a stolen login reads one app's images.

use axum::extract::{DefaultBodyLimit, Form, RawQuery, State};
use axum::http::header::{AUTHORIZATION, CACHE_CONTROL};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use panda_api_types::ErrorCode;
use serde::{Deserialize, Serialize};

use super::Shared;
use crate::error::{Error, Result};

/// A login has about a thousand bytes.
const FORM_LIMIT: usize = 16 << 10;
/// How many repositories one token is asked for at most.
const SCOPES: usize = 16;

pub(super) fn routes() -> Router<Shared> {
    Router::new()
        .route("/registry/token", get(by_basic).post(by_form))
        .layer(DefaultBodyLimit::max(FORM_LIMIT))
}

/// What clients read: older ones the first, newer ones the second.
#[derive(Serialize)]
struct Answer {
    token: String,
    access_token: String,
    expires_in: u64,
}

/// The OAuth 2 form as containerd sends it. The user's name says nothing.
#[derive(Deserialize)]
struct Asked {
    #[serde(default)]
    grant_type: String,
    #[serde(default)]
    password: String,
    #[serde(default)]
    scope: String,
}

async fn by_basic(
    State(platform): State<Shared>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response> {
    let shown = headers.get(AUTHORIZATION).and_then(password).ok_or_else(refused)?;
    let query = query.unwrap_or_default();
    let scopes: Vec<_> = url::form_urlencoded::parse(query.as_bytes())
        .filter(|(name, _)| name == "scope")
        .map(|(_, value)| value.into_owned())
        .collect();
    answer(&platform, &shown, &scopes.join(" "))
}

async fn by_form(State(platform): State<Shared>, Form(asked): Form<Asked>) -> Result<Response> {
    if asked.grant_type != "password" {
        return Err(Error::new(ErrorCode::InvalidRequest, "only `grant_type=password` is answered"));
    }
    answer(&platform, &asked.password, &asked.scope)
}

/// `repository:NAME:pull` gives NAME, whatever else is wished for it: nobody pushes with a login.
fn repository(scope: &str) -> Option<&str> {
    let (name, actions) = scope.strip_prefix("repository:")?.rsplit_once(':')?;
    actions.split(',').any(|action| action == "pull").then_some(name)
}

fn answer(platform: &Shared, shown: &str, scope: &str) -> Result<Response> {
    let wished: Vec<&str> = scope.split_whitespace().filter_map(repository).take(SCOPES).collect();
    let key = platform.registry_key.as_ref().ok_or_else(refused)?;
    let (token, holds) = key.exchange(shown, &wished).ok_or_else(refused)?;
    let token = token.reveal().to_owned();
    let expires_in = holds.as_secs();
    let body = Json(Answer { access_token: token.clone(), token, expires_in });
    Ok(([(CACHE_CONTROL, "no-store")], body).into_response())
}

fn password(header: &HeaderValue) -> Option<String> {
    let encoded = header.to_str().ok()?.strip_prefix("Basic ")?;
    let pair = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    pair.split_once(':').map(|(_, password)| password.to_owned())
}

fn refused() -> Error {
    Error::new(ErrorCode::Unauthenticated, "this login to the registry isn't known, or its time is over")
        .with_hint(
            "the platform renews the logins of nodes by itself; `panda-server doctor` looks at the registry",
        )
}
