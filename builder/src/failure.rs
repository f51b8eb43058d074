//! Why a build failed, in words: what happened, and what to do about it.

mod classify;

use panda_domain::failure::{Failure, FailureCode};

pub(crate) use classify::{Ending, classify, push_may_pass};

/// How a build ends without an image.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// Somebody canceled it, or a newer deploy did.
    #[error("the build was canceled")]
    Canceled,
    /// It failed.
    #[error(transparent)]
    Failed(Box<BuildFailure>),
}

/// A failed build, classified.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", failure.cause)]
pub struct BuildFailure {
    /// Code, cause, fix and the last lines of the log.
    pub failure: Failure,
    /// The step that failed or ran last, as in `[build 3/6] RUN npm ci`.
    pub step: Option<String>,
    /// Whether the same build may succeed when tried again (builder or registry not reachable).
    pub transient: bool,
}

impl BuildFailure {
    /// Makes a failure that trying again doesn't help.
    pub fn new(code: FailureCode, cause: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { failure: Failure::new(code, cause, fix), step: None, transient: false }
    }

    /// Makes a failure of something outside that may pass.
    pub fn transient(code: FailureCode, cause: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { transient: true, ..Self::new(code, cause, fix) }
    }
}

impl From<BuildFailure> for BuildError {
    fn from(failure: BuildFailure) -> Self {
        Self::Failed(Box::new(failure))
    }
}
