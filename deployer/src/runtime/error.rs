//! What can go wrong at the seam, by what the caller has to do about it.

/// A call to the runtime that did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// The engine can't be reached or is overloaded: try again later.
    #[error("{doing}: the runtime isn't reachable")]
    Unavailable {
        /// What was tried, as a verb phrase.
        doing: String,
        /// The engine's own words.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// The engine refuses this for good: tell the user.
    #[error("{doing}: {reason}")]
    Rejected {
        /// What was tried.
        doing: String,
        /// Why, in words that a user may see.
        reason: String,
    },
    /// The object isn't there.
    #[error("{what} isn't there")]
    NotFound {
        /// Which object.
        what: String,
    },
    /// Somebody else changed or holds the object.
    #[error("{what} was changed by somebody else")]
    Conflict {
        /// Which object.
        what: String,
    },
    /// This runtime can't do that; the capability is named.
    #[error("this runtime has no {capability}")]
    Unsupported {
        /// The missing capability.
        capability: &'static str,
    },
    /// A bug, in the driver or the engine.
    #[error("{doing} failed")]
    Internal {
        /// What was tried.
        doing: String,
        /// The cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl RuntimeError {
    /// Tells whether the same call may succeed later.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::Conflict { .. })
    }
}

/// The result of a call at the seam.
pub type RuntimeResult<T> = Result<T, RuntimeError>;
