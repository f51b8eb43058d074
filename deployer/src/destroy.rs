//! The job behind `panda destroy`: everything of an app goes, in an order that a crash may cut anywhere.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use panda_domain::deployment::{CancelReason, DeploymentState};
use panda_domain::ids::{AppId, TeamId};
use panda_domain::job::JobPayload;
use panda_domain::release::Shutdown;
use panda_jobs::{Handler, JobContext, JobOutcome};
use panda_store::{PlacementRow, Store, StoreError};

use crate::desired::environment_of;
use crate::error::DeployError;
use crate::routes::RoutePublisher;
use crate::runtime::{Progress, Runtime};

/// Instances that serve nobody any more need no long farewell.
const FAREWELL_S: u32 = 10;

/// Removes apps.
pub struct DestroyApp {
    store: Store,
    runtime: Arc<dyn Runtime>,
    publisher: Arc<RoutePublisher>,
}

impl DestroyApp {
    /// Makes the handler.
    pub fn new(store: Store, runtime: Arc<dyn Runtime>, publisher: Arc<RoutePublisher>) -> Self {
        Self { store, runtime, publisher }
    }

    /// Returns whether it is gone for good; `false` while instances are still ending.
    async fn work(&self, team: &TeamId, app: &AppId) -> Result<bool, DeployError> {
        let placements = self.store.read().await?.placements_of_app(team, app).await?;
        for row in &placements {
            self.end_deployments(row).await?;
        }
        self.publisher.publish().await?;
        let mut gone = true;
        for row in &placements {
            gone &= self.remove_workloads(row).await?;
        }
        if !gone {
            return Ok(false);
        }
        self.remove_tasks(&placements).await?;
        let mut tx = self.store.begin().await?;
        tx.delete_app_rows(team, app).await?;
        tx.wake();
        tx.commit().await?;
        for row in &placements {
            self.leave_environment(row).await?;
        }
        Ok(true)
    }

    async fn end_deployments(&self, row: &PlacementRow) -> Result<(), DeployError> {
        let mut tx = self.store.begin().await?;
        // Before any of its deployments and jobs, as everybody does. Gone: an earlier try came this far.
        match tx.lock_placement(&row.placement.team, &row.placement.id).await {
            Err(StoreError::NotFound { .. }) => return Ok(()),
            other => other?,
        }
        for active in tx.active_deployment_of(&row.placement.id).await? {
            tx.request_cancel(&active.team, &active.id).await?;
            tx.advance_deployment(&active, DeploymentState::Canceled { reason: CancelReason::AppDestroyed })
                .await?;
        }
        // Nobody starts them any more.
        for task in tx.running_tasks().await?.iter().filter(|task| task.placement == row.placement.id) {
            tx.cancel_task_row(&task.id).await?;
        }
        tx.wake();
        tx.commit().await?;
        Ok(())
    }

    /// Removes the containers of one-off commands, running or ended: the environment's network can't go while they are there.
    async fn remove_tasks(&self, rows: &[PlacementRow]) -> Result<(), DeployError> {
        let held = self.runtime.inventory().await?.tasks;
        for (key, placement) in &held {
            if rows.iter().any(|row| row.placement.id == *placement) {
                self.runtime.remove_task(key).await?;
            }
        }
        Ok(())
    }

    async fn remove_workloads(&self, row: &PlacementRow) -> Result<bool, DeployError> {
        let observed = self.runtime.observe(&environment_of(&row.placement)).await?;
        let shutdown = Shutdown { drain_s: 0, grace_s: FAREWELL_S, ..Shutdown::default() };
        let mut gone = true;
        for workload in observed.iter().filter(|w| w.key.placement == row.placement.id) {
            gone &= self.runtime.remove_workload(&workload.key, &shutdown).await? == Progress::Converged;
        }
        Ok(gone)
    }

    /// Gives the environment's network back once nobody is in it.
    async fn leave_environment(&self, row: &PlacementRow) -> Result<(), DeployError> {
        let environment = &row.placement.environment;
        let empty = !self
            .store
            .read()
            .await?
            .all_placements()
            .await?
            .iter()
            .any(|p| p.placement.environment == *environment);
        if empty {
            self.runtime.remove_environment(&environment_of(&row.placement)).await?;
        }
        Ok(())
    }
}

#[async_trait]
impl Handler for DestroyApp {
    async fn run(&self, context: &JobContext) -> JobOutcome {
        let payload = context.payload();
        let JobPayload::DestroyApp { team, app } = payload else {
            return JobOutcome::Fail {
                error: format!("a job of kind `{}` came to the destroy handler", payload.kind()),
            };
        };
        match self.work(team, app).await {
            Ok(true) => JobOutcome::Done,
            Ok(false) => JobOutcome::Retry {
                after: Duration::from_millis(500),
                error: "instances are still ending".to_owned(),
            },
            // Destroying never gives up: what is left would run for ever.
            Err(error) => JobOutcome::Retry { after: Duration::from_secs(5), error: error.to_string() },
        }
    }
}
