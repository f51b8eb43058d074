//! Moving an app to another server.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The key that a server opens what is moved to it with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MoveKey {
    /// The random name of its installation.
    pub installation: String,
    /// X25519, base 64.
    pub public_key: String,
    /// The beginning of the key's SHA-256, to compare.
    pub fingerprint: String,
}

/// Asks for an app's settings, sealed for another server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MoveOutRequest {
    /// The key of the server that it goes to.
    pub to: MoveKey,
    /// Its address, for the events.
    pub to_server: String,
}

/// An app's settings, which only one server can open.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MoveBundle {
    /// The random name of the installation that it comes from.
    pub from_installation: String,
    /// What of HPKE the key agreement needs, base 64.
    pub encapsulated: String,
    /// Env, secrets, formation and the release's settings; HPKE, base 64.
    pub sealed: String,
}

/// The answer to a request for a bundle.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MoveOut {
    /// For the other server.
    pub bundle: MoveBundle,
    /// The project's name.
    pub project: String,
    /// The release that goes.
    pub release: u32,
    /// `repository@sha256:…`.
    pub image: String,
    /// The image's digest.
    pub digest: String,
    /// Whether the image lies in this server's own registry, and has to be carried.
    pub carried: bool,
    /// Names of plain variables.
    pub env: Vec<String>,
    /// Names of secrets.
    pub secrets: Vec<String>,
    /// Process → replicas.
    pub replicas: BTreeMap<String, u32>,
}

/// Brings an app's settings in.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MoveInRequest {
    /// From the other server.
    pub bundle: MoveBundle,
    /// Its address, for the events.
    pub from_server: String,
}
