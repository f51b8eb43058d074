//! The release command: started once, before any instance.

use panda_domain::deployment::DeploymentState;
use panda_domain::formation::Size;
use panda_domain::ids::TaskId;
use panda_domain::names::ProcessName;
use panda_store::DeploymentRow;

use super::Rollouts;
use super::act::{missing_variable, refusal, task_key};
use super::load::{AppState, Target};
use crate::error::DeployError;
use crate::runtime::TaskSpec;

impl Rollouts {
    /// Returns whether anything came of it.
    pub(super) async fn start_release_command(
        &self,
        state: &AppState,
        target: &Target,
        deployment: &DeploymentRow,
    ) -> Result<bool, DeployError> {
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
        match self.try_start(state, target, deployment, &task).await {
            Err(DeployError::Missing(missing)) => {
                let end = DeploymentState::ReleaseFailed { failure: missing_variable(&missing) };
                self.give_up(state, deployment, end).await?;
                Ok(true)
            }
            Err(DeployError::Runtime(error)) => {
                let failure = refusal("the release command", error)?;
                self.give_up(state, deployment, DeploymentState::ReleaseFailed { failure }).await?;
                Ok(true)
            }
            other => other,
        }
    }

    async fn try_start(
        &self,
        state: &AppState,
        target: &Target,
        deployment: &DeploymentRow,
        task: &TaskId,
    ) -> Result<bool, DeployError> {
        let running = state.running(target, &self.settings);
        if !self.have_image(deployment, &running.pull_image()).await? {
            return Ok(false);
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
        Ok(true)
    }
}
