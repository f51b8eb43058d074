//! Why a build or a deployment failed: a code, the cause in a line, the fix as a command.

mod code;

use serde::{Deserialize, Serialize};

pub use code::{Explained, FailureCode};

/// A failure as people read it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The class.
    pub code: FailureCode,
    /// What happened, one line.
    pub cause: String,
    /// What to do, a sentence or a command.
    pub fix: String,
    /// The last lines of the log that show it, secrets masked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub log: Vec<String>,
}

impl Failure {
    /// Makes a failure without log lines.
    pub fn new(code: FailureCode, cause: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { code, cause: cause.into(), fix: fix.into(), log: Vec::new() }
    }

    /// Adds the log lines that show it.
    #[must_use]
    pub fn with_log(mut self, log: Vec<String>) -> Self {
        self.log = log;
        self
    }
}
