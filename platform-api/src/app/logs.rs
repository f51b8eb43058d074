//! Log lines of instances and tasks, as the runtime has them.

use futures_util::stream::BoxStream;
use jiff::Timestamp;
use panda_deployer::desired::environment_of;
use panda_deployer::runtime::{LogChunk, LogQuery, LogTarget, RuntimeResult, TaskKey};
use panda_domain::ids::{InstanceId, TaskId};
use panda_domain::names::{AppName, EnvironmentName, ProcessName};
use panda_domain::team::Permission;

use super::apps;
use super::processes;
use crate::Platform;
use crate::auth::Principal;
use crate::error::{Error, Result};

/// The most earlier lines of one request.
pub const MAX_TAIL: u32 = 10_000;

/// Which lines.
#[derive(Debug, Clone, Default)]
pub struct LogWish {
    /// Only this process.
    pub process: Option<ProcessName>,
    /// Only this instance.
    pub instance: Option<InstanceId>,
    /// Only lines after this.
    pub since: Option<Timestamp>,
    /// So many of the newest earlier lines.
    pub tail: Option<u32>,
    /// Go on with new ones.
    pub follow: bool,
}

/// Streams the log of an app.
pub async fn of_app(
    platform: &Platform,
    principal: &Principal,
    app: &AppName,
    environment: &EnvironmentName,
    wish: LogWish,
) -> Result<BoxStream<'static, RuntimeResult<LogChunk>>> {
    principal.require(Permission::Read, Some(app))?;
    let mut tx = platform.store.read().await?;
    let row = apps::require_placement(&mut tx, &principal.team, app, environment).await?;
    if let Some(process) = &wish.process {
        processes::require(&mut tx, &row, process).await?;
    }
    drop(tx);
    let target = LogTarget::Placement {
        environment: environment_of(&row.placement),
        placement: row.placement.id.clone(),
        process: wish.process.clone(),
        instance: wish.instance.clone(),
    };
    open(platform, target, &wish).await
}

/// Streams the log of a task.
pub async fn of_task(
    platform: &Platform,
    principal: &Principal,
    app: &AppName,
    environment: &EnvironmentName,
    task: &TaskId,
    wish: LogWish,
) -> Result<BoxStream<'static, RuntimeResult<LogChunk>>> {
    let (row, task) = super::tasks::show(platform, principal, app, environment, task).await?;
    if wish.follow {
        super::tasks::started(platform, &row, &task.id).await?;
    }
    let key = TaskKey { environment: environment_of(&row.placement), task: task.id };
    open(platform, LogTarget::Task(key), &wish).await
}

async fn open(
    platform: &Platform,
    target: LogTarget,
    wish: &LogWish,
) -> Result<BoxStream<'static, RuntimeResult<LogChunk>>> {
    if wish.tail.is_some_and(|tail| tail > MAX_TAIL) {
        return Err(Error::invalid_field("tail", format!("has to be at most {MAX_TAIL}")));
    }
    let query = LogQuery { target, follow: wish.follow, since: wish.since, tail: wish.tail };
    Ok(platform.runtime.logs(&query).await?)
}
