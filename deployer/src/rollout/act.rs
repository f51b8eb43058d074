//! Carries a plan out: thin, idempotent, in the order that a crash may cut anywhere.

use std::time::Duration;

use panda_domain::deployment::DeploymentState;
use panda_domain::failure::{Failure, FailureCode};
use panda_domain::formation::Size;
use panda_domain::ids::TaskId;
use panda_domain::names::ProcessName;
use panda_store::DeploymentRow;

use super::Rollouts;
use super::load::{AppState, Target};
use crate::desired::{MissingVariable, environment_of, process_wishes, scale_of};
use crate::diagnosis;
use crate::error::DeployError;
use crate::plan::{Move, Phase, Plan, ProcessWish, Situation, plan};
use crate::runtime::{
    EnvironmentSpec, ObservedWorkload, PullImage, RuntimeError, TaskKey, TaskSpec, TaskStatus, WorkloadSpec,
};

/// How long one pass waits for a pull; what was pulled meanwhile is kept.
const PULL_AT_ONCE: Duration = Duration::from_secs(20);

impl Rollouts {
    /// One pass over one app. Returns whether the state was changed, so that another pass is worth it.
    pub(super) async fn act(
        &self,
        state: &AppState,
        observed: &[ObservedWorkload],
    ) -> Result<bool, DeployError> {
        let wishes = state
            .target
            .as_ref()
            .map(|t| process_wishes(&t.release.config, &state.formation))
            .unwrap_or_default();
        let phase = self.phase(state).await?;
        let plan = plan(&Situation {
            target: state.target.as_ref().map(|t| &t.attempt),
            processes: &wishes,
            serving: state.serving.as_ref(),
            phase,
            observed,
            now: self.store.clock().now(),
        });
        for key in &plan.remove {
            self.runtime.remove_workload(key, &state.shutdown_of(&key.process)).await?;
        }
        if let Some(changed) = self.move_on(state, &plan, observed).await? {
            return Ok(changed);
        }
        if let Some(target) = &state.target
            && !plan.ensure.is_empty()
            && let Some(failure) = self.ensure(state, target, &wishes, &plan).await?
        {
            return self.refused(state, failure).await;
        }
        if plan.converged && !state.row.placement.converged() {
            let mut tx = self.store.begin().await?;
            tx.set_converged(&state.row.placement.id, state.row.placement.generation).await?;
            tx.commit().await?;
        }
        Ok(false)
    }

    async fn phase(&self, state: &AppState) -> Result<Phase, DeployError> {
        let (Some(deployment), Some(target)) = (&state.active, &state.target) else {
            let live_at = state.live.as_ref().and_then(|d| d.live_at);
            let auto = state.target.as_ref().is_some_and(|t| t.release.config.auto_rollback);
            return Ok(Phase::Steady { live_at, may_go_back: auto && state.before.is_some() });
        };
        let config = &target.release.config;
        let since = deployment.phase_started_at;
        if deployment.state == DeploymentState::Rolling {
            return Ok(Phase::Rolling {
                since,
                deadline: Duration::from_secs(u64::from(config.rollout_timeout_s)),
            });
        }
        let task = match (&config.release_command, runs_release_command(deployment), &deployment.task) {
            (None, _, _) | (_, false, _) => None,
            (Some(_), true, None) => Some(TaskStatus::Absent),
            (Some(_), true, Some(task)) => Some(self.runtime.task_status(&task_key(state, task)).await?),
        };
        let deadline = Duration::from_secs(u64::from(config.release_timeout_s));
        Ok(Phase::Releasing { task, since, deadline })
    }

    /// Does what the plan says about the deployment; `None` when it says to wait.
    async fn move_on(
        &self,
        state: &AppState,
        plan: &Plan,
        observed: &[ObservedWorkload],
    ) -> Result<Option<bool>, DeployError> {
        let (Some(target), next) = (&state.target, &plan.next) else { return Ok(None) };
        match (&state.active, next) {
            (Some(deployment), Move::StartTask) => {
                self.start_release_command(state, target, deployment).await?;
            }
            (Some(deployment), Move::Roll) => self.roll(state, deployment).await?,
            (Some(deployment), Move::Switch) => self.switch(target, deployment).await?,
            (Some(deployment), Move::Finish) => self.finish(state, target, deployment).await?,
            (Some(deployment), Move::FailRelease(status)) => {
                let command = target.release.config.release_command.clone().unwrap_or_default();
                let failure = diagnosis::of_release_command(&command, status)
                    .with_log(self.task_log(state, deployment).await);
                self.give_up(state, deployment, DeploymentState::ReleaseFailed { failure }).await?;
            }
            (Some(deployment), Move::FailHealth(trouble)) => {
                let size = scale_of(&state.formation, &trouble.process).size;
                let spec = target.release.config.processes.get(&trouble.process);
                let failure = diagnosis::of_instance(trouble, spec, size);
                let failure = failure.with_log(self.last_lines(state, trouble).await);
                self.give_up(state, deployment, DeploymentState::Unhealthy { failure }).await?;
            }
            (Some(deployment), Move::TimeOut) => {
                let failure = self.time_out(state, target, deployment, observed).await;
                self.give_up(state, deployment, DeploymentState::TimedOut { failure }).await?;
            }
            (None, Move::GoBack(trouble)) => self.go_back(state, target, trouble).await?,
            (None, _) | (Some(_), Move::GoBack(_) | Move::Wait) => return Ok(None),
        }
        Ok(Some(true))
    }

    async fn start_release_command(
        &self,
        state: &AppState,
        target: &Target,
        deployment: &DeploymentRow,
    ) -> Result<(), DeployError> {
        // The id is kept before the task starts: a crash between the two starts it under the same id.
        let task = if let Some(task) = &deployment.task {
            task.clone()
        } else {
            let task: TaskId = self.store.ids().next();
            let mut tx = self.store.begin().await?;
            tx.attach_task(&deployment.id, &task).await?;
            tx.commit().await?;
            task
        };
        self.ensure_ground(state).await?;
        match self.try_start(state, target, &task).await {
            Err(DeployError::Missing(missing)) => {
                let end = DeploymentState::ReleaseFailed { failure: missing_variable(&missing) };
                self.give_up(state, deployment, end).await
            }
            Err(DeployError::Runtime(error)) => match refusal("the release command", error) {
                Ok(failure) => {
                    self.give_up(state, deployment, DeploymentState::ReleaseFailed { failure }).await
                }
                Err(error) => Err(error.into()),
            },
            other => other,
        }
    }

    async fn try_start(&self, state: &AppState, target: &Target, task: &TaskId) -> Result<(), DeployError> {
        let running = state.running(target, &self.settings);
        if !self.have_image(&running.pull_image()).await? {
            return Ok(());
        }
        let config = &target.release.config;
        let spec = TaskSpec {
            key: task_key(state, task),
            placement: state.row.placement.id.clone(),
            app: state.row.placement.app_name.clone(),
            image: running.pull_image(),
            user: running.user(),
            command: config.release_command.clone().unwrap_or_default(),
            env: running.variables(&ProcessName::web(), None),
            files: running.files()?,
            size: Size { memory_bytes: Size::default().memory_bytes * 2, ..Size::default() },
            tty: false,
            timeout_s: config.release_timeout_s,
        };
        self.runtime.start_task(&spec).await?;
        Ok(())
    }

    async fn roll(&self, state: &AppState, deployment: &DeploymentRow) -> Result<(), DeployError> {
        self.ensure_ground(state).await?;
        let mut tx = self.store.begin().await?;
        tx.advance_deployment(deployment, DeploymentState::Rolling).await?;
        tx.wake();
        tx.commit().await?;
        Ok(())
    }

    /// Makes the environment be there. Images are pulled by those who need them: waiting for one here would hold up every
    /// other app.
    async fn ensure_ground(&self, state: &AppState) -> Result<(), DeployError> {
        Ok(self.runtime.ensure_environment(&ground(state)).await?)
    }

    /// Pulls the release command's image, for a moment at a time; `false` when that isn't done yet.
    async fn have_image(&self, image: &PullImage) -> Result<bool, DeployError> {
        match tokio::time::timeout(PULL_AT_ONCE, self.runtime.ensure_image(image)).await {
            Ok(pulled) => Ok(pulled.map(|()| true)?),
            Err(_) => Ok(false),
        }
    }

    /// Ensures the target's workloads. Returns a failure when the runtime refuses one for good.
    async fn ensure(
        &self,
        state: &AppState,
        target: &Target,
        wishes: &[ProcessWish],
        plan: &Plan,
    ) -> Result<Option<Failure>, DeployError> {
        let running = state.running(target, &self.settings);
        for wish in wishes.iter().filter(|w| plan.ensure.contains(&w.name)) {
            let Some(spec) = target.release.config.processes.get(&wish.name) else { continue };
            let workload = match running.workload(&wish.name, spec, scale_of(&state.formation, &wish.name)) {
                Ok(workload) => workload,
                Err(missing) => return Ok(Some(missing_variable(&missing))),
            };
            if let Err(error) = self.ensure_one(state, &workload).await {
                return Ok(Some(refusal(&format!("`{}`", wish.name), error)?));
            }
        }
        Ok(None)
    }

    /// Ensures one workload. Its environment may have been taken away behind our back (a pruned network): that is put back.
    async fn ensure_one(&self, state: &AppState, workload: &WorkloadSpec) -> Result<(), RuntimeError> {
        match self.runtime.ensure_workload(workload).await {
            Err(RuntimeError::NotFound { .. } | RuntimeError::Conflict { .. }) => {
                self.runtime.ensure_environment(&ground(state)).await?;
                self.runtime.ensure_workload(workload).await.map(drop)
            }
            other => other.map(drop),
        }
    }

    async fn refused(&self, state: &AppState, failure: Failure) -> Result<bool, DeployError> {
        if let Some(deployment) = &state.active {
            self.give_up(state, deployment, DeploymentState::Unhealthy { failure }).await?;
            Ok(true)
        } else {
            tracing::warn!(app.name = %state.row.placement.app_name, "`{}` can't be kept as wished: {}", state.row.placement.app_name, failure.cause);
            Ok(false)
        }
    }
}

fn ground(state: &AppState) -> EnvironmentSpec {
    let placement = &state.row.placement;
    EnvironmentSpec { key: environment_of(placement), name: placement.environment_name.clone() }
}

fn missing_variable(missing: &MissingVariable) -> Failure {
    let fix = format!("`panda env set --secret {}`, then deploy again", missing.key);
    Failure::new(FailureCode::P201, missing.to_string(), fix)
}

/// What a refusal by the runtime means for people; an error that may pass is given back.
fn refusal(what: &str, error: RuntimeError) -> Result<Failure, RuntimeError> {
    match error {
        RuntimeError::Rejected { doing, reason } if doing.starts_with("pull") => {
            let fix = "check the image's name and that this machine reaches its registry";
            Ok(Failure::new(FailureCode::P207, format!("the image can't be had: {reason}"), fix))
        }
        RuntimeError::Rejected { reason, .. } => {
            let fix = "mend what it says, then deploy again";
            Ok(Failure::new(FailureCode::P502, format!("{what} was refused: {reason}"), fix))
        }
        RuntimeError::NotFound { what } => {
            let fix = "check the image's name and that it still lies in its registry";
            Ok(Failure::new(FailureCode::P207, format!("{what} isn't there"), fix))
        }
        other => Err(other),
    }
}

/// A rollback and a restart run what was released before, so its command isn't run again.
fn runs_release_command(deployment: &DeploymentRow) -> bool {
    use panda_domain::deployment::Trigger;
    matches!(deployment.trigger, Trigger::Deploy | Trigger::Env)
}

pub(super) fn task_key(state: &AppState, task: &TaskId) -> TaskKey {
    TaskKey { environment: environment_of(&state.row.placement), task: task.clone() }
}
