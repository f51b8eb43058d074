//! An App and its placements.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::ids::{AppId, EnvironmentId, PlacementId, ProjectId, ReleaseId, TeamId};
use crate::names::{AppName, EnvironmentName, Hostname};

/// One thing that is built and deployed together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct App {
    /// Its id.
    pub id: AppId,
    /// Who owns it.
    pub team: TeamId,
    /// What it is grouped with.
    pub project: ProjectId,
    /// Unique in the team.
    pub name: AppName,
    /// When it was made.
    pub created_at: Timestamp,
}

/// An app in an environment: what releases, formation, env and routes belong to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// Its id.
    pub id: PlacementId,
    /// Who owns it.
    pub team: TeamId,
    /// The app.
    pub app: AppId,
    /// The app's name, because everything that is shown needs it.
    pub app_name: AppName,
    /// Where.
    pub environment: EnvironmentId,
    /// The environment's name.
    pub environment_name: EnvironmentName,
    /// The host that the platform gave it; kept for ever. May be `x.localhost`.
    pub host: String,
    /// Counts wishes: goes up with each change of what should run.
    pub generation: i64,
    /// The last generation that was observed to be reached.
    pub converged_generation: i64,
    /// What should run.
    pub desired_release: Option<ReleaseId>,
    /// What ran well last.
    pub last_good_release: Option<ReleaseId>,
    /// Set while it is being destroyed.
    pub deleting_at: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
}

impl Placement {
    /// Tells whether what was observed matches the newest wish.
    pub fn converged(&self) -> bool {
        self.generation == self.converged_generation
    }
}

/// Returns the hosts' first label of an app: `api` in production, `api-staging` elsewhere.
pub fn host_label(app: &AppName, environment: &EnvironmentName) -> String {
    if *environment == EnvironmentName::production() {
        app.to_string()
    } else {
        let label = format!("{app}-{}", environment.as_str().replace('/', "-"));
        label.chars().take(58).collect::<String>().trim_end_matches('-').to_owned()
    }
}

/// Tells whether `host` lies below `domain` or is it.
pub fn host_is_within(host: &Hostname, domain: &str) -> bool {
    host.as_str() == domain || host.as_str().strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'))
}
