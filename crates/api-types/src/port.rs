//! Published TCP ports.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A port of a process at which the world reaches it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Port {
    /// The process that listens.
    pub process: String,
    /// The port that it listens on.
    pub port: u16,
    /// `tcp`.
    pub protocol: String,
    /// The port that the world connects to; absent when there is none for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published: Option<u16>,
    /// Where the world connects to, `tcp://host:port`; told once it is open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// `open`, `waiting`, `failed`.
    pub state: String,
    /// Why it isn't open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}
