//! Deployments.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Asks for a deployment. Exactly one of `tree` and `image`.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DeployRequest {
    /// `sha256:…` of a source tree that the server has whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tree: Option<String>,
    /// The commit it came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub git_sha: Option<String>,
    /// An image reference.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// The text of `panda.toml`; with `tree`, the tree's own file is read when this is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<String>,
    /// What the command line says; stronger than the file.
    #[serde(default)]
    pub overrides: DeploymentOverrides,
    /// Build even though the same source was built before, and without caches.
    #[serde(default)]
    pub no_cache: bool,
    /// Repeating a request with the same key gives the same deployment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
}

/// Flags of `panda deploy`.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DeploymentOverrides {
    /// Replicas of `web` (the only process, if there is no `web`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<u32>,
    /// Plain variables, kept.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// The port that `web` listens on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
}

/// The answer to a deploy request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeploymentAccepted {
    /// The deployment; absent when nothing would change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployment: Option<Deployment>,
    /// Whether nothing would change: the release that serves is what was asked for.
    pub unchanged: bool,
    /// The app as it is.
    pub app: crate::app::App,
    /// Things that people should know, such as keys of the file that wait for a later version.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notices: Vec<String>,
}

/// One attempt to make a release live.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Deployment {
    /// Its id.
    pub id: String,
    /// The app's name.
    pub app: String,
    /// The environment's name.
    pub environment: String,
    /// `queued`, `building`, `releasing`, `rolling`, `live`, `superseded`, `build_failed`, `release_failed`, `unhealthy`,
    /// `timed_out`, `canceled`.
    pub state: String,
    /// Whether it still goes on.
    pub active: bool,
    /// What set it off.
    pub trigger: String,
    /// The source, short.
    pub source: String,
    /// The release, once there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<u32>,
    /// The build, if it has one of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub build: Option<String>,
    /// `P202` and the like.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_code: Option<String>,
    /// What happened, a line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// What to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
    /// What is being done or waited for, while it goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<crate::stream::DeployStep>,
    /// The last log lines that show it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub log: Vec<String>,
    /// The release that serves now, after a failure too; absent where the ingress didn't confirm it (`P503`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serving_release: Option<u32>,
    /// Who asked.
    pub by: String,
    /// Where the app answers.
    pub url: String,
    /// When it was accepted.
    pub created_at: String,
    /// When it ended or went live.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<String>,
}

/// Goes back.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RollbackRequest {
    /// To this release; the good one before the present one unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<u32>,
}
