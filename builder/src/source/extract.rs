//! Materialises a source tree: from a list and its contents, or from an archive (see [`super::archive`]).
//!
//! Both write through one [`Sink`], which creates every file anew below directories that it made itself.
//! On any error nothing is left on the disk.

mod sink;

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use panda_domain::failure::FailureCode;
use panda_domain::source_tree::{ContentHash, InvalidSource, SourceKind, SourceManifest, SourceProblem};

use crate::failure::BuildFailure;

pub(crate) use sink::Sink;

/// How much a source may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExtractLimits {
    /// Most files, links and directories.
    pub entries: usize,
    /// Most bytes in all files together.
    pub bytes: u64,
    /// Most bytes that one byte of an archive may become.
    pub ratio: u64,
}

impl Default for ExtractLimits {
    fn default() -> Self {
        Self { entries: 100_000, bytes: 2 << 30, ratio: 200 }
    }
}

/// Why a source can't be put on the disk.
#[derive(Debug, thiserror::Error)]
pub enum ExtractError {
    /// An entry is none that a source may have.
    #[error(transparent)]
    Entry(#[from] InvalidSource),
    /// An entry of an archive is of a kind that no source has.
    #[error("archive entry `{path}` is {kind}")]
    Kind {
        /// The entry's path.
        path: String,
        /// What it is, as in `a device`.
        kind: &'static str,
    },
    /// Too many entries.
    #[error("the source has more than {limit} entries; `{path}` is the first beyond")]
    TooMany {
        /// The limit.
        limit: usize,
        /// The first entry beyond it.
        path: String,
    },
    /// Too many bytes.
    #[error("the source has more than {limit} bytes; `{path}` is the first file beyond")]
    TooLarge {
        /// The limit.
        limit: u64,
        /// The first file beyond it.
        path: String,
    },
    /// The archive grows beyond measure.
    #[error("the archive becomes more than {limit} times as large at `{path}`")]
    Ratio {
        /// The limit.
        limit: u64,
        /// The entry at which it was noticed.
        path: String,
    },
    /// A content isn't there.
    #[error("the content {hash} of `{path}` was not uploaded")]
    Missing {
        /// The file's path.
        path: String,
        /// The content's hash.
        hash: ContentHash,
    },
    /// A content isn't what the list says.
    #[error("the content of `{path}` has another hash or length than listed")]
    Mismatch {
        /// The file's path.
        path: String,
    },
    /// The archive ends early or isn't one.
    #[error("read the archive")]
    Archive(#[source] io::Error),
    /// The disk refused.
    #[error("write `{path}`")]
    Write {
        /// What we tried to write.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
}

impl ExtractError {
    /// Returns the failure that people read: the entry, the cause, the fix.
    pub fn failure(&self) -> BuildFailure {
        let cause = match std::error::Error::source(self) {
            Some(source) => format!("{self}: {source}"),
            None => self.to_string(),
        };
        let hint = match self {
            Self::Entry(invalid) => invalid.problem.hint(),
            Self::Kind { .. } => "leave it out of the archive: a source holds files, directories and links",
            Self::TooMany { .. } | Self::TooLarge { .. } => {
                "add what isn't needed to .dockerignore or .pandaignore"
            }
            Self::Ratio { .. } => "upload the directory itself, or an archive without such files",
            Self::Missing { .. } | Self::Mismatch { .. } => "upload again; files may have changed meanwhile",
            Self::Archive(_) => "make the archive again: tar, tar.gz or tar.zst",
            Self::Write { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                return BuildFailure::transient(
                    FailureCode::P110,
                    cause,
                    "ask the operator to free the server's disk",
                );
            }
            Self::Write { .. } => {
                return BuildFailure::transient(
                    FailureCode::P112,
                    cause,
                    "ask the operator to check the server's disk",
                );
            }
        };
        BuildFailure::new(FailureCode::P112, cause, hint)
    }

    pub(crate) fn entry(path: &str, problem: SourceProblem) -> Self {
        Self::Entry(InvalidSource { path: shown(path), problem })
    }
}

pub(crate) fn shown(path: &str) -> String {
    path.chars().take(120).flat_map(char::escape_debug).collect()
}

/// Writes the tree into `target`, which must not exist yet; `open` gives the content for a hash, `None` if
/// it isn't there. Every content is checked against its hash while it is written.
pub fn extract_manifest<R: Read>(
    manifest: &SourceManifest,
    target: &Path,
    limits: ExtractLimits,
    mut open: impl FnMut(&ContentHash) -> io::Result<Option<R>>,
) -> Result<(), ExtractError> {
    // Known before the first byte is written.
    if let Some(beyond) = manifest.entries().get(limits.entries) {
        return Err(ExtractError::TooMany { limit: limits.entries, path: shown(&beyond.path) });
    }
    let mut sink = Sink::create(target, limits)?;
    for entry in manifest.entries() {
        match &entry.kind {
            SourceKind::Directory => sink.directory(&entry.path)?,
            SourceKind::Symlink { target } => sink.symlink(&entry.path, target)?,
            SourceKind::File { executable, size, sha256 } => {
                let failed = |source| ExtractError::Write { path: PathBuf::from(&entry.path), source };
                let missing = || ExtractError::Missing { path: shown(&entry.path), hash: *sha256 };
                let mut content = open(sha256).map_err(failed)?.ok_or_else(missing)?;
                let written = sink.file(&entry.path, *executable, &mut content)?;
                if written != (*size, *sha256) {
                    return Err(ExtractError::Mismatch { path: shown(&entry.path) });
                }
            }
        }
    }
    sink.keep();
    Ok(())
}

/// A folder with one file a content, named by its hash.
#[derive(Debug, Clone)]
pub struct BlobDir(pub PathBuf);

impl BlobDir {
    /// Opens a content; `None` if it isn't there.
    pub fn open(&self, hash: &ContentHash) -> io::Result<Option<File>> {
        match File::open(self.0.join(hash.to_string())) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}
