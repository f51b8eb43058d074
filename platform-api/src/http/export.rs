//! An app as files that need no Panda.

use axum::extract::State;
use panda_api_types::{Export, ExportFile, ExportFormat};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Json, Query, Shared, Target, TargetParams};
use crate::app::export;
use crate::auth::Principal;
use crate::error::Result;

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(files))
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ExportQuery {
    /// How it is written.
    format: ExportFormat,
}

/// The release that serves, as files that need no Panda: values of plain variables are in them, which is written down in the
/// events; secrets are named holes.
#[utoipa::path(get, path = "/apps/{app}/export", tag = "apps", params(TargetParams, ExportQuery),
    responses((status = 200, body = Export)))]
async fn files(
    State(platform): State<Shared>,
    principal: Principal,
    target: Target,
    Query(query): Query<ExportQuery>,
) -> Result<Json<Export>> {
    let Target { app, environment } = &target;
    let exported = export::export(&platform, &principal, app, environment, query.format).await?;
    let secrets = exported.app.holes().into_iter().map(str::to_owned).collect();
    let files = exported.files.into_iter().map(|file| ExportFile { path: file.path, text: file.text });
    Ok(Json(Export {
        app: app.to_string(),
        environment: environment.to_string(),
        release: exported.app.release,
        format: query.format,
        files: files.collect(),
        secrets,
    }))
}
