//! Scale of an app's processes.

use std::collections::BTreeMap;

use axum::extract::State;
use panda_api_types::{App, ScaleRequest};
use panda_domain::names::ProcessName;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Json, Shared, Target, TargetParams, apps};
use crate::app::scale::{self, ScaleChange, ScaleChanges};
use crate::auth::Principal;
use crate::error::{InField, Result};

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(change))
}

/// Changes replicas and size of processes. Makes no release.
#[utoipa::path(patch, path = "/apps/{app}/scale", tag = "apps", params(TargetParams),
    request_body = ScaleRequest, responses((status = 200, body = App)))]
async fn change(
    State(platform): State<Shared>,
    principal: Principal,
    target: Target,
    Json(body): Json<ScaleRequest>,
) -> Result<Json<App>> {
    let changes = parse(body)?;
    let Target { app, environment } = &target;
    let app = scale::change(&platform.store, &principal, app, environment, &changes).await?;
    Ok(Json(apps::shown(&platform.settings, &app)))
}

fn parse(body: ScaleRequest) -> Result<ScaleChanges> {
    let mut changes = ScaleChanges::new();
    for (process, n) in body.replicas {
        entry(&mut changes, "replicas", &process)?.replicas = Some(n);
    }
    for (process, n) in body.cpu_millis {
        entry(&mut changes, "cpu_millis", &process)?.cpu_millis = Some(n);
    }
    for (process, n) in body.memory_bytes {
        entry(&mut changes, "memory_bytes", &process)?.memory_bytes = Some(n);
    }
    Ok(changes)
}

fn entry<'a>(
    changes: &'a mut BTreeMap<ProcessName, ScaleChange>,
    field: &str,
    process: &str,
) -> Result<&'a mut ScaleChange> {
    let name: ProcessName = process.parse::<ProcessName>().in_field(field)?;
    Ok(changes.entry(name).or_default())
}
