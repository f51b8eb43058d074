//! Reads a local directory into a [`SourceManifest`], leaving out what its ignore files name.
//!
//! Used by the CLI before an upload and by the builder for the daemon's questions. Knows the disk and
//! nothing else: no network, no server.
//!
//! [`SourceManifest`]: panda_domain::source_tree::SourceManifest

mod docker_ignore;
mod git_ignore;
mod walk;

pub use docker_ignore::{DockerIgnore, InvalidPattern};
pub use walk::{WalkError, WalkOptions, Walked, walk};
