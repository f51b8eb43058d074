//! The deadline reconciler: a deployment that waits or builds for too long ends (P1), whatever has died meanwhile.
//!
//! The rollout has its own deadlines in [`crate::plan`].

use async_trait::async_trait;
use panda_domain::deployment::{DeploymentState, PhaseDeadlines};
use panda_domain::failure::{Failure, FailureCode};
use panda_jobs::{Outcome, Reconciler};
use panda_store::{DeploymentRow, Store};

use crate::error::DeployError;

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
            if let Some(failure) = self.overdue(&deployment) {
                let mut tx = self.store.begin().await?;
                tx.request_cancel(&deployment.team, &deployment.id).await?;
                tx.advance_deployment(&deployment, DeploymentState::TimedOut { failure }).await?;
                tx.wake();
                tx.commit().await?;
                ended += 1;
            }
        }
        Ok(ended)
    }

    fn overdue(&self, deployment: &DeploymentRow) -> Option<Failure> {
        if !matches!(deployment.state, DeploymentState::Queued | DeploymentState::Building) {
            return None;
        }
        let limit = deployment.state.deadline(&self.deadlines)?;
        let spent = self.store.clock().now_ms() - deployment.phase_started_at.as_millisecond();
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
