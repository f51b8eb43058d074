//! Sources on disk: reading them without leaving them, and materialising them safely.

pub mod archive;
pub mod extract;
mod view;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use panda_domain::source_tree::{ContentHash, SourceManifest};

pub use view::SourceView;

/// Returns the modification time that a file with this content gets.
///
/// BuildKit tells changed files by size and time. A fixed time would hide a change that keeps the size, the
/// time of extraction would send everything; so the content decides, between September 2001 and 2018.
pub fn content_time(hash: &ContentHash) -> SystemTime {
    let bytes = hash.as_bytes();
    let seconds = u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) >> 3;
    let nanos = u32::from_be_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]) % 1_000_000_000;
    SystemTime::UNIX_EPOCH + Duration::new(1_000_000_000 + u64::from(seconds), nanos)
}

/// Writes an announced directory into `target`, which must not exist; `locate` says where each content lies. Contents are
/// checked while they are written; nothing is left behind when one is wrong.
pub fn materialise(
    manifest: &SourceManifest,
    target: &Path,
    locate: impl Fn(&ContentHash) -> Option<PathBuf>,
) -> Result<(), extract::ExtractError> {
    extract::extract_manifest(manifest, target, extract::ExtractLimits::default(), |hash| {
        let Some(path) = locate(hash) else { return Ok(None) };
        match File::open(path) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    })
}
