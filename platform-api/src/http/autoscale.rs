//! Bounds of load of an app's processes.

use axum::extract::State;
use panda_api_types::{App, AutoscaleBounds, AutoscaleRequest, Autoscaler, FieldError, Page};
use panda_domain::autoscale::{Autoscale, InvalidAutoscale};
use panda_domain::names::ProcessName;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::paging::whole;
use super::{Json, Query, Shared, Target, TargetParams, apps};
use crate::app::autoscale::{self, SeenAutoscaler};
use crate::auth::Principal;
use crate::error::{Error, InField, Result};

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(show, set, off))
}

/// Names a process.
#[derive(Debug, serde::Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ProcessQuery {
    /// Whose bounds.
    process: String,
}

/// The processes whose number of instances follows their load: bounds, figures and numbers as seen now.
#[utoipa::path(get, path = "/apps/{app}/autoscale", tag = "apps", params(TargetParams),
    responses((status = 200, body = Page<Autoscaler>)))]
async fn show(
    State(platform): State<Shared>,
    principal: Principal,
    target: Target,
) -> Result<Json<Page<Autoscaler>>> {
    let seen = autoscale::show(&platform, &principal, &target.app, &target.environment).await?;
    Ok(Json(whole(seen, view)))
}

/// Sets the bounds of a process. Makes no release.
#[utoipa::path(put, path = "/apps/{app}/autoscale", tag = "apps", params(TargetParams),
    request_body = AutoscaleRequest,
    responses((status = 200, body = App), (status = 422, description = "Wrong, or the runtime can't")))]
async fn set(
    State(platform): State<Shared>,
    principal: Principal,
    target: Target,
    Json(body): Json<AutoscaleRequest>,
) -> Result<Json<App>> {
    let process: ProcessName = body.process.parse::<ProcessName>().in_field("process")?;
    let bounds = Autoscale::new(body.min, body.max, body.cpu_percent, body.memory_percent);
    let bounds = bounds.map_err(refused)?;
    let of = (&target.app, &target.environment);
    let app = autoscale::set(&platform, &principal, of, &process, bounds).await?;
    Ok(Json(apps::shown(&platform.settings, &app)))
}

/// Takes the bounds of a process away; as many instances stay as are wanted at that moment. Makes no release.
#[utoipa::path(delete, path = "/apps/{app}/autoscale", tag = "apps", params(TargetParams, ProcessQuery),
    responses((status = 200, body = App)))]
async fn off(
    State(platform): State<Shared>,
    principal: Principal,
    target: Target,
    Query(query): Query<ProcessQuery>,
) -> Result<Json<App>> {
    let process: ProcessName = query.process.parse::<ProcessName>().in_field("process")?;
    let of = (&target.app, &target.environment);
    let app = autoscale::off(&platform, &principal, of, &process).await?;
    Ok(Json(apps::shown(&platform.settings, &app)))
}

fn refused(wrong: InvalidAutoscale) -> Error {
    let field = match wrong {
        InvalidAutoscale::Cpu => "cpu_percent",
        InvalidAutoscale::Memory => "memory_percent",
        bounds => bounds.key(),
    };
    Error::invalid_fields(vec![FieldError { field: field.to_owned(), message: wrong.to_string() }])
}

/// Shows bounds.
pub(super) fn bounds(autoscale: Autoscale) -> AutoscaleBounds {
    let Autoscale { min, max, cpu_percent, memory_percent } = autoscale;
    AutoscaleBounds { min, max, cpu_percent, memory_percent }
}

fn view(seen: SeenAutoscaler) -> Autoscaler {
    let size = seen.scale.size;
    let percent =
        |used: u64, of: u64| u32::try_from(used.saturating_mul(100) / of.max(1)).unwrap_or(u32::MAX);
    let observed = seen.observed.as_ref();
    let cpu = observed.and_then(|one| one.cpu_millis);
    let memory = observed.and_then(|one| one.memory_bytes);
    let held = seen.scale.autoscale.map(bounds);
    Autoscaler {
        process: seen.process.to_string(),
        bounds: held.unwrap_or_default(),
        replicas: seen.wanted,
        ready: seen.ready,
        cpu_percent: cpu.map(|millis| percent(millis.into(), size.cpu_millis.into())),
        memory_percent: memory.map(|bytes| percent(bytes, size.memory_bytes)),
        reason: seen.reason,
    }
}
