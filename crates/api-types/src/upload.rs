//! Sending a directory: the listing first, then only the files that the server doesn't have.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Announces a directory by its listing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TreeRequest {
    /// The canonical listing, as `panda_domain::source_tree` writes it.
    pub listing: String,
}

/// What of an announced directory has to be sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TreeView {
    /// `sha256:…` of the listing.
    pub tree: String,
    /// Whether every file is there.
    pub complete: bool,
    /// sha256 (hex) of the files to send.
    pub missing: Vec<String>,
}

/// The answer to sent files: what still isn't there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MissingBlobs {
    /// sha256 (hex).
    pub missing: Vec<String>,
}
