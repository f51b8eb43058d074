//! Why a build or a deployment failed: a code, the cause in a line, the fix as a command.

use serde::{Deserialize, Serialize};

/// The classified causes; the number is stable and has a page in the docs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum FailureCode {
    /// No start command found.
    P101,
    /// Several candidate languages or entry points.
    P102,
    /// Lock file missing or out of date.
    P103,
    /// A private dependency wanted credentials.
    P104,
    /// A version that isn't to be had.
    P105,
    /// The build ran out of memory.
    P106,
    /// The build ran out of time.
    P107,
    /// A module is missing at run time.
    P108,
    /// A build step failed by itself.
    P109,
    /// The build's disk is full.
    P110,
    /// Builder or registry not reachable.
    P111,
    /// The source can't be used (archive, path, size).
    P112,
    /// An environment variable is missing.
    P201,
    /// The app listens on localhost only.
    P202,
    /// The app listens on another port.
    P203,
    /// Nothing listens.
    P204,
    /// The health path answers with an error.
    P205,
    /// The app ran out of memory.
    P206,
    /// The image can't be pulled.
    P207,
    /// The app exits by itself.
    P208,
    /// The release lost readiness after it went live.
    P209,
    /// The release command failed.
    P301,
    /// A dependency of the app, such as a database, isn't reachable.
    P302,
    /// Env or secrets can't be decrypted.
    P303,
    /// A DNS record is wrong.
    P401,
    /// A certificate can't be issued.
    P402,
    /// The platform's own deadline for the phase passed.
    P501,
    /// The runtime refused the workload.
    P502,
    /// The ingress didn't confirm the new routes.
    P503,
}

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
