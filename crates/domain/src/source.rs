//! Where an app's code comes from.

use serde::{Deserialize, Serialize};

use crate::image::ImageReference;
use crate::names::AppName;

/// A git commit, an uploaded directory, or an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Source {
    /// An uploaded directory, by the hash of its tree.
    Upload {
        /// `sha256:…` of the canonical listing.
        tree: String,
        /// The git commit it was taken from, as the client says.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        git_sha: Option<String>,
    },
    /// An image that already exists.
    Image {
        /// As the person named it.
        reference: ImageReference,
    },
    /// The image of an earlier release.
    Release {
        /// Its number.
        number: u32,
    },
}

impl Source {
    /// Returns the commit, if known.
    pub fn git_sha(&self) -> Option<&str> {
        match self {
            Self::Upload { git_sha, .. } => git_sha.as_deref(),
            _ => None,
        }
    }

    /// Returns a short text for lists.
    pub fn short(&self) -> String {
        match self {
            Self::Upload { tree, git_sha } => match git_sha {
                Some(sha) => sha.chars().take(7).collect(),
                None => format!(
                    "upload {}",
                    tree.trim_start_matches("sha256:").chars().take(7).collect::<String>()
                ),
            },
            Self::Image { reference } => reference.to_string(),
            Self::Release { number } => format!("v{number}"),
        }
    }
}

/// Tells whether a text is the name of a commit: 7 to 64 hexadecimal digits.
pub fn is_git_sha(text: &str) -> bool {
    (7..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit())
}

/// Returns the repository in the platform's registry that holds this app's builds.
pub fn repository_of(team: &crate::ids::TeamId, app: &AppName) -> String {
    format!("{}/{app}", team.as_str().replace('_', "-"))
}
