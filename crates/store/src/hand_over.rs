//! From a build to a rollout, in one transaction: the release, the pointer to it, the generation, the state.

use panda_domain::deployment::{CancelReason, DeploymentState, Trigger};
use panda_domain::ids::ReleaseId;

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

    /// Points the routes of a rolling deployment's placement at it. `Stale` if it isn't rolling any more: who canceled or
    /// overtook it has moved the pointers elsewhere.
    pub async fn switch_to(
        &mut self,
        deployment: &DeploymentRow,
        release: &ReleaseId,
        revision: u32,
    ) -> Result<()> {
        self.lock_placement(&deployment.team, &deployment.placement).await?;
        let now = self.deployment_by_id(&deployment.id).await?;
        if now.is_none_or(|now| now.state != DeploymentState::Rolling) {
            return Err(stale(deployment));
        }
        self.set_last_good(&deployment.placement, release, revision).await
    }

    /// Cancels a deployment and points back to what serves. `None` if its routes are on their way already: then it ends by
    /// itself, live or timed out.
    pub async fn call_off(
        &mut self,
        deployment: &DeploymentRow,
        reason: CancelReason,
    ) -> Result<Option<DeploymentRow>> {
        self.lock_placement(&deployment.team, &deployment.placement).await?;
        if self.has_switched(deployment).await? {
            return Ok(None);
        }
        self.request_cancel(&deployment.team, &deployment.id).await?;
        let ended = self.advance_deployment(deployment, DeploymentState::Canceled { reason }).await?;
        self.step_back(deployment).await?;
        Ok(Some(ended))
    }

    /// Points back to what served before a deployment moved the pointers: to what the routes point at or, when those were on
    /// their way to it already and nobody has seen them arrive, to what is live. Twice is once.
    pub async fn step_back(&mut self, deployment: &DeploymentRow) -> Result<()> {
        let id = &deployment.placement;
        let Some(row) = self.placement_by_id(id).await? else { return Ok(()) };
        if deployment.release.is_none() || deployment.release != row.placement.desired_release {
            return Ok(());
        }
        let before = if self.has_switched(deployment).await? {
            let live = self.live_deployment(id).await?;
            let before = live.and_then(|live| Some((live.release?, live.revision)));
            match &before {
                Some((release, revision)) => self.set_last_good(id, release, *revision).await?,
                None => self.clear_last_good(id).await?,
            }
            before
        } else {
            row.placement.last_good_release.map(|release| (release, row.last_good_revision))
        };
        match before {
            Some((release, revision)) => drop(self.set_desired(id, &release, revision).await?),
            None => drop(self.clear_desired(id).await?),
        }
        Ok(())
    }

    /// Tells whether the routes were sent to what a deployment rolls and nobody has seen them arrive yet.
    pub async fn has_switched(&mut self, deployment: &DeploymentRow) -> Result<bool> {
        let row = self.placement_by_id(&deployment.placement).await?;
        Ok(deployment.state == DeploymentState::Rolling
            && row.is_some_and(|row| {
                row.placement.desired_release == deployment.release
                    && row.placement.last_good_release == deployment.release
                    && row.last_good_revision == row.desired_revision
            }))
    }

    async fn overtake_older(&mut self, deployment: &DeploymentRow) -> Result<()> {
        self.lock_placement(&deployment.team, &deployment.placement).await?;
        let now = self.deployment_by_id(&deployment.id).await?;
        if now.is_none_or(|now| now.state != deployment.state) {
            return Err(stale(deployment));
        }
        for other in self.active_deployment_of(&deployment.placement).await? {
            let rolls = matches!(other.state, DeploymentState::Releasing | DeploymentState::Rolling);
            // What the platform does by itself is no reason to throw away what a person is waiting for.
            let older = other.sequence < deployment.sequence && deployment.trigger != Trigger::AutoRollback;
            if other.id != deployment.id && (rolls || older) {
                self.overtake(&other).await?;
            }
        }
        Ok(())
    }

    async fn overtake(&mut self, other: &DeploymentRow) -> Result<()> {
        self.request_cancel(&other.team, &other.id).await?;
        let reason = CancelReason::Overtaken;
        self.advance_deployment(other, DeploymentState::Canceled { reason }).await?;
        // Its routes may have been on their way: that they arrived is nothing that somebody saw.
        self.step_back(other).await
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
        self.attach_revision(&deployment.id, revision).await?;
        self.advance_deployment(deployment, DeploymentState::Releasing).await?;
        self.wake();
        Ok(())
    }
}

fn stale(deployment: &DeploymentRow) -> StoreError {
    StoreError::Stale { what: format!("deployment `{}`", deployment.id) }
}
