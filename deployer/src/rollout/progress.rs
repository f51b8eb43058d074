//! What people watch while a deployment rolls, and what was last seen of each app.

use panda_domain::deployment::DeploymentState;
use panda_store::DeploymentRow;
use serde_json::json;

use super::Rollouts;
use super::load::AppState;
use crate::desired::scale_of;
use crate::error::DeployError;
use crate::runtime::ObservedWorkload;

impl Rollouts {
    /// Writes a step for each process that rolls, when it says something new.
    pub(super) async fn show_progress(
        &self,
        state: &AppState,
        observed: &[ObservedWorkload],
    ) -> Result<(), DeployError> {
        let (Some(deployment), Some(target)) = (&state.active, &state.target) else { return Ok(()) };
        if deployment.state != DeploymentState::Rolling {
            return Ok(());
        }
        for process in target.release.config.processes.keys() {
            let wanted = scale_of(&state.formation, process).replicas;
            let workload = observed.iter().find(|w| target.attempt.owns(&w.key) && w.key.process == *process);
            let ready = workload.map_or(0, ObservedWorkload::ready);
            let state_word = if ready == wanted as usize { "done" } else { "running" };
            let detail = format!("{ready} of {wanted} ready");
            self.show_step(
                deployment,
                &format!("rollout/{process}"),
                &format!("start {process}"),
                state_word,
                &detail,
            )
            .await?;
        }
        Ok(())
    }

    async fn show_step(
        &self,
        deployment: &DeploymentRow,
        key: &str,
        title: &str,
        word: &str,
        detail: &str,
    ) -> Result<(), DeployError> {
        let memory = format!("{}/{key}", deployment.id);
        {
            let mut shown = self.shown.lock().expect("nothing panics while holding what was shown");
            if shown.get(&memory).is_some_and(|before| before == detail) {
                return Ok(());
            }
            if shown.len() > 10_000 {
                shown.clear();
            }
            shown.insert(memory, detail.to_owned());
        }
        let elapsed_ms = self.store.clock().now_ms() - deployment.phase_started_at.as_millisecond();
        let body = json!({ "key": key, "title": title, "state": word, "elapsed_ms": elapsed_ms.max(0), "detail": detail });
        let mut tx = self.store.begin().await?;
        tx.add_progress(&deployment.id, "step", &body).await?;
        tx.wake();
        tx.commit().await?;
        Ok(())
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
