//! The deadline reconciler: a deployment that waits or builds for too long ends (P1), whatever has died meanwhile.
//!
//! The rollout has its own deadlines in [`crate::plan`]; those that it can't keep are kept here, a little later.

use async_trait::async_trait;
use panda_domain::deployment::{DeploymentState, PhaseDeadlines};
use panda_domain::failure::{Failure, FailureCode};
use panda_domain::source::Source;
use panda_jobs::{Outcome, Reconciler};
use panda_store::{DeploymentRow, Store, StoreError};

use crate::error::DeployError;

/// How much later than the rollout itself this ends a rollout, seconds.
const LATE_S: i64 = 30;

/// Ends deployments whose time is over.
pub struct Deadlines {
    store: Store,
    deadlines: PhaseDeadlines,
}

impl Deadlines {
    /// Makes the reconciler of an installation.
    pub fn new(store: Store, deadlines: PhaseDeadlines) -> Self {
        Self { store, deadlines }
    }

    async fn end_late(&self) -> Result<usize, DeployError> {
        let active = self.store.read().await?.active_deployments().await?;
        let mut ended = 0;
        for deployment in active {
            let failure = match self.overdue(&deployment) {
                Some(failure) => Some(self.with_reason(&deployment, failure).await?),
                None => self.stuck(&deployment).await?,
            };
            if let Some(failure) = failure {
                match self.end(&deployment, failure).await {
                    Ok(()) => ended += 1,
                    // It went on meanwhile.
                    Err(DeployError::Store(StoreError::Stale { .. })) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(ended)
    }

    async fn end(&self, deployment: &DeploymentRow, failure: Failure) -> Result<(), DeployError> {
        let mut tx = self.store.begin().await?;
        tx.lock_placement(&deployment.team, &deployment.placement).await?;
        // Between two releases nobody can tell which one the ingress has: what was live before is to serve again.
        let failure =
            if tx.has_switched(deployment).await? { unconfirmed(self.spent_ms(deployment)) } else { failure };
        tx.request_cancel(&deployment.team, &deployment.id).await?;
        tx.advance_deployment(deployment, DeploymentState::TimedOut { failure }).await?;
        tx.step_back(deployment).await?;
        tx.wake();
        tx.commit().await?;
        Ok(())
    }

    /// A rollout ends itself, with a better reason; this is for one that can't be looked at: the runtime is away, or the
    /// env can't be decrypted.
    async fn stuck(&self, deployment: &DeploymentRow) -> Result<Option<Failure>, DeployError> {
        let Some(release) = &deployment.release else { return Ok(None) };
        let Some(release) = self.store.read().await?.release_by_id(release).await? else { return Ok(None) };
        let limit_s = match deployment.state {
            DeploymentState::Releasing => release.config.release_timeout_s,
            DeploymentState::Rolling => release.config.rollout_timeout_s,
            _ => return Ok(None),
        };
        if self.spent_ms(deployment) < (i64::from(limit_s) + LATE_S) * 1000 {
            return Ok(None);
        }
        let cause = format!("the platform couldn't finish the rollout within {limit_s} s");
        let fix =
            "`panda doctor` tells whether the runtime answers and the secrets can be read; then deploy again";
        Ok(Some(Failure::new(FailureCode::P501, cause, fix)))
    }

    /// A deployment of an image waits for its registry: what it was last told to wait for is why.
    async fn with_reason(
        &self,
        deployment: &DeploymentRow,
        failure: Failure,
    ) -> Result<Failure, DeployError> {
        if !matches!(deployment.source, Source::Image { .. }) {
            return Ok(failure);
        }
        let step = self.store.read().await?.newest_progress(&deployment.id, "step").await?;
        let waiting = step.and_then(|step| step.body["detail"].as_str().map(str::to_owned));
        let Some(waiting) = waiting else { return Ok(failure) };
        let cause =
            format!("it waited {} minutes for its image: {waiting}", self.spent_ms(deployment) / 60_000);
        let fix = "check the image's name and that this machine reaches its registry, then deploy again";
        Ok(Failure::new(failure.code, cause, fix))
    }

    fn spent_ms(&self, deployment: &DeploymentRow) -> i64 {
        self.store.clock().now_ms() - deployment.phase_started_at.as_millisecond()
    }

    fn overdue(&self, deployment: &DeploymentRow) -> Option<Failure> {
        if !matches!(deployment.state, DeploymentState::Queued | DeploymentState::Building) {
            return None;
        }
        let limit = deployment.state.deadline(&self.deadlines)?;
        let spent = self.spent_ms(deployment);
        if u128::from(spent.unsigned_abs()) < limit.as_millis() || spent < 0 {
            return None;
        }
        let minutes = limit.as_secs() / 60;
        Some(if deployment.state == DeploymentState::Queued {
            let cause = format!("it waited {minutes} minutes for the builder");
            Failure::new(
                FailureCode::P501,
                cause,
                "`panda doctor` tells whether the builder is up; then deploy again",
            )
        } else {
            let cause = format!("the build took longer than {minutes} minutes");
            Failure::new(FailureCode::P107, cause, "look at its slowest step: `panda logs --build`")
        })
    }
}

fn unconfirmed(spent_ms: i64) -> Failure {
    let seconds = spent_ms / 1000;
    let cause = format!(
        "the ingress didn't confirm the new routes within {seconds} s; what served before serves again as soon as it answers"
    );
    Failure::new(FailureCode::P503, cause, "`panda doctor` tells whether the edge answers; then deploy again")
}

#[async_trait]
impl Reconciler for Deadlines {
    fn name(&self) -> &'static str {
        "deadlines"
    }

    async fn activate(&self) -> Outcome {
        match self.end_late().await {
            Ok(0) => Outcome::Skipped,
            Ok(_) => Outcome::Applied,
            Err(error) => Outcome::failed("deployments", &error),
        }
    }
}
