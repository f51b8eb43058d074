//! How a deployment ends: live, given up, or gone back from.

use futures_util::StreamExt;
use panda_domain::deployment::{DeploymentState, Trigger};
use panda_domain::event::Actor;
use panda_domain::failure::{Failure, FailureCode};
use panda_domain::source::Source;
use panda_store::{DeploymentRow, GoingBack, NewDeployment, NewEvent, NewRelease};
use serde_json::json;

use super::Rollouts;
use super::act::task_key;
use super::load::{AppState, Target};
use crate::desired::{environment_of, scale_of};
use crate::diagnosis;
use crate::error::DeployError;
use crate::plan::Trouble;
use crate::runtime::{LogQuery, LogTarget, ObservedWorkload};
use crate::waiting::Wait;

/// Log lines that a failure shows.
const LINES: u32 = 50;
/// How long reading them may take; the failure is told without them otherwise.
const READING: std::time::Duration = std::time::Duration::from_secs(5);

impl Rollouts {
    /// Sends the routes to the target. The pointer is kept first: after a crash here the routes follow it. Until they are
    /// seen to have arrived nothing of what ran before is taken away.
    pub(super) async fn switch(
        &self,
        state: &AppState,
        target: &Target,
        deployment: &DeploymentRow,
    ) -> Result<(), DeployError> {
        let mut tx = self.store.begin().await?;
        tx.switch_to(deployment, &target.attempt.release, target.attempt.revision).await?;
        tx.commit().await?;
        self.finish(state, target, deployment).await
    }

    /// Says that it is live, once the routes are known to point at it.
    pub(super) async fn finish(
        &self,
        state: &AppState,
        target: &Target,
        deployment: &DeploymentRow,
    ) -> Result<(), DeployError> {
        self.publisher.publish().await?;
        let placement = &state.row.placement;
        let mut tx = self.store.begin().await?;
        if let Some(live) = tx.live_deployment(&placement.id).await?
            && live.id != deployment.id
        {
            tx.advance_deployment(&live, DeploymentState::Superseded).await?;
        }
        tx.settle_ports(&placement.id, &target.release.config.ports).await?;
        tx.advance_deployment(deployment, DeploymentState::Live).await?;
        let text = format!("v{} of `{}` is live", target.release.number, placement.app_name);
        let data = json!({ "deployment": deployment.id, "release": target.release.number });
        tx.add_event(&event(state, "deployment.live", &deployment.actor, text, data)).await?;
        tx.wake();
        tx.commit().await?;
        Ok(())
    }

    /// Ends a deployment that failed; the pointer goes back to what serves, which never stopped.
    pub(super) async fn give_up(
        &self,
        state: &AppState,
        deployment: &DeploymentRow,
        end: DeploymentState,
    ) -> Result<(), DeployError> {
        if let Some(task) = &deployment.task {
            self.runtime.cancel_task(&task_key(state, task)).await?;
        }
        let placement = &state.row.placement;
        let cause = end.failure().map(|f| f.cause.clone()).unwrap_or_default();
        let kind = format!("deployment.{}", end.word());
        let mut tx = self.store.begin().await?;
        tx.lock_placement(&placement.team, &placement.id).await?;
        tx.advance_deployment(deployment, end).await?;
        tx.step_back(deployment).await?;
        let text = format!("a deploy of `{}` failed: {cause}", placement.app_name);
        tx.add_event(&event(state, &kind, &deployment.actor, text, json!({ "deployment": deployment.id })))
            .await?;
        tx.wake();
        tx.commit().await?;
        Ok(())
    }

    /// Starts a rollback of its own: a live release died within the watch time.
    pub(super) async fn go_back(
        &self,
        state: &AppState,
        target: &Target,
        trouble: &Trouble,
    ) -> Result<(), DeployError> {
        let Some(before) = &state.before else { return Ok(()) };
        let placement = &state.row.placement;
        let size = scale_of(&state.formation, &trouble.process).size;
        let failure =
            diagnosis::of_instance(trouble, target.release.config.processes.get(&trouble.process), size);
        let source = Source::Release { number: before.number };
        let going_back = GoingBack { instead_of: target.release.id.clone() };
        let mut tx = self.store.begin().await?;
        let deployment = tx
            .insert_deployment(&NewDeployment {
                team: placement.team.clone(),
                placement: placement.id.clone(),
                trigger: Trigger::AutoRollback,
                source: source.clone(),
                request_json: serde_json::to_string(&going_back).expect("an id is plain data"),
                env_version: before.env_version,
                revision: 0,
                idempotency_key: None,
                actor: Actor::Platform,
            })
            .await?;
        let release = NewRelease {
            team: placement.team.clone(),
            placement: placement.id.clone(),
            image: before.image.clone(),
            config: before.config.clone(),
            source: before.source.clone(),
            env_version: before.env_version,
            build: before.build.clone(),
            copy_of: Some(before.number),
            actor: Actor::Platform,
        };
        // One that somebody else has by now is missed, and `panda ports` says so: the release before is needed all the same.
        let (team, ports) = (&placement.team, &before.config.ports);
        let _ = tx.claim_ports(team, &placement.id, ports, &self.settings.tcp_ports).await?;
        tx.hand_over(&deployment, &release).await?;
        let text = format!(
            "v{} of `{}` failed after it went live ({}); going back to v{}",
            target.release.number, placement.app_name, failure.cause, before.number
        );
        tx.add_event(&event(
            state,
            "deployment.auto_rollback",
            &Actor::Platform,
            text,
            json!({ "failure": failure }),
        ))
        .await?;
        tx.wake();
        tx.commit().await?;
        Ok(())
    }

    pub(super) async fn time_out(
        &self,
        state: &AppState,
        target: &Target,
        deployment: &DeploymentRow,
        observed: &[ObservedWorkload],
    ) -> Failure {
        let held_up = self.held_up(deployment);
        if deployment.state == DeploymentState::Releasing {
            if let Some(wait) = held_up {
                return never_started("the release command never started", &wait);
            }
            let seconds = target.release.config.release_timeout_s;
            let cause = format!("the release command didn't end within {seconds} s");
            let fix = "make it faster or raise `deploy.release_timeout`";
            return Failure::new(FailureCode::P301, cause, fix)
                .with_log(self.task_log(state, deployment).await);
        }
        let late = observed.iter().filter(|w| target.attempt.owns(&w.key)).find_map(|w| {
            let instance =
                w.instances.iter().find(|i| i.state != panda_domain::instance::InstanceState::Ready)?;
            Some(Trouble { process: w.key.process.clone(), instance: Some(instance.clone()) })
        });
        let seconds = target.release.config.rollout_timeout_s;
        let Some(trouble) = late else {
            if let Some(wait) = held_up {
                return never_started(&format!("not every instance was started within {seconds} s"), &wait);
            }
            let cause = format!("not every instance was ready within {seconds} s");
            return Failure::new(
                FailureCode::P501,
                cause,
                "run `panda doctor`, or raise `deploy.health_timeout`",
            );
        };
        let spec = target.release.config.processes.get(&trouble.process);
        let failure =
            diagnosis::of_instance(&trouble, spec, scale_of(&state.formation, &trouble.process).size);
        failure.with_log(self.last_lines(state, &trouble).await)
    }

    /// The last lines of the instance in trouble; none when they can't be read in time.
    pub(super) async fn last_lines(&self, state: &AppState, trouble: &Trouble) -> Vec<String> {
        let target = LogTarget::Placement {
            environment: environment_of(&state.row.placement),
            placement: state.row.placement.id.clone(),
            process: Some(trouble.process.clone()),
            instance: trouble.instance.as_ref().map(|i| i.id.clone()),
        };
        self.lines(target).await
    }

    pub(super) async fn task_log(&self, state: &AppState, deployment: &DeploymentRow) -> Vec<String> {
        match &deployment.task {
            Some(task) => self.lines(LogTarget::Task(task_key(state, task))).await,
            None => Vec::new(),
        }
    }

    async fn lines(&self, target: LogTarget) -> Vec<String> {
        let query = LogQuery { target, follow: false, since: None, tail: Some(LINES) };
        let read = async {
            let stream = self.runtime.logs(&query).await?;
            let chunks: Vec<_> = stream.collect().await;
            Ok::<_, crate::runtime::RuntimeError>(chunks)
        };
        match tokio::time::timeout(READING, read).await {
            Ok(Ok(chunks)) => {
                chunks.into_iter().flatten().map(|c| String::from_utf8_lossy(&c.line).into_owned()).collect()
            }
            Ok(Err(_)) | Err(_) => Vec::new(),
        }
    }
}

/// What it waited for until its time was over is why.
fn never_started(what: &str, wait: &Wait) -> Failure {
    let cause = format!("{what}: {}", wait.reason);
    if wait.for_image {
        let fix = "check the image's name and that this machine reaches its registry, then deploy again";
        return Failure::new(FailureCode::P207, cause, fix);
    }
    Failure::new(
        FailureCode::P501,
        cause,
        "`panda doctor` tells whether the runtime answers; then deploy again",
    )
}

fn event<'a>(
    state: &AppState,
    kind: &'a str,
    actor: &'a Actor,
    text: String,
    data: serde_json::Value,
) -> NewEvent<'a> {
    NewEvent {
        team: Some(state.row.placement.team.clone()),
        app: Some(state.row.placement.app.clone()),
        kind,
        actor,
        text,
        data,
    }
}
