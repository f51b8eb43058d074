//! Everything that the state knows about one app.

use std::collections::BTreeMap;
use std::sync::Arc;

use panda_domain::app::Placement;
use panda_domain::deployment::DeploymentState;
use panda_domain::env::Env;
use panda_domain::formation::Formation;
use panda_domain::ids::PlacementId;
use panda_domain::names::ProcessName;
use panda_store::{DeploymentRow, PlacementRow, ReleaseRow, Security, Store};

use crate::autoscale::Standing;
use crate::desired::{Running, neighbour_variable, process_wishes};
use crate::error::DeployError;
use crate::plan::{Attempt, ProcessWish};
use crate::runtime::ObservedWorkload;
use crate::settings::DeploySettings;

/// What the state says about one app.
pub(super) struct AppState {
    /// The app in its environment.
    pub(super) row: PlacementRow,
    /// What should run, with its env.
    pub(super) target: Option<Target>,
    /// What the routes point to.
    pub(super) serving: Option<Attempt>,
    /// The deployment that is under way past its build.
    pub(super) active: Option<DeploymentRow>,
    /// The deployment that is live.
    pub(super) live: Option<DeploymentRow>,
    /// The release to go back to, should the live one die.
    pub(super) before: Option<ReleaseRow>,
    /// Scale.
    pub(super) formation: Formation,
    /// URLs of all apps of the environment.
    pub(super) neighbours: Arc<Neighbours>,
    /// Whether the team refuses root.
    pub(super) restricted: bool,
    /// Where the app answers.
    pub(super) url: String,
}

/// Variables with the URLs of an environment's apps.
pub(super) type Neighbours = BTreeMap<String, String>;

/// The release that should run.
pub(super) struct Target {
    /// Which attempt.
    pub(super) attempt: Attempt,
    /// The release.
    pub(super) release: ReleaseRow,
    /// Its env, decrypted.
    pub(super) env: Env,
}

/// Loads it, `None` when the app is gone. Fails, and changes nothing, when the env can't be decrypted (P9).
pub(super) async fn load(
    store: &Store,
    settings: &DeploySettings,
    id: &PlacementId,
    neighbours: &Arc<Neighbours>,
) -> Result<Option<AppState>, DeployError> {
    let mut tx = store.read().await?;
    let Some(row) = tx.placement_by_id(id).await?.filter(|row| row.placement.deleting_at.is_none()) else {
        return Ok(None);
    };
    let team = row.placement.team.clone();
    let target = match &row.placement.desired_release {
        Some(release) => {
            let release = tx
                .release(&team, release)
                .await?
                .ok_or_else(|| panda_store::StoreError::missing("its desired release"))?;
            let env = tx.env_at(&team, id, release.env_version).await?;
            let attempt = Attempt { release: release.id.clone(), revision: row.desired_revision };
            Some(Target { attempt, release, env })
        }
        None => None,
    };
    let serving = row
        .placement
        .last_good_release
        .clone()
        .map(|release| Attempt { release, revision: row.last_good_revision });
    let active = tx.active_deployment_of(id).await?.into_iter().find(is_past_build);
    // These are reads at different moments: a deployment that took over between them would be judged by another's release.
    if active.as_ref().is_some_and(|a| a.release != row.placement.desired_release) {
        return Err(panda_store::StoreError::Stale { what: format!("placement `{id}`") }.into());
    }
    let live = tx.live_deployment(id).await?;
    let before = match &live {
        Some(live) if live.live_at.is_some() && !tx.going_back_failed(live).await? => {
            tx.release_before(live).await?
        }
        _ => None,
    };
    let formation = tx.formation(id).await?;
    let restricted = tx.team(&team).await?.is_some_and(|t| t.security == Security::Restricted);
    let neighbours = neighbours.clone();
    let url = settings.url_of(&row.placement.host);
    Ok(Some(AppState { row, target, serving, active, live, before, formation, neighbours, restricted, url }))
}

fn is_past_build(deployment: &DeploymentRow) -> bool {
    matches!(deployment.state, DeploymentState::Releasing | DeploymentState::Rolling)
}

/// Loads the URLs of an environment's apps, once for all of them: for each app anew it would be their number squared.
pub(super) async fn neighbours(store: &Store, of: &Placement) -> Result<Arc<Neighbours>, DeployError> {
    let all = store.read().await?.neighbours(&of.team, &of.environment).await?;
    let variables =
        all.into_iter().map(|(app, port)| (neighbour_variable(&app), format!("http://{app}:{port}")));
    Ok(Arc::new(variables.collect()))
}

impl AppState {
    /// Returns where the app stands.
    pub(super) fn standing<'a>(&'a self, observed: &'a [ObservedWorkload]) -> Standing<'a> {
        let state = self.active.as_ref().map(|deployment| &deployment.state);
        Standing {
            target: self.target.as_ref().map(|target| &target.attempt),
            serving: self.serving.as_ref(),
            rolling: state == Some(&DeploymentState::Rolling),
            observed,
        }
    }

    /// Returns what is wished of each process of the target.
    pub(super) fn wishes(&self, observed: &[ObservedWorkload]) -> Vec<ProcessWish> {
        let wishes = self
            .target
            .as_ref()
            .map(|target| process_wishes(&target.release.config, &self.formation, &self.standing(observed)));
        wishes.unwrap_or_default()
    }

    /// Returns the target as something to make specs of.
    pub(super) fn running<'a>(&'a self, target: &'a Target, settings: &'a DeploySettings) -> Running<'a> {
        Running {
            placement: &self.row.placement,
            attempt: &target.attempt,
            number: target.release.number,
            image: &target.release.image,
            config: &target.release.config,
            env: &target.env,
            git_sha: target.release.source.git_sha(),
            url: &self.url,
            neighbours: &self.neighbours,
            restricted: self.restricted,
            pull_url: &settings.pull_url,
            login: settings.login.clone(),
        }
    }

    /// Returns the shutdown rules of a process, the default when the target doesn't have it.
    pub(super) fn shutdown_of(&self, process: &ProcessName) -> panda_domain::release::Shutdown {
        let spec = self.target.as_ref().and_then(|t| t.release.config.processes.get(process));
        spec.map(|s| s.shutdown.clone()).unwrap_or_default()
    }
}
