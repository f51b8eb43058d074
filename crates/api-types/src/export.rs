//! An app as files that need no Panda.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How an app is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ExportFormat {
    /// Objects for `kubectl apply -f`.
    Yaml,
    /// A kustomization for `kubectl apply -k`.
    Kustomize,
    /// A compose file for `docker compose up`.
    Compose,
}

impl fmt::Display for ExportFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Yaml => "yaml",
            Self::Kustomize => "kustomize",
            Self::Compose => "compose",
        })
    }
}

/// An app as files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Export {
    /// The app.
    pub app: String,
    /// Where it serves.
    pub environment: String,
    /// The release that serves.
    pub release: u32,
    /// The format.
    pub format: ExportFormat,
    /// The files; `README.md` says what to do with them.
    pub files: Vec<ExportFile>,
    /// Names of the secrets that have to be filled in; their values are in no file.
    pub secrets: Vec<String>,
}

/// One of the files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ExportFile {
    /// Its path below the folder that the export is written into.
    pub path: String,
    /// Its content.
    pub text: String,
}
