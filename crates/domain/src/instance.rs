//! Instances: running replicas, as observed.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// What an instance is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InstanceState {
    /// Created or started, not yet ready.
    Starting,
    /// Ready; takes requests if it has a port.
    Ready,
    /// Was ready, its probe fails now.
    Unready,
    /// Out of the routes, finishing its requests.
    Draining,
    /// Exits again and again; waits for its next start.
    Crashing,
    /// Killed for using more memory than its limit.
    Oom,
    /// Ended.
    Stopped,
}

impl InstanceState {
    /// Returns the state's word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Unready => "unready",
            Self::Draining => "draining",
            Self::Crashing => "crashing",
            Self::Oom => "oom",
            Self::Stopped => "stopped",
        }
    }
}

/// Why an instance last ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastExit {
    /// Exit code; 128 + n for signal n.
    pub code: i64,
    /// Whether the kernel killed it for its memory.
    pub oom: bool,
    /// When.
    pub at: Option<Timestamp>,
}
