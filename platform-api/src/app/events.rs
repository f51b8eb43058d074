//! What happened: written in the same transaction as what it tells of; the timeline and the audit log are the same rows.

use std::time::Duration;

use futures_util::Stream;
use panda_domain::app::App;
use panda_domain::event::Actor;
use panda_domain::ids::{AppId, TeamId};
use panda_domain::names::AppName;
use panda_domain::team::Permission;
use panda_store::{Cursor, EventRow, NewEvent, Store, Tx};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::apps;
use crate::auth::Principal;
use crate::error::Result;

/// How often a stream looks whether its login still stands.
const RECHECK: Duration = Duration::from_secs(4);
const BATCH: u32 = 200;

/// A kind, such as `session.opened`, and a sentence for people.
#[derive(Debug)]
pub struct NewEventText {
    /// `noun.happened`.
    pub kind: &'static str,
    /// For people; never a secret.
    pub text: String,
}

/// Writes down what happened to the team.
pub async fn note(tx: &mut Tx, team: &TeamId, actor: &Actor, event: NewEventText) -> Result<()> {
    add(tx, team, None, actor, event, json!({})).await
}

/// Writes down what happened to an app. The name is kept beside the id, so that the row reads well when the app is gone.
pub async fn note_app(
    tx: &mut Tx,
    team: &TeamId,
    (id, name): (&AppId, &AppName),
    actor: &Actor,
    event: NewEventText,
) -> Result<()> {
    add(tx, team, Some(id), actor, event, json!({ "app": name.as_str() })).await
}

async fn add(
    tx: &mut Tx,
    team: &TeamId,
    app: Option<&AppId>,
    actor: &Actor,
    event: NewEventText,
    data: Value,
) -> Result<()> {
    tx.add_event(&NewEvent {
        team: Some(team.clone()),
        app: app.cloned(),
        kind: event.kind,
        actor,
        text: event.text,
        data,
    })
    .await?;
    tx.wake();
    Ok(())
}

/// Returns the team's events or those of one app, the newest first.
pub async fn list(
    store: &Store,
    principal: &Principal,
    app: Option<&AppName>,
    cursor: &Cursor,
) -> Result<Vec<EventRow>> {
    principal.require(Permission::Read, app)?;
    let mut tx = store.read().await?;
    let app = find(&mut tx, principal, app).await?;
    Ok(tx.events(&principal.team, app.as_ref().map(|app| &app.id), cursor).await?)
}

/// Returns what is needed to stream events from now on, or from after `after`.
pub async fn follow(
    store: &Store,
    principal: Principal,
    app: Option<&AppName>,
    after: Option<i64>,
    shutdown: CancellationToken,
) -> Result<impl Stream<Item = Result<EventRow>> + Send + use<>> {
    principal.require(Permission::Read, app)?;
    let mut tx = store.read().await?;
    let app = find(&mut tx, &principal, app).await?;
    let after = match after {
        Some(after) => after,
        None => newest(&mut tx, &principal, app.as_ref()).await?,
    };
    drop(tx);
    let follower = Follower {
        changes: store.changes(),
        store: store.clone(),
        principal,
        app: app.map(|app| app.id),
        after,
        waiting: Vec::new(),
        shutdown,
    };
    Ok(futures_util::stream::unfold(Some(follower), |follower| async move {
        let mut follower = follower?;
        match follower.next().await {
            Ok(Some(row)) => Some((Ok(row), Some(follower))),
            Ok(None) => None,
            Err(error) => Some((Err(error), None)),
        }
    }))
}

struct Follower {
    store: Store,
    changes: tokio::sync::watch::Receiver<u64>,
    principal: Principal,
    app: Option<AppId>,
    after: i64,
    /// Newest first, so that the next one pops off the end.
    waiting: Vec<EventRow>,
    shutdown: CancellationToken,
}

impl Follower {
    async fn next(&mut self) -> Result<Option<EventRow>> {
        loop {
            if let Some(row) = self.waiting.pop() {
                self.after = row.id;
                return Ok(Some(row));
            }
            self.changes.mark_unchanged();
            let mut rows = self
                .store
                .read()
                .await?
                .events_after(&self.principal.team, self.app.as_ref(), self.after, BATCH)
                .await?;
            rows.reverse();
            self.waiting = rows;
            if self.waiting.is_empty() && !self.wait().await? {
                return Ok(None);
            }
        }
    }

    /// Waits for a change; `false` when the stream has to end.
    async fn wait(&mut self) -> Result<bool> {
        tokio::select! {
            () = self.shutdown.cancelled() => return Ok(false),
            changed = self.changes.changed() => if changed.is_err() { return Ok(false) },
            () = tokio::time::sleep(RECHECK) => {}
        }
        self.principal.still_may(&self.store, Permission::Read, None).await
    }
}

async fn find(tx: &mut Tx, principal: &Principal, app: Option<&AppName>) -> Result<Option<App>> {
    match app {
        Some(name) => Ok(Some(apps::require_app(tx, &principal.team, name).await?)),
        None => Ok(None),
    }
}

async fn newest(tx: &mut Tx, principal: &Principal, app: Option<&App>) -> Result<i64> {
    let cursor = Cursor { after: None, limit: 1 };
    let rows = tx.events(&principal.team, app.map(|app| &app.id), &cursor).await?;
    Ok(rows.first().map_or(0, |row| row.id))
}
