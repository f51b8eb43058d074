//! From a build to a rollout, in one transaction: the release, the pointer to it, the generation, the state.

use panda_domain::deployment::{CancelReason, DeploymentState};

use crate::deployments::DeploymentRow;
use crate::error::{Result, StoreError};
use crate::releases::{NewRelease, ReleaseRow};
use crate::tx::Tx;

impl Tx {
    /// Makes a deployment's release and hands it to the rollout. Older deployments that are still under way end as
    /// overtaken. `Stale` if the deployment isn't waiting or building any more.
    pub async fn hand_over(&mut self, deployment: &DeploymentRow, new: &NewRelease) -> Result<ReleaseRow> {
        self.overtake_older(deployment).await?;
        let release = self.insert_release(new).await?;
        self.point_at(deployment, &release, 0).await?;
        Ok(release)
    }

    /// Hands a release that exists to the rollout as a new attempt: a restart.
    pub async fn hand_over_restart(
        &mut self,
        deployment: &DeploymentRow,
        release: &ReleaseRow,
        revision: u32,
    ) -> Result<()> {
        self.overtake_older(deployment).await?;
        self.point_at(deployment, release, revision).await
    }

    async fn overtake_older(&mut self, deployment: &DeploymentRow) -> Result<()> {
        let now = self.deployment_by_id(&deployment.id).await?;
        if now.is_none_or(|now| now.state != deployment.state) {
            return Err(StoreError::Stale { what: format!("deployment `{}`", deployment.id) });
        }
        for older in self.active_deployment_of(&deployment.placement).await? {
            if older.id < deployment.id {
                self.request_cancel(&older.team, &older.id).await?;
                self.advance_deployment(
                    &older,
                    DeploymentState::Canceled { reason: CancelReason::Overtaken },
                )
                .await?;
            }
        }
        Ok(())
    }

    async fn point_at(
        &mut self,
        deployment: &DeploymentRow,
        release: &ReleaseRow,
        revision: u32,
    ) -> Result<()> {
        let generation = self.set_desired(&deployment.placement, &release.id, revision).await?;
        self.attach_release(&deployment.id, &release.id).await?;
        self.attach_generation(&deployment.id, generation).await?;
        self.advance_deployment(deployment, DeploymentState::Releasing).await?;
        self.wake();
        Ok(())
    }
}
