//! The stream of a deployment: states, steps and log lines, resumable at any point.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::IntoResponse;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::Stream;
use panda_api_types::{DeployEvent, Deployment};
use panda_domain::ids::DeploymentId;
use panda_store::{DeploymentRow, PlacementRow, ProgressRow};
use tokio::sync::watch;

use super::{DeploymentPath, last_event_id, view};
use crate::app::deployments;
use crate::auth::Principal;
use crate::error::{Error, Result};
use crate::http::{Path, Shared, Target, TargetParams};

/// A look without a notice, in case one was missed.
const LOOK: Duration = Duration::from_secs(2);

/// Server-sent events of a deployment. Resume with `Last-Event-ID`; ends after `end`.
#[utoipa::path(get, path = "/apps/{app}/deployments/{id}/events", tag = "deployments", params(TargetParams, ("id" = String, Path,)),
    responses((status = 200, content_type = "text/event-stream", body = DeployEvent)))]
pub(super) async fn stream(
    State(platform): State<Shared>,
    principal: Principal,
    target: Target,
    Path(path): Path<DeploymentPath>,
    headers: HeaderMap,
) -> Result<impl IntoResponse> {
    let id = path.id()?;
    let (row, _) = deployments::show(&platform, &principal, &target.app, &target.environment, &id).await?;
    let changes = platform.store.changes();
    let after = last_event_id(&headers).unwrap_or(0);
    let feed = Feed { platform, principal, row, id, after, changes, waiting: VecDeque::new(), ended: false };
    Ok(Sse::new(feed.events()).keep_alive(KeepAlive::default()))
}

struct Feed {
    platform: Shared,
    principal: Principal,
    row: PlacementRow,
    id: DeploymentId,
    after: i64,
    changes: watch::Receiver<u64>,
    waiting: VecDeque<Event>,
    ended: bool,
}

impl Feed {
    fn events(self) -> impl Stream<Item = Result<Event, Infallible>> {
        futures_util::stream::unfold(self, |mut feed| async move {
            feed.next().await.map(|event| (Ok(event), feed))
        })
    }

    /// The next event; `None` once the end was sent, or when the server stops: the client resumes elsewhere.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.waiting.pop_front() {
                return Some(event);
            }
            if self.ended || self.platform.shutdown.is_cancelled() {
                return None;
            }
            self.changes.mark_unchanged();
            match self.read().await {
                Ok(true) => {}
                Ok(false) => self.wait().await,
                Err(error) => {
                    self.ended = true;
                    return Event::default().event("problem").json_data(error.to_problem(None)).ok();
                }
            }
        }
    }

    async fn wait(&mut self) {
        tokio::select! {
            _ = self.changes.changed() => {}
            () = tokio::time::sleep(LOOK) => {}
            () = self.platform.shutdown.cancelled() => {}
        }
    }

    /// Reads what is new. Returns whether there was anything.
    async fn read(&mut self) -> Result<bool> {
        let (deployment, rows) =
            deployments::progress(&self.platform, &self.principal, &self.id, self.after).await?;
        let none = rows.is_empty();
        for row in rows {
            self.after = row.id;
            self.push(&deployment, &row).await?;
        }
        if none && !deployment.state.is_active() {
            let end = DeployEvent::End { deployment: Box::new(self.view(deployment).await?) };
            self.waiting.push_back(frame(self.after, "end", &end)?);
            self.ended = true;
        }
        Ok(!none || self.ended)
    }

    async fn push(&mut self, deployment: &DeploymentRow, row: &ProgressRow) -> Result<()> {
        let event = match row.kind.as_str() {
            "state" => DeployEvent::State { deployment: Box::new(self.view(deployment.clone()).await?) },
            "step" => {
                DeployEvent::Step { step: serde_json::from_value(row.body.clone()).map_err(Error::internal)? }
            }
            "log" => {
                let step = row.body["step"].as_str().unwrap_or_default();
                for line in row.body["lines"].as_array().into_iter().flatten().filter_map(|l| l.as_str()) {
                    let event = DeployEvent::Log { step: step.to_owned(), line: line.to_owned() };
                    self.waiting.push_back(frame(row.id, "log", &event)?);
                }
                return Ok(());
            }
            _ => return Ok(()),
        };
        let name = if row.kind == "state" { "state" } else { "step" };
        self.waiting.push_back(frame(row.id, name, &event)?);
        Ok(())
    }

    async fn view(&self, deployment: DeploymentRow) -> Result<Deployment> {
        view(&self.platform, &self.row, deployment).await
    }
}

fn frame(id: i64, name: &str, event: &DeployEvent) -> Result<Event> {
    Event::default().id(id.to_string()).event(name).json_data(event).map_err(Error::internal)
}
