//! Build plans.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Asks how a source would be built.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PlanRequest {
    /// `sha256:…` of a tree that the server has whole.
    pub tree: String,
    /// The text of `panda.toml`, if the tree's own isn't meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<String>,
}

/// How a source would be built.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PlanView {
    /// For people.
    pub text: String,
    /// The plan itself, as JSON.
    #[schema(value_type = Object)]
    pub plan: serde_json::Value,
    /// What would be given to BuildKit.
    pub dockerfile: String,
    /// The `.dockerignore` that goes with it.
    pub dockerignore: String,
}
