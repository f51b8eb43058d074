//! Projects.

use axum::extract::State;
use panda_api_types::{Page, Project};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::paging::whole;
use super::{Json, Shared};
use crate::app::projects;
use crate::auth::Principal;
use crate::error::Result;

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(list))
}

/// The team's projects.
#[utoipa::path(get, path = "/projects", tag = "apps", responses((status = 200, body = Page<Project>)))]
async fn list(State(platform): State<Shared>, principal: Principal) -> Result<Json<Page<Project>>> {
    let rows = projects::list(&platform.store, &principal).await?;
    Ok(Json(whole(rows, |project| Project { id: project.id.to_string(), name: project.name.to_string() })))
}
