//! Tasks: containers that run once, with a deadline that stands on them.

use bollard::models::{ContainerInspectResponse, ContainerState};
use bollard::query_parameters::{CreateContainerOptions, KillContainerOptions};
use panda_deployer::runtime::{RuntimeError, RuntimeResult, TaskKey, TaskSpec, TaskStatus};

use crate::create;
use crate::drain::discard;
use crate::images;
use crate::labels;
use crate::runtime::Driver;
use crate::workloads::mount;

/// The exit code of a process that was killed: 128 + SIGKILL.
const KILLED: i64 = 137;

/// A task's container.
struct Found {
    container: String,
    state: ContainerState,
    deadline_ms: i64,
}

impl Driver {
    /// Starts a task unless it was started before.
    pub(crate) async fn start_task(&self, spec: &TaskSpec) -> RuntimeResult<()> {
        if let Some(found) = self.task(&spec.key).await? {
            // Created but never started: a former driver died in between.
            return if found.state.started_at.as_deref().is_none_or(never) && found.state.pid.unwrap_or(0) == 0
            {
                self.start_task_container(spec, &found.container).await
            } else {
                Ok(())
            };
        }
        images::ensure(self, &spec.image).await?;
        let user = images::user(&self.engine, &spec.image.reference()).await?;
        let user = user
            .ok_or_else(|| RuntimeError::NotFound { what: format!("image `{}`", spec.image.reference()) })?;
        let owner = spec.key.task.to_string();
        let addresses = self.addresses.give(&spec.key.environment, vec![owner.clone()]).await?;
        let address = *addresses.first().expect("one address was asked for and given");
        let deadline = self.clock.now_ms() + i64::from(spec.timeout_s) * 1000;
        let body = create::task(&self.host, spec, &user, address, deadline)?;
        let options = CreateContainerOptions {
            name: Some(format!("panda-{}-{owner}", spec.app)),
            platform: String::new(),
        };
        let call = self.engine.docker.create_container(Some(options), body);
        match self.engine.call(format!("create task `{owner}`"), call).await {
            Ok(created) => self.start_task_container(spec, &created.id).await,
            // Somebody else creates it at this moment: the same id is the same task.
            Err(RuntimeError::Conflict { .. }) => Ok(()),
            Err(error) => {
                self.addresses.release(&owner).await?;
                Err(error)
            }
        }
    }

    async fn start_task_container(&self, spec: &TaskSpec, container: &str) -> RuntimeResult<()> {
        mount(self, &spec.files, container).await?;
        let call = self.engine.docker.start_container(container, None);
        self.engine.call(format!("start task `{}`", spec.key.task), call).await?;
        self.watch_deadline(spec.key.clone(), u64::from(spec.timeout_s));
        Ok(())
    }

    /// Kills the task in time even when nobody asks for its status.
    fn watch_deadline(&self, key: TaskKey, seconds: u64) {
        let driver = self.clone();
        self.tasks.spawn(async move {
            let over = tokio::time::sleep(std::time::Duration::from_secs(seconds));
            tokio::select! {
                () = driver.cancel.cancelled() => {}
                () = over => {
                    if let Err(error) = driver.task_status(&key).await {
                        tracing::warn!(task.id = %key.task, %error, "task {} can't be looked at", key.task);
                    }
                }
            }
        });
    }

    /// Tells what a task does; kills it when its time is over.
    pub(crate) async fn task_status(&self, key: &TaskKey) -> RuntimeResult<TaskStatus> {
        let Some(mut found) = self.task(key).await? else { return Ok(TaskStatus::Absent) };
        if found.state.running == Some(true) && self.clock.now_ms() >= found.deadline_ms {
            self.kill(&found.container).await?;
            match self.task(key).await? {
                Some(now) => found = now,
                None => return Ok(TaskStatus::Absent),
            }
        }
        Ok(status(&found))
    }

    /// Kills a task; ended or absent is fine.
    pub(crate) async fn cancel_task(&self, key: &TaskKey) -> RuntimeResult<()> {
        match self.task(key).await? {
            Some(found) if found.state.running == Some(true) => self.kill(&found.container).await,
            _ => Ok(()),
        }
    }

    /// Forgets a task; absent is fine.
    pub(crate) async fn remove_task(&self, key: &TaskKey) -> RuntimeResult<()> {
        if let Some(found) = self.task(key).await? {
            discard(self, &found.container).await?;
        }
        self.addresses.release(key.task.as_str()).await
    }

    /// Kills tasks whose time ran out while no driver watched.
    pub(crate) async fn end_late_tasks(&self) -> RuntimeResult<()> {
        for summary in self.list(labels::select_kind(&self.host.installation, labels::KIND_TASK)).await? {
            let deadline = summary.labels.as_ref().and_then(|l| l.get(labels::DEADLINE)?.parse::<i64>().ok());
            let runs = summary.state == Some(bollard::models::ContainerSummaryStateEnum::RUNNING);
            if let Some(container) = summary.id
                && runs
                && deadline.is_some_and(|at| self.clock.now_ms() >= at)
            {
                self.kill(&container).await?;
            }
        }
        Ok(())
    }

    /// Returns the id of a task's container.
    pub(crate) async fn task_container(&self, key: &TaskKey) -> RuntimeResult<Option<String>> {
        let listed = self.list(labels::select_task(&self.host.installation, key)).await?;
        Ok(listed.into_iter().find_map(|summary| summary.id))
    }

    async fn task(&self, key: &TaskKey) -> RuntimeResult<Option<Found>> {
        let Some(container) = self.task_container(key).await? else { return Ok(None) };
        Ok(self.inspect(&container).await?.map(|inspect| found(container, inspect)))
    }

    async fn kill(&self, container: &str) -> RuntimeResult<()> {
        let options = KillContainerOptions { signal: "SIGKILL".to_owned() };
        let call = self.engine.docker.kill_container(container, Some(options));
        match self.engine.call("kill a task", call).await {
            Err(RuntimeError::NotFound { .. } | RuntimeError::Conflict { .. }) => Ok(()),
            outcome => outcome,
        }
    }
}

fn found(container: String, inspect: ContainerInspectResponse) -> Found {
    let labels = inspect.config.and_then(|config| config.labels).unwrap_or_default();
    let deadline_ms = labels.get(labels::DEADLINE).and_then(|at| at.parse().ok()).unwrap_or(i64::MAX);
    Found { container, state: inspect.state.unwrap_or_default(), deadline_ms }
}

fn status(found: &Found) -> TaskStatus {
    let state = &found.state;
    let finished = state.finished_at.as_deref().filter(|at| !never(at));
    let Some(finished) = finished.filter(|_| state.running != Some(true)) else {
        return TaskStatus::Running;
    };
    let code = state.exit_code.unwrap_or(-1);
    let at: Option<jiff::Timestamp> = finished.parse().ok();
    let late = at.is_some_and(|at| at.as_millisecond() >= found.deadline_ms);
    TaskStatus::Ended { code, oom: state.oom_killed == Some(true), timed_out: late && code == KILLED }
}

/// The engine writes the year 1 for "never".
fn never(time: &str) -> bool {
    time.is_empty() || time.starts_with("0001-")
}
