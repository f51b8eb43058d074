//! What can go wrong while tidying.

use std::path::PathBuf;

use panda_domain::ids::TeamId;
use panda_store::{BlobError, StoreError};

use super::registry::RegistryError;
use crate::runtime::RuntimeError;

/// A step that could not be finished; the next pass tries again.
#[derive(Debug, thiserror::Error)]
pub(super) enum GarbageError {
    /// The state can't be read or written.
    #[error("read or write the state")]
    Store(#[from] StoreError),
    /// The runtime didn't do it.
    #[error("ask the runtime")]
    Runtime(#[from] RuntimeError),
    /// The folder of uploads.
    #[error("tidy the uploads")]
    Blobs(#[from] BlobError),
    /// The registry didn't do it.
    #[error("delete an image")]
    Registry(#[from] RegistryError),
    /// Without the listing nobody knows which contents a directory needs, so none of its team is removed (P9).
    #[error(
        "the listing of directory `{tree}` of team `{team}` can't be read; its team's uploads are left alone"
    )]
    Listing {
        /// Whose.
        team: TeamId,
        /// Which.
        tree: String,
    },
    /// A file can't be listed or removed.
    #[error("{doing} `{}`", path.display())]
    File {
        /// What was tried.
        doing: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}
