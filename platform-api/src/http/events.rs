//! What happened, as a list or as a stream.

use std::convert::Infallible;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use panda_api_types::{EventView, Page, PageQuery};
use panda_domain::names::AppName;
use panda_store::EventRow;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Json, Query, Shared, Target, TargetParams, cursor, page};
use crate::app::events;
use crate::auth::Principal;
use crate::error::Result;

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(of_team)).routes(routes!(of_app))
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct FollowQuery {
    /// Stream new events instead of listing old ones.
    #[serde(default)]
    follow: bool,
}

/// What happened in the team, the newest first; with `follow=true` server-sent events from now on.
#[utoipa::path(get, path = "/events", tag = "events", params(PageQuery, FollowQuery),
    responses((status = 200, body = Page<EventView>)))]
async fn of_team(
    State(platform): State<Shared>,
    principal: Principal,
    Query(paging): Query<PageQuery>,
    Query(follow): Query<FollowQuery>,
    headers: HeaderMap,
) -> Result<Response> {
    answer(&platform, principal, None, paging, follow.follow, &headers).await
}

/// What happened to an app, the newest first; with `follow=true` server-sent events from now on.
#[utoipa::path(get, path = "/apps/{app}/events", tag = "events", params(TargetParams, PageQuery, FollowQuery),
    responses((status = 200, body = Page<EventView>)))]
async fn of_app(
    State(platform): State<Shared>,
    principal: Principal,
    target: Target,
    Query(paging): Query<PageQuery>,
    Query(follow): Query<FollowQuery>,
    headers: HeaderMap,
) -> Result<Response> {
    answer(&platform, principal, Some(&target.app), paging, follow.follow, &headers).await
}

async fn answer(
    platform: &Shared,
    principal: Principal,
    app: Option<&AppName>,
    paging: PageQuery,
    follow: bool,
    headers: &HeaderMap,
) -> Result<Response> {
    if !follow {
        let cursor = cursor(paging)?;
        let rows = events::list(&platform.store, &principal, app, &cursor).await?;
        return Ok(Json(page(rows, &cursor, |row| row.id.to_string(), shown)).into_response());
    }
    let after = headers.get("last-event-id").and_then(|v| v.to_str().ok()).and_then(|id| id.parse().ok());
    let rows =
        events::follow(&platform.store, principal, app, after, platform.shutdown.child_token()).await?;
    let frames = rows.map(|row| Ok::<_, Infallible>(framed(row)));
    Ok(Sse::new(frames).keep_alive(KeepAlive::default()).into_response())
}

fn framed(row: Result<EventRow>) -> Event {
    let event = match row {
        Ok(row) => Event::default().event("event").id(row.id.to_string()).json_data(shown(row)),
        Err(error) => Event::default().event("problem").json_data(error.to_problem(None)),
    };
    event.unwrap_or_else(|_| Event::default().event("problem"))
}

fn shown(row: EventRow) -> EventView {
    EventView {
        id: row.id,
        at: row.at.to_string(),
        kind: row.kind,
        by: row.actor.shown().to_owned(),
        app: row.data.get("app").and_then(|name| name.as_str()).map(str::to_owned),
        text: row.text,
    }
}
