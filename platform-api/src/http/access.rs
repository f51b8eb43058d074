//! Layers that refuse: a request from another site, a server without owner, a request that takes too long.

use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::header;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use panda_api_types::ErrorCode;

use super::{Shared, cookie};
use crate::error::{Error, Result};
use crate::platform::Platform;

/// Routes that answer before the server has an owner.
const BEFORE_CLAIM: &[&str] = &["/api/v1/server", "/api/v1/claim"];

/// Refuses everything but the first steps until somebody has claimed the server.
pub(super) async fn only_when_claimed(
    State(platform): State<Shared>,
    request: Request,
    next: Next,
) -> Response {
    match require_claimed(&platform, is_first_step(&request)).await {
        Ok(()) => next.run(request).await,
        Err(error) => error.into_response(),
    }
}

fn is_first_step(request: &Request) -> bool {
    let route = request.extensions().get::<axum::extract::MatchedPath>();
    route.is_some_and(|route| BEFORE_CLAIM.contains(&route.as_str()))
}

async fn require_claimed(platform: &Platform, first_step: bool) -> Result<()> {
    if first_step || platform.is_claimed().await? {
        return Ok(());
    }
    Err(Error::new(ErrorCode::Unclaimed, "this server has no owner yet")
        .with_hint(format!("claim it at {}", platform.settings.page("/claim"))))
}

/// Ends a request that takes longer than it may, lets no extractor read more than [`super::BODY_LIMIT`] of it, and refuses it
/// before somebody has claimed the server.
pub(super) async fn in_bounds(State(platform): State<Shared>, mut request: Request, next: Next) -> Response {
    DefaultBodyLimit::max(super::BODY_LIMIT).apply(&mut request);
    if let Err(error) = require_claimed(&platform, is_first_step(&request)).await {
        return error.into_response();
    }
    match tokio::time::timeout(platform.settings.request_deadline, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Error::new(ErrorCode::Timeout, "the request took too long").into_response(),
    }
}

/// Refuses requests that change something by the session's cookie without saying where they come from. What they say is judged
/// by the layer of [`super::origin`].
pub(super) fn require_origin(request: &Request) -> Result<()> {
    if request.method().is_safe() {
        return Ok(());
    }
    let headers = request.headers();
    let unproven = !headers.contains_key(header::ORIGIN) && !headers.contains_key("sec-fetch-site");
    if unproven && cookie::secret_of(headers).is_some() {
        return Err(Error::forbidden("a request with the session's cookie has to say its origin"));
    }
    Ok(())
}
