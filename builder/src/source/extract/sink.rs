//! The only place that writes a source to the disk.

use std::collections::HashMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use panda_domain::source_tree::{ContentHash, SourceProblem, check_link, check_path};
use sha2::{Digest, Sha256};

use super::{ExtractError, ExtractLimits, shown};
use crate::source::content_time;

/// What lies at a path that was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Placed {
    Directory,
    Other,
}

/// Writes entries below one fresh directory; removes it when dropped before [`Sink::keep`].
pub(crate) struct Sink {
    root: PathBuf,
    limits: ExtractLimits,
    placed: HashMap<String, Placed>,
    entries: usize,
    bytes: u64,
    kept: bool,
}

impl Sink {
    /// Creates the directory; one that exists already is refused and left alone.
    pub(crate) fn create(root: &Path, limits: ExtractLimits) -> Result<Self, ExtractError> {
        let failed = |source| ExtractError::Write { path: root.to_owned(), source };
        fs::DirBuilder::new().mode(0o755).create(root).map_err(failed)?;
        Ok(Self { root: root.to_owned(), limits, placed: HashMap::new(), entries: 0, bytes: 0, kept: false })
    }

    /// Makes a directory; one that is there as a directory stays.
    pub(crate) fn directory(&mut self, path: &str) -> Result<(), ExtractError> {
        check_path(path).map_err(|problem| ExtractError::entry(path, problem))?;
        self.count(path)?;
        self.parents(path)?;
        self.make_directory(path)
    }

    /// Makes a link whose target stays inside.
    pub(crate) fn symlink(&mut self, path: &str, target: &str) -> Result<(), ExtractError> {
        check_link(path, target).map_err(|problem| ExtractError::entry(path, problem))?;
        let place = self.claim(path)?;
        std::os::unix::fs::symlink(target, &place)
            .map_err(|source| ExtractError::Write { path: place, source })
    }

    /// Writes a file; returns its length and hash.
    pub(crate) fn file(
        &mut self,
        path: &str,
        executable: bool,
        content: &mut impl Read,
    ) -> Result<(u64, ContentHash), ExtractError> {
        let place = self.claim(path)?;
        let failed = |source: io::Error| ExtractError::Write { path: place.clone(), source };
        // The mode is ours: set-uid bits and the like don't exist here.
        let mode = if executable { 0o755 } else { 0o644 };
        let mut file =
            OpenOptions::new().write(true).create_new(true).mode(mode).open(&place).map_err(failed)?;
        let (mut hasher, mut size, mut buffer) = (Sha256::new(), 0u64, vec![0; 64 * 1024]);
        loop {
            let length = content.read(&mut buffer).map_err(ExtractError::Archive)?;
            if length == 0 {
                break;
            }
            size += length as u64;
            self.bytes += length as u64;
            if self.bytes > self.limits.bytes {
                return Err(ExtractError::TooLarge { limit: self.limits.bytes, path: shown(path) });
            }
            hasher.update(&buffer[..length]);
            file.write_all(&buffer[..length]).map_err(failed)?;
        }
        let hash = ContentHash::from_bytes(hasher.finalize().into());
        file.set_modified(content_time(&hash)).map_err(failed)?;
        Ok((size, hash))
    }

    /// Declares the tree complete.
    pub(crate) fn keep(mut self) {
        self.kept = true;
    }

    /// Checks a path that has to be new, makes its parents and returns its place.
    fn claim(&mut self, path: &str) -> Result<PathBuf, ExtractError> {
        check_path(path).map_err(|problem| ExtractError::entry(path, problem))?;
        self.count(path)?;
        self.parents(path)?;
        match self.placed.insert(path.to_owned(), Placed::Other) {
            None => Ok(self.root.join(path)),
            Some(_) => Err(ExtractError::entry(path, SourceProblem::Duplicate)),
        }
    }

    fn count(&mut self, path: &str) -> Result<(), ExtractError> {
        self.entries += 1;
        if self.entries > self.limits.entries {
            return Err(ExtractError::TooMany { limit: self.limits.entries, path: shown(path) });
        }
        Ok(())
    }

    /// Makes every directory above `path`; a parent that is a file or a link is refused.
    fn parents(&mut self, path: &str) -> Result<(), ExtractError> {
        for (end, _) in path.match_indices('/') {
            let parent = &path[..end];
            match self.placed.get(parent) {
                Some(Placed::Directory) => {}
                Some(Placed::Other) => {
                    return Err(ExtractError::entry(path, SourceProblem::BelowNonDirectory));
                }
                None => self.make_directory(parent)?,
            }
        }
        Ok(())
    }

    fn make_directory(&mut self, path: &str) -> Result<(), ExtractError> {
        match self.placed.insert(path.to_owned(), Placed::Directory) {
            Some(Placed::Directory) => Ok(()),
            Some(Placed::Other) => Err(ExtractError::entry(path, SourceProblem::Duplicate)),
            None => {
                let place = self.root.join(path);
                let made = fs::DirBuilder::new().mode(0o755).create(&place);
                made.map_err(|source| ExtractError::Write { path: place, source })
            }
        }
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        if !self.kept {
            // What can't be removed is a disk's trouble that the error already tells.
            let _ = fs::remove_dir_all(&self.root);
        }
    }
}
