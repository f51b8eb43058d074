//! Whether the process lives, and whether it can work.

use axum::Router;
use axum::extract::State;
use axum::routing::get;

use super::Shared;
use crate::error::Result;

pub(super) fn routes() -> Router<Shared> {
    Router::new().route("/healthz", get(async || "ok\n")).route("/readyz", get(ready))
}

/// Ready means that the state can be read, which it can't before it is migrated.
async fn ready(State(platform): State<Shared>) -> Result<&'static str> {
    crate::app::claim::is_claimed(&platform.store).await?;
    Ok("ready\n")
}
