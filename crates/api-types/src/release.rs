//! Releases.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What can be run again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Release {
    /// `v42` without the v.
    pub number: u32,
    /// `repository@sha256:…`.
    pub image: String,
    /// Where the code came from, short.
    pub source: String,
    /// Commit, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub git_sha: Option<String>,
    /// The release it is a copy of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copy_of: Option<u32>,
    /// Version of env and secrets.
    pub env_version: i64,
    /// Process → command, `image default` when the image's own.
    pub processes: std::collections::BTreeMap<String, String>,
    /// Who made it.
    pub by: String,
    /// When.
    pub created_at: String,
    /// Whether it serves now, as observed.
    pub serving: bool,
    /// How its deployment ended: `live`, `superseded`, `unhealthy`, …
    pub outcome: String,
}

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReleaseChange {
    /// `image`, `env.KEY`, `processes.web.command`, …
    pub what: String,
    /// Before; absent when it is new. Values of secrets are never shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// After; absent when it is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

/// What differs between two releases.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReleaseDiff {
    /// The older.
    pub from: u32,
    /// The newer.
    pub to: u32,
    /// The differences.
    pub changes: Vec<ReleaseChange>,
}
