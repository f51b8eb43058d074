//! A read-only look into a source for the detectors: bounded, and never out of it.

use std::path::{Path, PathBuf};

/// Longest file that detection reads, in bytes.
const MAX_FILE_BYTES: u64 = 4 << 20;
/// Most names that a listing gives.
const MAX_NAMES: usize = 10_000;

/// A directory of source, seen from its root.
#[derive(Debug, Clone)]
pub struct SourceView {
    root: PathBuf,
}

impl SourceView {
    /// Looks into `directory`; `None` if it isn't one.
    pub fn open(directory: &Path) -> Option<Self> {
        let root = directory.canonicalize().ok().filter(|root| root.is_dir())?;
        Some(Self { root })
    }

    /// Looks into a directory inside; `None` if it isn't one or lies outside.
    pub fn inside(&self, path: &str) -> Option<Self> {
        let root = self.resolve(path).filter(|root| root.is_dir())?;
        Some(Self { root })
    }

    /// Returns the directory itself.
    pub fn path(&self) -> &Path {
        &self.root
    }

    /// Tells whether there is a regular file.
    pub fn has_file(&self, path: &str) -> bool {
        self.resolve(path).is_some_and(|path| path.is_file())
    }

    /// Tells whether there is a directory.
    pub fn has_directory(&self, path: &str) -> bool {
        self.resolve(path).is_some_and(|path| path.is_dir())
    }

    /// Reads a text file; `None` if there is none, or it is longer than 4 MiB or not UTF-8.
    pub fn read(&self, path: &str) -> Option<String> {
        let path = self.resolve(path)?;
        let metadata = path.metadata().ok()?;
        if !metadata.is_file() || metadata.len() > MAX_FILE_BYTES {
            return None;
        }
        let text = std::fs::read_to_string(path).ok()?;
        Some(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
    }

    /// Returns the names in a directory, sorted.
    pub fn list(&self, path: &str) -> Vec<String> {
        let entries = self.resolve(path).and_then(|path| std::fs::read_dir(path).ok());
        let names = entries.into_iter().flatten().filter_map(Result::ok);
        let mut names: Vec<String> =
            names.take(MAX_NAMES).filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort();
        names
    }

    /// Follows links only as long as they stay inside.
    fn resolve(&self, path: &str) -> Option<PathBuf> {
        let real = self.root.join(path.trim_start_matches('/')).canonicalize().ok()?;
        real.starts_with(&self.root).then_some(real)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_outside_is_seen_whatever_links_say() {
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("secret"), "x").unwrap();
        let inside = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(outside.path(), inside.path().join("out")).unwrap();
        std::fs::write(inside.path().join("package.json"), "\u{feff}{}").unwrap();
        let view = SourceView::open(inside.path()).unwrap();
        assert_eq!(view.read("package.json").as_deref(), Some("{}"));
        assert_eq!(view.read("out/secret"), None);
        assert_eq!(view.read("../../../../etc/passwd"), None);
        assert!(view.inside("out").is_none() && view.inside("..").is_none());
        assert!(view.list("out").is_empty());
    }
}
