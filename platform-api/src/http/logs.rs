//! Log lines as server-sent events.

use std::convert::Infallible;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::IntoResponse;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::stream::BoxStream;
use futures_util::{Stream, StreamExt};
use jiff::{SignedDuration, Timestamp};
use panda_api_types::{ErrorCode, LogLine, Problem};
use panda_builder::log::sanitize;
use panda_deployer::runtime::{LogChunk, LogStream, RuntimeResult};
use panda_domain::ids::TaskId;
use panda_domain::names::ProcessName;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Path, Query, Shared, Target, TargetParams};
use crate::app::logs::{self, LogWish};
use crate::auth::Principal;
use crate::error::{Error, InField};
use crate::platform::Platform;

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(of_app)).routes(routes!(of_task))
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct WishQuery {
    /// Only this process.
    process: Option<String>,
    /// Only this instance.
    instance: Option<String>,
    /// Only lines after this: RFC 3339, or seconds back from now.
    since: Option<String>,
    /// So many of the newest earlier lines; 100 unless `since` is given.
    tail: Option<u32>,
    /// Go on with new lines.
    #[serde(default)]
    follow: bool,
}

#[derive(Debug, Deserialize)]
struct TaskPath {
    id: String,
}

/// An app's log. Resume with `Last-Event-ID`; without `follow` it ends with the event `end`.
#[utoipa::path(get, path = "/apps/{app}/logs", tag = "logs", params(TargetParams, WishQuery),
    responses((status = 200, content_type = "text/event-stream", body = LogLine)))]
async fn of_app(
    State(platform): State<Shared>,
    principal: Principal,
    target: Target,
    Query(query): Query<WishQuery>,
    headers: HeaderMap,
) -> crate::Result<impl IntoResponse> {
    let wish = parse(&platform, query, &headers)?;
    let lines = logs::of_app(&platform, &principal, &target.app, &target.environment, wish).await?;
    Ok(stream(&platform, lines))
}

/// A task's log.
#[utoipa::path(get, path = "/apps/{app}/tasks/{id}/logs", tag = "logs", params(TargetParams, WishQuery, ("id" = String, Path,)),
    responses((status = 200, content_type = "text/event-stream", body = LogLine)))]
async fn of_task(
    State(platform): State<Shared>,
    principal: Principal,
    target: Target,
    Path(path): Path<TaskPath>,
    Query(query): Query<WishQuery>,
    headers: HeaderMap,
) -> crate::Result<impl IntoResponse> {
    let id: TaskId = path.id.parse().map_err(|_| Error::not_found("task"))?;
    let wish = parse(&platform, query, &headers)?;
    let lines = logs::of_task(&platform, &principal, &target.app, &target.environment, &id, wish).await?;
    Ok(stream(&platform, lines))
}

fn parse(platform: &Platform, query: WishQuery, headers: &HeaderMap) -> crate::Result<LogWish> {
    let resumed =
        headers.get("last-event-id").and_then(|v| v.to_str().ok()).and_then(|id| id.parse::<i128>().ok());
    let resumed = resumed.and_then(|ns| Timestamp::from_nanosecond(ns + 1).ok());
    let since = match &query.since {
        Some(text) => Some(since(platform, text)?),
        None => None,
    };
    let tail = match (query.tail, resumed.or(since)) {
        (Some(tail), _) => Some(tail),
        (None, None) => Some(100),
        (None, Some(_)) => None,
    };
    Ok(LogWish {
        process: query.process.map(|p| p.parse::<ProcessName>().in_field("process")).transpose()?,
        instance: query.instance.map(|i| i.parse().map_err(|_| Error::not_found("instance"))).transpose()?,
        since: resumed.or(since),
        tail: if resumed.is_some() { None } else { tail },
        follow: query.follow,
    })
}

fn since(platform: &Platform, text: &str) -> crate::Result<Timestamp> {
    if let Ok(seconds) = text.parse::<u32>() {
        return Ok(platform.store.clock().now() - SignedDuration::from_secs(i64::from(seconds)));
    }
    text.parse().map_err(|_| {
        Error::invalid_field(
            "since",
            "has to be a time such as 2026-01-31T12:00:00Z, or seconds back from now",
        )
    })
}

fn stream(
    platform: &Shared,
    lines: BoxStream<'static, RuntimeResult<LogChunk>>,
) -> Sse<impl Stream<Item = Result<Event, Infallible>> + use<>> {
    let shutdown = platform.shutdown.clone();
    let end = futures_util::stream::once(async { Event::default().event("end").data("{}") });
    let events = lines.map(frame).chain(end).take_until(shutdown.cancelled_owned()).map(Ok);
    Sse::new(events).keep_alive(KeepAlive::default())
}

fn frame(chunk: RuntimeResult<LogChunk>) -> Event {
    let event = match chunk {
        Ok(chunk) => {
            Event::default().event("line").id(chunk.at.as_nanosecond().to_string()).json_data(view(chunk))
        }
        Err(error) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "a log stream was cut");
            Event::default()
                .event("problem")
                .json_data(Problem::new(ErrorCode::Unavailable, "the log can't be read at the moment"))
        }
    };
    event.unwrap_or_else(|_| Event::default().event("problem"))
}

fn view(chunk: LogChunk) -> LogLine {
    LogLine {
        at: chunk.at.to_string(),
        process: chunk.process,
        instance: chunk.instance.map(|i| i.to_string()).unwrap_or_default(),
        stream: match chunk.stream {
            LogStream::Out => "out",
            LogStream::Err => "err",
        }
        .to_owned(),
        line: sanitize(&String::from_utf8_lossy(&chunk.line)),
    }
}
