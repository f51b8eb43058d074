//! One-off commands.

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use panda_api_types::{Page, PageQuery, TaskRequest, TaskView};
use panda_domain::ids::TaskId;
use panda_store::TaskState;
use serde::Deserialize;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Json, Path, Query, Shared, Target, TargetParams, cursor, page};
use crate::app::tasks::{self, KnownTask, TaskWish};
use crate::auth::Principal;
use crate::error::{Error, Result};

/// How long a task may run when nobody says so, seconds.
const DEFAULT_TIMEOUT_S: u32 = 3600;

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(list, start)).routes(routes!(show)).routes(routes!(cancel))
}

#[derive(Debug, Deserialize)]
struct TaskPath {
    id: String,
}

impl TaskPath {
    fn id(&self) -> Result<TaskId> {
        self.id.parse().map_err(|_| Error::not_found("task"))
    }
}

/// An app's tasks, the newest first.
#[utoipa::path(get, path = "/apps/{app}/tasks", tag = "tasks", params(TargetParams, PageQuery),
    responses((status = 200, body = Page<TaskView>)))]
async fn list(
    State(platform): State<Shared>,
    principal: Principal,
    target: Target,
    Query(paging): Query<PageQuery>,
) -> Result<Json<Page<TaskView>>> {
    let cursor = cursor(paging)?;
    let rows = tasks::list(&platform, &principal, &target.app, &target.environment, &cursor).await?;
    let mut shown = Vec::with_capacity(rows.len());
    for row in rows {
        shown.push(view(tasks::known(&platform, row).await?));
    }
    Ok(Json(page(shown, &cursor, |task| task.id.clone(), |task| task)))
}

/// Starts a command in the release that serves.
#[utoipa::path(post, path = "/apps/{app}/tasks", tag = "tasks", params(TargetParams), request_body = TaskRequest,
    responses((status = 201, body = TaskView), (status = 409, description = "Nothing is deployed yet")))]
async fn start(
    State(platform): State<Shared>,
    principal: Principal,
    target: Target,
    Json(body): Json<TaskRequest>,
) -> Result<Response> {
    let wish = TaskWish {
        command: body.command,
        tty: body.tty,
        timeout_s: body.timeout_s.unwrap_or(DEFAULT_TIMEOUT_S),
    };
    let (_, task) = tasks::start(&platform, &principal, &target.app, &target.environment, wish).await?;
    let location = format!("/api/v1/apps/{}/tasks/{}", target.app, task.id);
    Ok((
        StatusCode::CREATED,
        [(header::LOCATION, location)],
        Json(view(tasks::known(&platform, task).await?)),
    )
        .into_response())
}

/// One task.
#[utoipa::path(get, path = "/apps/{app}/tasks/{id}", tag = "tasks", params(TargetParams, ("id" = String, Path,)),
    responses((status = 200, body = TaskView)))]
async fn show(
    State(platform): State<Shared>,
    principal: Principal,
    target: Target,
    Path(path): Path<TaskPath>,
) -> Result<Json<TaskView>> {
    let (_, task) = tasks::show(&platform, &principal, &target.app, &target.environment, &path.id()?).await?;
    Ok(Json(view(tasks::known(&platform, task).await?)))
}

/// Asks for a task's end.
#[utoipa::path(post, path = "/apps/{app}/tasks/{id}/cancel", tag = "tasks", params(TargetParams, ("id" = String, Path,)),
    responses((status = 202, body = TaskView)))]
async fn cancel(
    State(platform): State<Shared>,
    principal: Principal,
    target: Target,
    Path(path): Path<TaskPath>,
) -> Result<Response> {
    let task = tasks::cancel(&platform, &principal, &target.app, &target.environment, &path.id()?).await?;
    Ok((StatusCode::ACCEPTED, Json(view(tasks::known(&platform, task).await?))).into_response())
}

fn view(known: KnownTask) -> TaskView {
    let row = known.row;
    let (state, exit_code, reason) = match row.state {
        TaskState::Running => ("running", None, None),
        TaskState::Canceling => ("canceling", None, None),
        TaskState::Ended { exit_code: None, reason } => ("failed", None, reason),
        TaskState::Ended { exit_code, reason } => ("ended", exit_code, reason),
    };
    TaskView {
        id: row.id.to_string(),
        command: row.command,
        release: known.release,
        state: state.to_owned(),
        exit_code,
        reason,
        by: row.actor.shown().to_owned(),
        created_at: row.created_at.to_string(),
    }
}
