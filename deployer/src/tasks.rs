//! The task reconciler: one-off commands run once, end, and say how.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use panda_domain::formation::Size;
use panda_domain::names::ProcessName;
use panda_jobs::{Outcome, Reconciler};
use panda_store::{Security, Store, StoreError, TaskRow, TaskState};

use crate::desired::{Running, environment_of};
use crate::error::DeployError;
use crate::plan::Attempt;
use crate::runtime::{EnvironmentSpec, Runtime, RuntimeError, TaskKey, TaskSpec, TaskStatus};
use crate::settings::DeploySettings;
use crate::waiting;

/// How long one look waits for a pull, which goes on without it: the other tasks wait for the look.
const PULL_AT_ONCE: Duration = Duration::from_secs(1);
/// How long a task may wait for its start; what it runs for is counted from there.
const START_WITHIN: Duration = Duration::from_mins(10);
/// Tasks that are looked after at the same time.
const AT_ONCE: usize = 8;

/// Runs one-off commands.
pub struct TaskRuns {
    store: Store,
    runtime: Arc<dyn Runtime>,
    settings: DeploySettings,
}

impl TaskRuns {
    /// Makes the reconciler of an installation.
    pub fn new(store: Store, runtime: Arc<dyn Runtime>, settings: DeploySettings) -> Self {
        Self { store, runtime, settings }
    }

    async fn settle(&self, task: &TaskRow) -> Result<bool, DeployError> {
        let Some(row) = self.store.read().await?.placement_by_id(&task.placement).await? else {
            return Ok(false);
        };
        let key = TaskKey { environment: environment_of(&row.placement), task: task.id.clone() };
        if task.state == TaskState::Canceling {
            self.runtime.cancel_task(&key).await?;
        }
        match self.runtime.task_status(&key).await? {
            TaskStatus::Running => Ok(false),
            TaskStatus::Absent if task.state == TaskState::Canceling => {
                self.end(task, None, Some("it was canceled before it started")).await
            }
            TaskStatus::Absent => {
                match self.start(task, key).await {
                    Ok(()) => Ok(true),
                    // It will never start: who waits for it is told so.
                    Err(error) if !error.is_transient() => {
                        tracing::warn!(task.id = %task.id, error = &error as &dyn std::error::Error, "task `{}` can't start", task.id);
                        self.end(task, None, Some(&reason_of(&error))).await
                    }
                    Err(error) if self.waited_too_long(task) => {
                        let minutes = START_WITHIN.as_secs() / 60;
                        let reason =
                            format!("it didn't start within {minutes} minutes: {}", reason_of(&error));
                        self.end(task, None, Some(&reason)).await
                    }
                    Err(error) => Err(error),
                }
            }
            TaskStatus::Ended { code, oom, timed_out } => {
                let reason = match (timed_out, oom, task.state == TaskState::Canceling) {
                    (true, _, _) => Some(format!("it ran longer than {} s and was killed", task.timeout_s)),
                    (_, true, _) => Some("it was killed for its use of memory".to_owned()),
                    (_, _, true) => Some("it was canceled".to_owned()),
                    _ => None,
                };
                self.end(task, Some(code), reason.as_deref()).await
            }
        }
    }

    async fn start(&self, task: &TaskRow, key: TaskKey) -> Result<(), DeployError> {
        let spec = self.spec(task, key).await?;
        Ok(self.runtime.start_task(&spec).await?)
    }

    fn waited_too_long(&self, task: &TaskRow) -> bool {
        let waited = self.store.clock().now_ms() - task.created_at.as_millisecond();
        u128::try_from(waited).is_ok_and(|waited| waited >= START_WITHIN.as_millis())
    }

    async fn end(
        &self,
        task: &TaskRow,
        code: Option<i64>,
        reason: Option<&str>,
    ) -> Result<bool, DeployError> {
        let mut tx = self.store.begin().await?;
        tx.end_task(&task.id, code, reason).await?;
        tx.wake();
        tx.commit().await?;
        Ok(true)
    }

    async fn spec(&self, task: &TaskRow, key: TaskKey) -> Result<TaskSpec, DeployError> {
        let mut tx = self.store.read().await?;
        let row =
            tx.placement_by_id(&task.placement).await?.ok_or_else(|| StoreError::missing("its placement"))?;
        let release =
            tx.release(&task.team, &task.release).await?.ok_or_else(|| StoreError::missing("its release"))?;
        let env = tx.env_at(&task.team, &task.placement, release.env_version).await?;
        let restricted = tx.team(&task.team).await?.is_some_and(|t| t.security == Security::Restricted);
        let attempt = Attempt { release: release.id.clone(), revision: 0 };
        let url = self.settings.url_of(&row.placement.host);
        let running = Running {
            placement: &row.placement,
            attempt: &attempt,
            number: release.number,
            image: &release.image,
            config: &release.config,
            env: &env,
            git_sha: release.source.git_sha(),
            url: &url,
            neighbours: &BTreeMap::new(),
            restricted,
            pull_url: &self.settings.pull_url,
            login: self.settings.login.clone(),
        };
        let ground =
            EnvironmentSpec { key: key.environment.clone(), name: row.placement.environment_name.clone() };
        let image = running.pull_image();
        let spec = TaskSpec {
            key,
            placement: row.placement.id.clone(),
            app: row.placement.app_name.clone(),
            image: image.clone(),
            user: running.user(),
            command: task.command.clone(),
            env: running.variables(&ProcessName::web(), None),
            files: running.files()?,
            size: Size::default(),
            tty: task.tty,
            timeout_s: task.timeout_s,
        };
        drop(tx);
        self.runtime.ensure_environment(&ground).await?;
        if let Ok(pulled) = tokio::time::timeout(PULL_AT_ONCE, self.runtime.ensure_image(&image)).await {
            pulled?;
        } else {
            let doing = format!("pull image `{}`", image.reference());
            return Err(RuntimeError::Unavailable { doing, source: None }.into());
        }
        Ok(spec)
    }
}

/// Says to people why a task never started; what is the platform's own affair stays in its log.
fn reason_of(error: &DeployError) -> String {
    match error {
        DeployError::Runtime(RuntimeError::Rejected { reason, .. }) => reason.clone(),
        DeployError::Runtime(RuntimeError::NotFound { what }) => format!("{what} isn't there"),
        DeployError::Runtime(error @ RuntimeError::Unavailable { doing, .. })
            if doing.starts_with("pull") =>
        {
            format!("{doing}: {}", waiting::why(error))
        }
        DeployError::Missing(missing) => missing.to_string(),
        DeployError::Store(StoreError::Undecryptable { .. } | StoreError::WrongKey { .. }) => {
            "env and secrets can't be decrypted".to_owned()
        }
        _ => "the platform couldn't start it".to_owned(),
    }
}

#[async_trait]
impl Reconciler for TaskRuns {
    fn name(&self) -> &'static str {
        "tasks"
    }

    async fn activate(&self) -> Outcome {
        let tasks = match self.store.read().await {
            Ok(mut tx) => tx.running_tasks().await,
            Err(error) => Err(error),
        };
        let tasks = match tasks {
            Ok(tasks) => tasks,
            Err(error) => return Outcome::failed("tasks", &error),
        };
        // One that waits for its image or fails holds up none of the others.
        let mut work = futures_util::stream::iter(tasks)
            .map(|task| async move { (task.id.clone(), self.settle(&task).await) })
            .buffer_unordered(AT_ONCE);
        let (mut changed, mut failed) = (false, None);
        while let Some((id, result)) = work.next().await {
            match result {
                Ok(acted) => changed |= acted,
                Err(error) => failed = Some(Outcome::failed(id.as_str(), &error)),
            }
        }
        failed.unwrap_or(if changed { Outcome::Applied } else { Outcome::Skipped })
    }
}
