//! What people watch while a deployment rolls, and what was last seen of each app.

use panda_domain::deployment::DeploymentState;
use panda_store::DeploymentRow;

use super::Rollouts;
use super::load::AppState;
use crate::error::DeployError;
use crate::runtime::ObservedWorkload;
use crate::waiting::Step;

/// More than any installation rolls at a time; what is forgotten is written once more.
pub(super) const MOST_REMEMBERED: usize = 10_000;

impl Rollouts {
    /// Writes a step for each process that rolls, and one for a release command that waits, when it says something new.
    pub(super) async fn show_progress(
        &self,
        state: &AppState,
        observed: &[ObservedWorkload],
    ) -> Result<(), DeployError> {
        let (Some(deployment), Some(target)) = (&state.active, &state.target) else { return Ok(()) };
        let held_up = self.held_up(deployment).map(|wait| wait.reason);
        if deployment.state == DeploymentState::Releasing {
            let Some(reason) = held_up else { return Ok(()) };
            return self
                .show_step(deployment, "release", "run the release command", "running", &reason)
                .await;
        }
        if self.was_shown(deployment, "release") {
            self.show_step(deployment, "release", "run the release command", "done", "").await?;
        }
        for wish in state.wishes(observed) {
            let (process, wanted) = (&wish.name, wish.replicas);
            let workload = observed.iter().find(|w| target.attempt.owns(&w.key) && w.key.process == *process);
            let ready = workload.map_or(0, ObservedWorkload::ready);
            // What can't start yet has no instance; the others are there to be looked at themselves.
            let waits = held_up.as_ref().filter(|_| workload.is_none());
            let done = ready == wanted as usize && waits.is_none();
            let detail = waits.map(|reason| format!("; {reason}")).unwrap_or_default();
            let detail = format!("{ready} of {wanted} ready{detail}");
            let (key, title) = (format!("rollout/{process}"), format!("start {process}"));
            self.show_step(deployment, &key, &title, if done { "done" } else { "running" }, &detail).await?;
        }
        Ok(())
    }

    async fn show_step(
        &self,
        deployment: &DeploymentRow,
        key: &str,
        title: &str,
        state: &str,
        detail: &str,
    ) -> Result<(), DeployError> {
        let memory = format!("{}/{key}", deployment.id);
        {
            let mut shown = self.shown.lock().expect("nothing panics while holding what was shown");
            let text = format!("{state} {detail}");
            if shown.get(&memory) == Some(&text) {
                return Ok(());
            }
            if shown.len() > MOST_REMEMBERED {
                shown.clear();
            }
            shown.insert(memory, text);
        }
        let mut tx = self.store.begin().await?;
        let step = Step { key, title, state, detail };
        step.write(&mut tx, &deployment.id, deployment.phase_started_at).await?;
        tx.commit().await?;
        Ok(())
    }

    fn was_shown(&self, deployment: &DeploymentRow, key: &str) -> bool {
        let shown = self.shown.lock().expect("nothing panics while holding what was shown");
        shown.contains_key(&format!("{}/{key}", deployment.id))
    }

    /// Keeps what was seen, when it differs from what was kept: status is only ever what was observed.
    pub(super) async fn store_observed(
        &self,
        state: &AppState,
        observed: &[ObservedWorkload],
    ) -> Result<(), DeployError> {
        let text = serde_json::to_string(observed).expect("observations are plain data");
        if state.row.observed.as_deref() == Some(text.as_str()) {
            return Ok(());
        }
        let mut tx = self.store.begin().await?;
        tx.set_observed(&state.row.placement.id, &text, self.store.clock().now()).await?;
        tx.commit().await?;
        Ok(())
    }
}
