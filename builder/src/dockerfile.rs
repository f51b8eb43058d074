//! Dockerfiles: what we generate, and what we let users' own do.

pub(crate) mod policy;

/// A Dockerfile ready to be built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipe {
    /// Its text.
    pub dockerfile: String,
    /// What it doesn't want of the context; `None` leaves that to the context's own `.dockerignore`.
    pub dockerignore: Option<String>,
    /// The stage to build; `None` builds the last.
    pub target: Option<String>,
}
