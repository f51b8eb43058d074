//! What runs: status, instances, generated objects, doctor.

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use panda_api_types::{DoctorCheck, Instance, Page, Status};
use panda_deployer::runtime::{Check, CheckState};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::paging::whole;
use super::{Json, Shared, Target, TargetParams, apps, deployments, domains, ports};
use crate::app::status::{self, SeenInstance};
use crate::auth::Principal;
use crate::error::Result;

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .routes(routes!(whole_status))
        .routes(routes!(instances))
        .routes(routes!(manifest))
        .routes(routes!(doctor))
        .routes(routes!(doctor_of_runtime))
}

/// Everything about an app at a glance.
#[utoipa::path(get, path = "/apps/{app}/status", tag = "apps", params(TargetParams), responses((status = 200, body = Status)))]
async fn whole_status(
    State(platform): State<Shared>,
    principal: Principal,
    target: Target,
) -> Result<Json<Status>> {
    let (row, seen) = status::instances(&platform, &principal, &target.app, &target.environment).await?;
    let app = crate::app::apps::read(
        &mut platform.store.read().await?,
        &principal,
        &target.app,
        &target.environment,
    )
    .await?;
    let deployment = match status::newest_deployment(&platform, &row).await? {
        Some(deployment) => Some(deployments::view(&platform, &row, deployment).await?),
        None => None,
    };
    let notices = status::notices(&platform, &row, &seen).await?;
    let domains = domains::of_app(&platform, &principal, &target).await?;
    let ports = ports::of_app(&platform, &principal, &target).await?;
    let instances = seen.into_iter().map(view).collect();
    let app = apps::shown(&platform.settings, &app);
    Ok(Json(Status { app, instances, deployment, domains, ports, notices }))
}

/// An app's instances.
#[utoipa::path(get, path = "/apps/{app}/instances", tag = "apps", params(TargetParams), responses((status = 200, body = Page<Instance>)))]
async fn instances(
    State(platform): State<Shared>,
    principal: Principal,
    target: Target,
) -> Result<Json<Page<Instance>>> {
    let (_, seen) = status::instances(&platform, &principal, &target.app, &target.environment).await?;
    Ok(Json(whole(seen, view)))
}

/// The objects that were generated for an app, values of variables left out.
#[utoipa::path(get, path = "/apps/{app}/manifest", tag = "apps", params(TargetParams),
    responses((status = 200, content_type = "text/plain", body = String)))]
async fn manifest(State(platform): State<Shared>, principal: Principal, target: Target) -> Result<Response> {
    let text = status::manifest(&platform, &principal, &target.app, &target.environment).await?;
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response())
}

/// Looks at everything that could be wrong with an app.
#[utoipa::path(get, path = "/apps/{app}/doctor", tag = "apps", params(TargetParams), responses((status = 200, body = Page<DoctorCheck>)))]
async fn doctor(
    State(platform): State<Shared>,
    principal: Principal,
    target: Target,
) -> Result<Json<Page<DoctorCheck>>> {
    let checks = status::diagnose(&platform, &principal, &target.app, &target.environment).await?;
    Ok(Json(whole(checks, check_view)))
}

/// Looks at the runtime.
#[utoipa::path(get, path = "/doctor", tag = "server", responses((status = 200, body = Page<DoctorCheck>)))]
async fn doctor_of_runtime(
    State(platform): State<Shared>,
    principal: Principal,
) -> Result<Json<Page<DoctorCheck>>> {
    principal.require(panda_domain::team::Permission::Manage, None)?;
    Ok(Json(whole(platform.runtime.check().await, check_view)))
}

fn view(seen: SeenInstance) -> Instance {
    let usage = seen.usage;
    Instance {
        id: seen.instance.id.to_string(),
        process: seen.process,
        release: seen.release,
        state: seen.instance.state.word().to_owned(),
        reason: status::reason(&seen.instance),
        restarts: seen.instance.restarts,
        started_at: seen.instance.started_at.map(|at| at.to_string()),
        cpu_millis: usage.as_ref().and_then(|u| u.cpu_millis),
        memory_bytes: usage.as_ref().and_then(|u| u.memory_bytes),
        runs_as_root: seen.instance.runs_as_root,
    }
}

fn check_view(check: Check) -> DoctorCheck {
    let state = match check.state {
        CheckState::Ok => "ok",
        CheckState::Warning => "warning",
        CheckState::Failed => "failed",
    };
    DoctorCheck { name: check.name, state: state.to_owned(), seen: check.seen, fix: check.fix }
}
