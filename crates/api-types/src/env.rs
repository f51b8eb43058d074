//! Environment variables and secrets.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One variable.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EnvVariable {
    /// Its name.
    pub key: String,
    /// Its value; absent for a secret, always.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Whether it is write-only.
    pub secret: bool,
    /// The first 8 digits of the value's keyed hash, to compare without showing.
    pub fingerprint: String,
    /// The version that last changed it.
    pub version: i64,
    /// Who set it.
    pub set_by: String,
    /// When.
    pub set_at: String,
    /// Whether the release that serves has this value.
    pub deployed: bool,
}

/// A wished value.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EnvPatch {
    /// The value; `null` removes the variable.
    pub value: Option<String>,
    /// Whether it is to be write-only. A secret stays one.
    #[serde(default)]
    pub secret: bool,
}

/// Changes some variables in one step.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EnvChangeRequest {
    /// Name → wish.
    pub changes: BTreeMap<String, EnvPatch>,
    /// Roll the change out at once.
    pub deploy: bool,
    /// Only say what it would do.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
}

/// One past change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EnvHistoryEntry {
    /// The version it made.
    pub version: i64,
    /// The name.
    pub key: String,
    /// `set`, `unset`.
    pub change: String,
    /// Whether it is a secret.
    pub secret: bool,
    /// Who.
    pub by: String,
    /// When.
    pub at: String,
}

/// The answer to a change of env.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EnvChanged {
    /// The env's version; the one before when nothing differs.
    pub version: i64,
    /// Name → what came of it: `added`, `replaced`, `removed`, `same` (it has this value already) or `absent` (it
    /// wasn't set).
    #[serde(default)]
    pub changes: BTreeMap<String, String>,
    /// The deployment that rolls it out, when that was asked for and there is something to roll out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployment: Option<crate::deployment::DeploymentAccepted>,
}
