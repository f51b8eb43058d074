//! Layers that refuse: a request from another site, a server without owner, a request that takes too long.

use axum::extract::{Request, State};
use axum::http::header;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use panda_api_types::ErrorCode;

use super::{Shared, cookie};
use crate::error::Error;

/// Routes that answer before the server has an owner.
const BEFORE_CLAIM: &[&str] = &["/api/v1/server", "/api/v1/claim"];

/// Refuses everything but the first steps until somebody has claimed the server.
pub(super) async fn only_when_claimed(
    State(platform): State<Shared>,
    request: Request,
    next: Next,
) -> Response {
    let route = request.extensions().get::<axum::extract::MatchedPath>();
    if route.is_some_and(|route| BEFORE_CLAIM.contains(&route.as_str())) {
        return next.run(request).await;
    }
    match platform.is_claimed().await {
        Ok(true) => next.run(request).await,
        Ok(false) => Error::new(ErrorCode::Unclaimed, "this server has no owner yet")
            .with_hint(format!("claim it at {}", platform.settings.page("/claim")))
            .into_response(),
        Err(error) => error.into_response(),
    }
}

/// Ends a request that takes longer than it may.
pub(super) async fn deadline(State(platform): State<Shared>, request: Request, next: Next) -> Response {
    match tokio::time::timeout(platform.settings.request_deadline, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Error::new(ErrorCode::Timeout, "the request took too long").into_response(),
    }
}

/// Refuses requests that change something by the session's cookie without saying where they come from. What they say is judged
/// by the layer of [`super::origin`].
pub(super) async fn same_origin(request: Request, next: Next) -> Response {
    if request.method().is_safe() {
        return next.run(request).await;
    }
    let headers = request.headers();
    let unproven = !headers.contains_key(header::ORIGIN) && !headers.contains_key("sec-fetch-site");
    if unproven && cookie::secret_of(headers).is_some() {
        return Error::forbidden("a request with the session's cookie has to say its origin").into_response();
    }
    next.run(request).await
}
