//! One-off commands in the release that serves.

use std::time::Duration;

use panda_deployer::desired::environment_of;
use panda_deployer::runtime::{ExecSession, ExecSize, TaskKey, TaskStatus};
use panda_domain::ids::TaskId;
use panda_domain::names::{AppName, EnvironmentName};
use panda_domain::team::Permission;
use panda_store::{Cursor, NewTask, PlacementRow, TaskRow, TaskState};

use super::apps;
use super::events::{self, NewEventText};
use crate::Platform;
use crate::auth::Principal;
use crate::error::{Error, Result};

/// The longest command, bytes of all its arguments.
const MAX_COMMAND_BYTES: usize = 32 << 10;
/// The longest that a task may run, seconds.
const MAX_TIMEOUT_S: u32 = 24 * 3600;

/// A command as it was asked for.
#[derive(Debug, Clone)]
pub struct TaskWish {
    /// argv.
    pub command: Vec<String>,
    /// Whether it gets a terminal.
    pub tty: bool,
    /// Seconds until it is killed.
    pub timeout_s: u32,
}

/// Notes a task and starts it. The row comes first: after a crash in between the task reconciler starts it.
pub async fn start(
    platform: &Platform,
    principal: &Principal,
    app: &AppName,
    environment: &EnvironmentName,
    wish: TaskWish,
) -> Result<(PlacementRow, TaskRow)> {
    principal.require(Permission::Deploy, Some(app))?;
    check(&wish)?;
    let mut tx = platform.store.begin().await?;
    let row = apps::require_living(&mut tx, &principal.team, app, environment).await?;
    let nothing =
        || Error::conflict("nothing is deployed yet").with_hint("`panda deploy` makes the first release");
    let release = row.placement.last_good_release.clone().ok_or_else(nothing)?;
    let task = tx
        .insert_task(&NewTask {
            team: principal.team.clone(),
            placement: row.placement.id.clone(),
            release,
            command: wish.command,
            tty: wish.tty,
            timeout_s: wish.timeout_s,
            actor: principal.actor(),
        })
        .await?;
    let text = format!("ran a command in `{app}`: {}", task.command.first().map_or("", String::as_str));
    let event = NewEventText { kind: "task.started", text };
    events::note_app(&mut tx, &principal.team, (&row.placement.app, app), &principal.actor(), event).await?;
    tx.wake();
    tx.commit().await?;
    Ok((row, task))
}

fn check(wish: &TaskWish) -> Result<()> {
    let bytes: usize = wish.command.iter().map(String::len).sum();
    if wish.command.first().is_none_or(String::is_empty) || bytes > MAX_COMMAND_BYTES {
        return Err(Error::invalid_field("command", format!("has to have 1 to {MAX_COMMAND_BYTES} bytes")));
    }
    if wish.command.iter().any(|arg| arg.contains('\0')) {
        return Err(Error::invalid_field("command", "has a NUL"));
    }
    if !(1..=MAX_TIMEOUT_S).contains(&wish.timeout_s) {
        return Err(Error::invalid_field("timeout_s", format!("has to be from 1 to {MAX_TIMEOUT_S}")));
    }
    Ok(())
}

/// A task with the number of its release.
#[derive(Debug)]
pub struct KnownTask {
    /// The task.
    pub row: TaskRow,
    /// The number of the release that it runs in; 0 when that is gone.
    pub release: u32,
}

/// Adds the release's number to a task.
pub async fn known(platform: &Platform, row: TaskRow) -> Result<KnownTask> {
    let release = platform.store.read().await?.release(&row.team, &row.release).await?;
    Ok(KnownTask { release: release.map_or(0, |r| r.number), row })
}

/// Returns a page of an app's tasks, newest first.
pub async fn list(
    platform: &Platform,
    principal: &Principal,
    app: &AppName,
    environment: &EnvironmentName,
    cursor: &Cursor,
) -> Result<Vec<TaskRow>> {
    principal.require(Permission::Read, Some(app))?;
    let mut tx = platform.store.read().await?;
    let row = apps::require_placement(&mut tx, &principal.team, app, environment).await?;
    Ok(tx.tasks(&principal.team, &row.placement.id, cursor).await?)
}

/// Returns one task.
pub async fn show(
    platform: &Platform,
    principal: &Principal,
    app: &AppName,
    environment: &EnvironmentName,
    id: &TaskId,
) -> Result<(PlacementRow, TaskRow)> {
    principal.require(Permission::Read, Some(app))?;
    let mut tx = platform.store.read().await?;
    let row = apps::require_placement(&mut tx, &principal.team, app, environment).await?;
    let task = tx.task(&principal.team, &row.placement.id, id).await?;
    Ok((row, task.ok_or_else(|| Error::not_found("task"))?))
}

/// Asks for a task's end; the task reconciler kills it and writes down how it ended.
pub async fn cancel(
    platform: &Platform,
    principal: &Principal,
    app: &AppName,
    environment: &EnvironmentName,
    id: &TaskId,
) -> Result<TaskRow> {
    principal.require(Permission::Deploy, Some(app))?;
    let (_, task) = show(platform, principal, app, environment, id).await?;
    let mut tx = platform.store.begin().await?;
    tx.cancel_task_row(&task.id).await?;
    tx.wake();
    tx.commit().await?;
    Ok(task)
}

/// Attaches to a task's terminal and streams.
pub async fn attach(
    platform: &Platform,
    principal: &Principal,
    app: &AppName,
    environment: &EnvironmentName,
    id: &TaskId,
    size: Option<ExecSize>,
) -> Result<ExecSession> {
    principal.require(Permission::Deploy, Some(app))?;
    let (row, task) = show(platform, principal, app, environment, id).await?;
    started(platform, &row, &task.id).await?;
    let key = TaskKey { environment: environment_of(&row.placement), task: task.id };
    Ok(platform.runtime.attach_task(&key, size).await?)
}

/// How long a follower waits for a task that is accepted but not started yet.
const START_PATIENCE: Duration = Duration::from_secs(25);
/// How often it looks.
const START_LOOK: Duration = Duration::from_millis(50);

/// Waits until an accepted task runs or has ended, so that who follows it from the first moment misses nothing.
pub(super) async fn started(platform: &Platform, row: &PlacementRow, id: &TaskId) -> Result<()> {
    let key = TaskKey { environment: environment_of(&row.placement), task: id.clone() };
    let wait = async {
        while platform.runtime.task_status(&key).await? == TaskStatus::Absent {
            let task = platform.store.read().await?.task(&row.placement.team, &row.placement.id, id).await?;
            if task.is_none_or(|task| matches!(task.state, TaskState::Ended { .. })) {
                break;
            }
            tokio::time::sleep(START_LOOK).await;
        }
        Ok(())
    };
    // Too late isn't an error: there are no lines yet, and the follower asks again.
    tokio::time::timeout(START_PATIENCE, wait).await.unwrap_or(Ok(()))
}
