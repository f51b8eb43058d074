//! Apps.

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use panda_api_types::{App, AppRequest, Page, PageQuery, ProcessScale};
use panda_domain::names::{AppName, ProjectName};
use panda_store::PlacedRow;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Json, Query, Reading, Shared, Target, TargetParams, cursor, page};
use crate::app::apps;
use crate::app::seen::seen;
use crate::auth::Principal;
use crate::error::{InField, Result};
use crate::platform::PlatformSettings;

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(list, create)).routes(routes!(read, destroy))
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    /// Only the apps of this project.
    project: Option<String>,
}

/// The team's apps.
#[utoipa::path(get, path = "/apps", tag = "apps", params(ListQuery, PageQuery),
    responses((status = 200, body = Page<App>)))]
async fn list(
    State(platform): State<Shared>,
    Reading { principal, mut tx }: Reading,
    Query(query): Query<ListQuery>,
    Query(paging): Query<PageQuery>,
) -> Result<Json<Page<App>>> {
    let project = query.project.map(|name| name.parse::<ProjectName>().in_field("project")).transpose()?;
    let cursor = cursor(paging)?;
    let rows = apps::list(&mut tx, &principal, project.as_ref(), &cursor).await?;
    let key = |app: &PlacedRow| app.id.to_string();
    Ok(Json(page(rows, &cursor, key, |app| shown(&platform.settings, &app))))
}

/// Makes an app, placed in `production`.
#[utoipa::path(post, path = "/apps", tag = "apps", request_body = AppRequest,
    responses((status = 201, body = App), (status = 409, description = "The name is in use")))]
async fn create(
    State(platform): State<Shared>,
    principal: Principal,
    Json(body): Json<AppRequest>,
) -> Result<impl IntoResponse> {
    let name = body.name.parse::<AppName>().in_field("name")?;
    let project = match body.project {
        Some(project) => project.parse::<ProjectName>().in_field("project")?,
        None => ProjectName::default_project(),
    };
    let domain = &platform.settings.apps_domain;
    let app = apps::create(&platform.store, &principal, &name, &project, domain).await?;
    let location = format!("/api/v1/apps/{name}");
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(shown(&platform.settings, &app))))
}

/// One app in one environment.
#[utoipa::path(get, path = "/apps/{app}", tag = "apps", params(TargetParams),
    responses((status = 200, body = App)))]
async fn read(
    State(platform): State<Shared>,
    Reading { principal, mut tx }: Reading,
    target: Target,
) -> Result<Json<App>> {
    let app = apps::read(&mut tx, &principal, &target.app, &target.environment).await?;
    Ok(Json(shown(&platform.settings, &app)))
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct DestroyQuery {
    /// The app's name once more.
    confirm: Option<String>,
}

/// Destroys an app with everything that belongs to it, in all environments.
#[utoipa::path(delete, path = "/apps/{app}", tag = "apps", params(TargetParams, DestroyQuery),
    responses((status = 202, description = "It is being destroyed")))]
async fn destroy(
    State(platform): State<Shared>,
    principal: Principal,
    target: Target,
    Query(query): Query<DestroyQuery>,
) -> Result<StatusCode> {
    apps::destroy(&platform.store, &principal, &target.app, query.confirm.as_deref()).await?;
    Ok(StatusCode::ACCEPTED)
}

/// Shows an app.
pub fn shown(settings: &PlatformSettings, app: &PlacedRow) -> App {
    let seen = seen(app);
    App {
        id: app.app.to_string(),
        name: app.app_name.to_string(),
        project: app.project_name.to_string(),
        environment: app.environment_name.to_string(),
        url: settings.app_url(&app.host),
        release: seen.release.or(app
            .good_release
            .as_ref()
            .filter(|_| seen.state == "stopped")
            .map(|good| good.number)),
        state: seen.state,
        reason: seen.reason,
        processes: app
            .formation
            .iter()
            .map(|(process, scale)| {
                let shown = ProcessScale {
                    replicas: seen.wanted.get(process.as_str()).copied().unwrap_or(scale.replicas),
                    autoscale: scale.autoscale.map(super::autoscale::bounds),
                    ready: seen.ready.get(process.as_str()).copied().unwrap_or(0),
                    cpu_millis: scale.size.cpu_millis,
                    memory_bytes: scale.size.memory_bytes,
                };
                (process.to_string(), shown)
            })
            .collect(),
        created_at: app.created_at.to_string(),
        observed_at: app.observed_at.map(|at| at.to_string()),
    }
}
