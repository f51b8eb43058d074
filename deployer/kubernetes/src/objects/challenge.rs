//! cert-manager's Challenge, as much of it as explains an order that takes long. Panda reads it and never writes it.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is proven.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, CustomResource)]
#[kube(
    group = "acme.cert-manager.io",
    version = "v1",
    kind = "Challenge",
    namespaced,
    status = "ChallengeStatus"
)]
#[serde(rename_all = "camelCase")]
pub struct ChallengeSpec {
    /// The host.
    pub dns_name: String,
}

/// How it goes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ChallengeStatus {
    /// What it waits for, or what was wrong, a sentence.
    #[serde(default)]
    pub reason: String,
}
