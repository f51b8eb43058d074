//! A Build: source → image.

use serde::{Deserialize, Serialize};

use crate::failure::Failure;

/// Where a build stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum BuildState {
    /// Waiting for the builder.
    Queued,
    /// Running.
    Running,
    /// Its image is in the registry.
    Succeeded,
    /// Ended without an image.
    Failed {
        /// Why.
        failure: Failure,
    },
    /// Ended by a person or a newer deploy.
    Canceled,
}

impl BuildState {
    /// Returns the state's word.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed { .. } => "failed",
            Self::Canceled => "canceled",
        }
    }

    /// Tells whether it ended.
    pub fn ended(&self) -> bool {
        !matches!(self, Self::Queued | Self::Running)
    }
}
