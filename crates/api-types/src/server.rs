//! The server itself.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What anybody may know about a server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ServerInfo {
    /// Its version.
    pub version: String,
    /// Whether it has an owner.
    pub claimed: bool,
    /// Its own address for people and clients.
    pub url: String,
    /// The domain that apps get their hosts in.
    pub apps_domain: String,
    /// The certificate of its local authority, PEM, when it uses one; the CLI pins it at login.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local_ca: Option<String>,
}

/// One of doctor's looks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DoctorCheck {
    /// What was looked at.
    pub name: String,
    /// `ok`, `warning`, `failed`.
    pub state: String,
    /// What was seen.
    pub seen: String,
    /// What to do; empty when all is well.
    pub fix: String,
}
