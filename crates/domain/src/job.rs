//! What durable jobs carry: ids only, so whoever enqueues one need not know its handler.

use serde::{Deserialize, Serialize};

use crate::ids::{AppId, DeploymentId, TeamId};

/// A piece of work with an end that somebody waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum JobPayload {
    /// Build a deployment's image and make its release; image deployments resolve the digest.
    Build {
        /// Whose.
        team: TeamId,
        /// Which.
        deployment: DeploymentId,
    },
    /// Find out which digest an image deployment means, and make its release.
    ResolveImage {
        /// Whose.
        team: TeamId,
        /// Which.
        deployment: DeploymentId,
    },
    /// Remove an app with everything that runs and is kept for it.
    DestroyApp {
        /// Whose.
        team: TeamId,
        /// Which.
        app: AppId,
    },
}

impl JobPayload {
    /// Returns the kind's word, as in the job table.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Build { .. } => "build",
            Self::ResolveImage { .. } => "resolve_image",
            Self::DestroyApp { .. } => "destroy_app",
        }
    }
}

/// Returns the key of the job that works on a deployment. It is the deployment's own, so that a newer one never waits for an
/// older one that is being canceled; the newest-wins rule keeps their number down.
pub fn deployment_key(deployment: &DeploymentId) -> String {
    format!("deployment/{deployment}")
}
