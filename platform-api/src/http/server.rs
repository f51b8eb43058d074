//! `GET /server`: what anybody may know.

use axum::extract::State;
use panda_api_types::ServerInfo;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Json, Shared};
use crate::error::Result;

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(show))
}

/// What anybody may know about this server.
#[utoipa::path(get, path = "/server", tag = "server", security(()), responses((status = 200, body = ServerInfo)))]
async fn show(State(platform): State<Shared>) -> Result<Json<ServerInfo>> {
    let settings = &platform.settings;
    Ok(Json(ServerInfo {
        version: settings.version.clone(),
        claimed: platform.is_claimed().await?,
        url: settings.page(""),
        apps_domain: settings.apps_domain.clone(),
        local_ca: settings.local_ca.clone(),
    }))
}
