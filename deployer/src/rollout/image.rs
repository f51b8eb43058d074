//! The image that a rollout needs: had, or why not yet.

use std::time::Duration;

use panda_domain::deployment::DeploymentState;
use panda_domain::failure::Failure;
use panda_store::DeploymentRow;

use super::Rollouts;
use super::act::refusal;
use super::load::AppState;
use super::progress::MOST_REMEMBERED;
use crate::error::DeployError;
use crate::plan::ProcessWish;
use crate::runtime::{Progress, PullImage, RuntimeError, WorkloadSpec};
use crate::waiting::{self, Wait};

/// How long one pass waits for a pull, which goes on without it: the other apps wait for the pass.
const PULL_AT_ONCE: Duration = Duration::from_secs(1);

impl Rollouts {
    /// Looks for the image of a release that rolls at 0 replicas, where no instance shows that it can run; pulls it for a
    /// moment at a time. Gives a failure when it can't be had.
    pub(super) async fn see_image(
        &self,
        state: &AppState,
        wishes: &[ProcessWish],
    ) -> Result<Result<bool, Failure>, DeployError> {
        let (Some(deployment), Some(target)) = (&state.active, &state.target) else { return Ok(Ok(false)) };
        let nothing_runs = wishes.iter().all(|wish| wish.replicas == 0);
        if deployment.state != DeploymentState::Rolling || !nothing_runs {
            return Ok(Ok(false));
        }
        let image = state.running(target, &self.settings).pull_image();
        match self.have_image(deployment, &image).await {
            Ok(there) => Ok(Ok(there)),
            Err(error) if error.is_transient() => Ok(Ok(false)),
            Err(error) => Ok(Err(refusal("the image", error)?)),
        }
    }

    /// Pulls a release's image, for a moment at a time; `false` when that isn't done yet. Keeps why for those who watch.
    pub(super) async fn have_image(
        &self,
        deployment: &DeploymentRow,
        image: &PullImage,
    ) -> Result<bool, RuntimeError> {
        let (reference, since) = (image.reference(), deployment.phase_started_at);
        match tokio::time::timeout(PULL_AT_ONCE, self.runtime.ensure_image(image)).await {
            Ok(Ok(())) => {
                self.hold_up(deployment, None);
                Ok(true)
            }
            Ok(Err(error)) => {
                self.hold_up(deployment, Some(Wait::after(&error, &reference, since)));
                Err(error)
            }
            Err(_) => {
                if self.held_up(deployment).is_none() {
                    self.hold_up(deployment, Some(Wait::for_image(waiting::asked(&reference, since))));
                }
                Ok(false)
            }
        }
    }

    /// Keeps, for those who watch, why a workload has no instance yet.
    pub(super) fn note_wait(
        &self,
        state: &AppState,
        workload: &WorkloadSpec,
        ensured: Result<&Progress, &RuntimeError>,
    ) {
        let Some(deployment) = &state.active else { return };
        let (reference, since) = (workload.image.reference(), deployment.phase_started_at);
        match ensured {
            Ok(Progress::Converged) if workload.replicas > 0 => self.hold_up(deployment, None),
            Ok(Progress::Working) if self.held_up(deployment).is_none() => {
                let wait = Wait::for_image(waiting::no_instance_yet(&reference, since));
                self.hold_up(deployment, Some(wait));
            }
            Err(error) if error.is_transient() => {
                self.hold_up(deployment, Some(Wait::after(error, &reference, since)));
            }
            _ => {}
        }
    }

    /// Notes what a deployment waits for, `None` when for nothing any more.
    fn hold_up(&self, deployment: &DeploymentRow, wait: Option<Wait>) {
        let mut held_up = self.held_up.lock().expect("nothing panics while holding what is waited for");
        if held_up.len() > MOST_REMEMBERED {
            held_up.clear();
        }
        match wait {
            Some(wait) => drop(held_up.insert(deployment.id.clone(), wait)),
            None => drop(held_up.remove(&deployment.id)),
        }
    }

    /// Returns what a deployment waits for.
    pub(super) fn held_up(&self, deployment: &DeploymentRow) -> Option<Wait> {
        let held_up = self.held_up.lock().expect("nothing panics while holding what is waited for");
        held_up.get(&deployment.id).cloned()
    }
}
