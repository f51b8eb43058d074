//! Directories to deploy: a copy of a sample app, or a few files.

use std::fs;
use std::path::Path;

use anyhow::Context as _;
use panda_domain::source_tree::ContentHash;
use panda_source_walk::{WalkOptions, walk};
use tempfile::TempDir;

use crate::ground::repository;

/// A file's hash and its bytes.
pub type Content = (ContentHash, Vec<u8>);

/// A directory of its own that goes away with the handle.
#[derive(Debug)]
pub struct Source {
    folder: TempDir,
}

impl Source {
    /// Copies `tests/apps/NAME`.
    pub fn sample(name: &str) -> anyhow::Result<Self> {
        let source = Self { folder: TempDir::new()? };
        copy(&repository().join("tests/apps").join(name), source.path())
            .with_context(|| format!("copying `{name}`"))?;
        Ok(source)
    }

    /// Writes these files.
    pub fn of(files: &[(&str, &str)]) -> anyhow::Result<Self> {
        let source = Self { folder: TempDir::new()? };
        for (path, content) in files {
            source.write(path, content)?;
        }
        Ok(source)
    }

    /// Returns the directory.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a file.
    pub fn write(&self, path: &str, content: &str) -> anyhow::Result<()> {
        let path = self.path().join(path);
        fs::create_dir_all(path.parent().context("a file lies in a folder")?)?;
        Ok(fs::write(path, content)?)
    }

    /// Replaces a text in a file; it has to be there.
    pub fn change(&self, path: &str, from: &str, to: &str) -> anyhow::Result<()> {
        let text = fs::read_to_string(self.path().join(path))?;
        anyhow::ensure!(text.contains(from), "`{from}` isn't in `{path}`");
        self.write(path, &text.replace(from, to))
    }

    /// Returns the listing as the API takes it, and the contents by hash.
    pub fn listing(&self) -> anyhow::Result<(String, Vec<Content>)> {
        let walked = walk(self.path(), &WalkOptions::default())?;
        let mut contents = Vec::new();
        for (path, _, hash) in walked.manifest.files() {
            contents.push((hash, fs::read(self.path().join(path))?));
        }
        Ok((serde_json::to_string(&walked.manifest)?, contents))
    }
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// Writes contents as `POST /uploads/blobs` takes them.
pub fn frames(contents: &[Content]) -> anyhow::Result<Vec<u8>> {
    let mut plain = Vec::new();
    for (hash, bytes) in contents {
        plain.extend_from_slice(hash.as_bytes());
        plain.extend_from_slice(&(bytes.len() as u64).to_be_bytes());
        plain.extend_from_slice(bytes);
    }
    Ok(zstd::encode_all(plain.as_slice(), 3)?)
}
