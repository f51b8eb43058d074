//! Deployments: asking, watching, canceling, going back.

mod events;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use panda_api_types::{
    DeployRequest, DeployStep, Deployment, DeploymentAccepted, ErrorCode, Page, PageQuery, RollbackRequest,
};
use panda_domain::failure::FailureCode;
use panda_domain::ids::DeploymentId;
use panda_domain::image::ImageReference;
use panda_domain::names::EnvKey;
use panda_domain::secret::Secret;
use panda_domain::source::is_git_sha;
use panda_domain::source_tree::TreeHash;
use panda_store::{DeploymentRow, PlacementRow};
use serde::Deserialize;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Json, Path, Query, Shared, Target, TargetParams, apps, cursor, page};
use crate::app::deployments::{self, Accepted, DeployWish, WishedSource};
use crate::auth::Principal;
use crate::error::{Error, InField, Result};
use crate::platform::Platform;

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .routes(routes!(list, deploy))
        .routes(routes!(show))
        .routes(routes!(log))
        .routes(routes!(cancel))
        .routes(routes!(events::stream))
        .routes(routes!(roll_back))
        .routes(routes!(restart))
}

/// An app and one of its deployments in the path.
#[derive(Debug, Deserialize)]
struct DeploymentPath {
    id: String,
}

impl DeploymentPath {
    fn id(&self) -> Result<DeploymentId> {
        self.id.parse().map_err(|_| Error::not_found("deployment"))
    }
}

/// An app's deployments, the newest first.
#[utoipa::path(get, path = "/apps/{app}/deployments", tag = "deployments", params(TargetParams, PageQuery),
    responses((status = 200, body = Page<Deployment>)))]
async fn list(
    State(platform): State<Shared>,
    principal: Principal,
    target: Target,
    Query(paging): Query<PageQuery>,
) -> Result<Json<Page<Deployment>>> {
    let cursor = cursor(paging)?;
    let (row, rows) =
        deployments::list(&platform, &principal, &target.app, &target.environment, &cursor).await?;
    let mut shown = Vec::with_capacity(rows.len());
    for deployment in rows {
        shown.push(view(&platform, &row, deployment).await?);
    }
    Ok(Json(page(shown, &cursor, |d| d.id.clone(), |d| d)))
}

/// Deploys a directory that was sent, or an image. `200` when nothing would change.
#[utoipa::path(post, path = "/apps/{app}/deployments", tag = "deployments", params(TargetParams), request_body = DeployRequest,
    responses((status = 202, body = DeploymentAccepted), (status = 200, body = DeploymentAccepted, description = "Nothing would change"),
              (status = 422, description = "A field, the file or the source is wrong")))]
async fn deploy(
    State(platform): State<Shared>,
    principal: Principal,
    target: Target,
    Json(body): Json<DeployRequest>,
) -> Result<Response> {
    let wish = parse(body)?;
    let accepted = deployments::deploy(&platform, &principal, &target.app, &target.environment, wish).await?;
    answer(&platform, &principal, &target, accepted).await
}

fn parse(body: DeployRequest) -> Result<DeployWish> {
    let source = match (body.tree, body.image) {
        (Some(tree), None) => WishedSource::Tree {
            tree: tree.parse::<TreeHash>().in_field("tree")?,
            git_sha: git_sha(body.git_sha)?,
        },
        (None, Some(image)) => WishedSource::Image(image.parse::<ImageReference>().in_field("image")?),
        _ => return Err(Error::invalid_field("tree", "exactly one of `tree` and `image` has to be given")),
    };
    let mut env = std::collections::BTreeMap::new();
    for (key, value) in body.overrides.env {
        env.insert(key.parse::<EnvKey>().in_field(&format!("overrides.env.{key}"))?, Secret::new(value));
    }
    let idempotency_key = match body.idempotency_key {
        Some(key) if key.is_empty() || key.len() > 128 => {
            return Err(Error::invalid_field("idempotency_key", "has to have 1 to 128 characters"));
        }
        other => other,
    };
    let (replicas, port) = (body.overrides.replicas, body.overrides.port);
    Ok(DeployWish {
        source,
        manifest: body.manifest,
        replicas,
        port,
        env,
        no_cache: body.no_cache,
        idempotency_key,
    })
}

fn git_sha(text: Option<String>) -> Result<Option<String>> {
    let Some(text) = text else { return Ok(None) };
    if is_git_sha(&text) {
        Ok(Some(text))
    } else {
        Err(Error::invalid_field("git_sha", "has to be 7 to 64 hexadecimal digits"))
    }
}

/// Says what came of a request that may make a deployment.
pub(super) async fn answer(
    platform: &Platform,
    principal: &Principal,
    target: &Target,
    accepted: Accepted,
) -> Result<Response> {
    let body = accepted_view(platform, principal, target, accepted).await?;
    match &body.deployment {
        None => Ok(Json(body).into_response()),
        Some(deployment) => {
            let location = format!("/api/v1/apps/{}/deployments/{}", target.app, deployment.id);
            Ok((StatusCode::ACCEPTED, [(header::LOCATION, location)], Json(body)).into_response())
        }
    }
}

pub(super) async fn accepted_view(
    platform: &Platform,
    principal: &Principal,
    target: &Target,
    accepted: Accepted,
) -> Result<DeploymentAccepted> {
    let app = crate::app::apps::read(
        &mut platform.store.read().await?,
        principal,
        &target.app,
        &target.environment,
    )
    .await?;
    let unchanged = accepted.deployment.is_none();
    let deployment = match accepted.deployment {
        Some(deployment) => Some(view(platform, &accepted.row, deployment).await?),
        None => None,
    };
    Ok(DeploymentAccepted {
        deployment,
        unchanged,
        app: apps::shown(&platform.settings, &app),
        notices: accepted.notices,
    })
}

/// One deployment.
#[utoipa::path(get, path = "/apps/{app}/deployments/{id}", tag = "deployments", params(TargetParams, ("id" = String, Path,)),
    responses((status = 200, body = Deployment)))]
async fn show(
    State(platform): State<Shared>,
    principal: Principal,
    target: Target,
    Path(path): Path<DeploymentPath>,
) -> Result<Json<Deployment>> {
    let (row, deployment) =
        deployments::show(&platform, &principal, &target.app, &target.environment, &path.id()?).await?;
    Ok(Json(view(&platform, &row, deployment).await?))
}

/// The build log of a deployment, as kept.
#[utoipa::path(get, path = "/apps/{app}/deployments/{id}/log", tag = "deployments", params(TargetParams, ("id" = String, Path,)),
    responses((status = 200, content_type = "text/plain", body = String)))]
async fn log(
    State(platform): State<Shared>,
    principal: Principal,
    target: Target,
    Path(path): Path<DeploymentPath>,
) -> Result<Response> {
    let text = deployments::log(&platform, &principal, &target.app, &target.environment, &path.id()?).await?;
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response())
}

/// Cancels a deployment that is under way.
#[utoipa::path(post, path = "/apps/{app}/deployments/{id}/cancel", tag = "deployments", params(TargetParams, ("id" = String, Path,)),
    responses((status = 202, body = Deployment), (status = 409, description = "It has ended")))]
async fn cancel(
    State(platform): State<Shared>,
    principal: Principal,
    target: Target,
    Path(path): Path<DeploymentPath>,
) -> Result<Response> {
    let (row, deployment) =
        deployments::cancel(&platform, &principal, &target.app, &target.environment, &path.id()?).await?;
    Ok((StatusCode::ACCEPTED, Json(view(&platform, &row, deployment).await?)).into_response())
}

/// Goes back to an earlier release, without a build.
#[utoipa::path(post, path = "/apps/{app}/rollback", tag = "deployments", params(TargetParams), request_body = RollbackRequest,
    responses((status = 202, body = DeploymentAccepted), (status = 409, description = "There is nothing to go back to")))]
async fn roll_back(
    State(platform): State<Shared>,
    principal: Principal,
    target: Target,
    Json(body): Json<RollbackRequest>,
) -> Result<Response> {
    let accepted =
        deployments::roll_back(&platform, &principal, &target.app, &target.environment, body.release).await?;
    answer(&platform, &principal, &target, accepted).await
}

/// Starts every instance of the present release afresh, without an interruption.
#[utoipa::path(post, path = "/apps/{app}/restart", tag = "deployments", params(TargetParams),
    responses((status = 202, body = DeploymentAccepted), (status = 409, description = "Nothing is deployed yet")))]
async fn restart(State(platform): State<Shared>, principal: Principal, target: Target) -> Result<Response> {
    let accepted = deployments::restart(&platform, &principal, &target.app, &target.environment).await?;
    answer(&platform, &principal, &target, accepted).await
}

/// Shows a deployment.
pub(super) async fn view(
    platform: &Platform,
    row: &PlacementRow,
    deployment: DeploymentRow,
) -> Result<Deployment> {
    let numbers = deployments::release_numbers(platform, row, &deployment).await?;
    let failure = deployment.state.failure();
    let confirmed = failure.is_none_or(|failure| failure.code != FailureCode::P503);
    Ok(Deployment {
        step: step_of(platform, &deployment).await?,
        app: row.placement.app_name.to_string(),
        environment: row.placement.environment_name.to_string(),
        active: deployment.state.is_active(),
        trigger: word_of(&deployment.trigger)?,
        source: deployment.source.short(),
        release: numbers.own,
        build: deployment.build.as_ref().map(ToString::to_string),
        failure_code: failure.map(|f| word_of(&f.code)).transpose()?,
        cause: failure.map(|f| f.cause.clone()).or_else(|| cancel_cause(&deployment)),
        fix: failure.map(|f| f.fix.clone()),
        log: failure.map(|f| f.log.clone()).unwrap_or_default(),
        serving_release: numbers.serving.filter(|_| confirmed),
        by: deployment.actor.shown().to_owned(),
        url: platform.settings.app_url(&row.placement.host),
        created_at: deployment.created_at.to_string(),
        finished_at: deployment.live_at.or(deployment.finished_at).map(|at| at.to_string()),
        state: deployment.state.word().to_owned(),
        id: deployment.id.to_string(),
    })
}

/// What is being done, or waited for, at this moment.
async fn step_of(platform: &Platform, deployment: &DeploymentRow) -> Result<Option<DeployStep>> {
    let Some(row) = deployments::current_step(platform, deployment).await? else { return Ok(None) };
    let mut step: DeployStep = serde_json::from_value(row.body).map_err(Error::internal)?;
    if step.state == "running" {
        let since = platform.store.clock().now_ms() - row.at.as_millisecond();
        step.elapsed_ms = step.elapsed_ms.saturating_add(u64::try_from(since).unwrap_or(0));
    }
    Ok(Some(step))
}

fn cancel_cause(deployment: &DeploymentRow) -> Option<String> {
    use panda_domain::deployment::{CancelReason, DeploymentState};
    let DeploymentState::Canceled { reason } = &deployment.state else { return None };
    Some(match reason {
        CancelReason::Requested => "it was canceled".to_owned(),
        CancelReason::Overtaken => "a newer deploy took its place".to_owned(),
        CancelReason::AppDestroyed => "the app is being destroyed".to_owned(),
    })
}

fn word_of<T: serde::Serialize>(value: &T) -> Result<String> {
    match serde_json::to_value(value).map_err(Error::internal)? {
        serde_json::Value::String(word) => Ok(word),
        other => Err(Error::new(ErrorCode::Internal, "something went wrong on the server")
            .with_source(other.to_string())),
    }
}

fn last_event_id(headers: &HeaderMap) -> Option<i64> {
    headers.get("last-event-id")?.to_str().ok()?.parse().ok()
}
