//! Carries a plan out: thin, idempotent, in the order that a crash may cut anywhere.

use std::time::Duration;

use panda_domain::deployment::DeploymentState;
use panda_domain::failure::{Failure, FailureCode};
use panda_domain::ids::TaskId;
use panda_store::DeploymentRow;

use super::Rollouts;
use super::load::{AppState, Target};
use crate::autoscale::Standing;
use crate::desired::{MissingVariable, environment_of, scale_of};
use crate::diagnosis;
use crate::error::DeployError;
use crate::plan::{Move, Phase, Plan, ProcessWish, Situation, plan};
use crate::runtime::{
    EnvironmentSpec, ObservedWorkload, Progress, RuntimeError, TaskKey, TaskStatus, WorkloadSpec,
};

impl Rollouts {
    /// One pass over one app. Returns whether the state was changed, so that another pass is worth it.
    pub(super) async fn act(
        &self,
        state: &AppState,
        observed: &[ObservedWorkload],
    ) -> Result<bool, DeployError> {
        let wishes = state.wishes(observed);
        let phase = self.phase(state).await?;
        let image_there = match self.see_image(state, &wishes).await? {
            Ok(there) => there,
            Err(failure) => return self.refused(state, failure).await,
        };
        let plan = plan(&Situation {
            target: state.target.as_ref().map(|t| &t.attempt),
            processes: &wishes,
            serving: state.serving.as_ref(),
            phase,
            observed,
            image_there,
            now: self.store.clock().now(),
        });
        self.remove(state, &plan).await?;
        if let Some(changed) = self.move_on(state, &plan, observed).await? {
            return Ok(changed);
        }
        if let Some(target) = &state.target
            && !plan.ensure.is_empty()
            && let Some(failure) =
                self.ensure(state, target, (&wishes, &state.standing(observed)), &plan).await?
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

    /// Removes what the plan says, but nothing that requests may still be sent to: what isn't routed is known from the
    /// ingress alone. While that is away nothing is removed.
    async fn remove(&self, state: &AppState, plan: &Plan) -> Result<(), DeployError> {
        if plan.remove.is_empty() {
            return Ok(());
        }
        let routed = match self.publisher.publish().await {
            Ok(routed) => routed,
            Err(error) => {
                tracing::info!(app.name = %state.row.placement.app_name, error = &error as &dyn std::error::Error, "what `{}` doesn't need any more stays until the ingress confirms its routes", state.row.placement.app_name);
                return Ok(());
            }
        };
        for key in plan.remove.iter().filter(|key| !routed.contains(key)) {
            self.runtime.remove_workload(key, &state.shutdown_of(&key.process)).await?;
        }
        Ok(())
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
                return Ok(Some(self.start_release_command(state, target, deployment).await?));
            }
            (Some(deployment), Move::Roll) => self.roll(state, deployment).await?,
            (Some(deployment), Move::Switch) => self.switch(state, target, deployment).await?,
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
    pub(super) async fn ensure_ground(&self, state: &AppState) -> Result<(), DeployError> {
        Ok(self.runtime.ensure_environment(&ground(state)).await?)
    }

    /// Ensures the target's workloads. Returns a failure when the runtime refuses one for good.
    async fn ensure(
        &self,
        state: &AppState,
        target: &Target,
        (wishes, standing): (&[ProcessWish], &Standing<'_>),
        plan: &Plan,
    ) -> Result<Option<Failure>, DeployError> {
        let running = state.running(target, &self.settings);
        for wish in wishes.iter().filter(|w| plan.ensure.contains(&w.name)) {
            let Some(spec) = target.release.config.processes.get(&wish.name) else { continue };
            let scale = standing.scale(wish.replicas, scale_of(&state.formation, &wish.name));
            let workload = match running.workload(&wish.name, spec, scale) {
                Ok(workload) => workload,
                Err(missing) => return Ok(Some(missing_variable(&missing))),
            };
            let ensured = self.ensure_one(state, &workload).await;
            self.note_wait(state, &workload, ensured.as_ref());
            if let Err(error) = ensured {
                return Ok(Some(refusal(&format!("`{}`", wish.name), error)?));
            }
        }
        Ok(None)
    }

    /// Ensures one workload. Its environment may have been taken away behind our back (a pruned network): that is put back.
    async fn ensure_one(&self, state: &AppState, workload: &WorkloadSpec) -> Result<Progress, RuntimeError> {
        match self.runtime.ensure_workload(workload).await {
            Err(RuntimeError::NotFound { .. } | RuntimeError::Conflict { .. }) => {
                self.runtime.ensure_environment(&ground(state)).await?;
                self.runtime.ensure_workload(workload).await
            }
            other => other,
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

pub(super) fn missing_variable(missing: &MissingVariable) -> Failure {
    let fix = format!("`panda env set --secret {}`, then deploy again", missing.key);
    Failure::new(FailureCode::P201, missing.to_string(), fix)
}

/// What a refusal by the runtime means for people; an error that may pass is given back.
pub(super) fn refusal(what: &str, error: RuntimeError) -> Result<Failure, RuntimeError> {
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
