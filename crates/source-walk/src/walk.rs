//! The walk itself: what is in a directory, by name, mode, length and hash.

use std::fs::{self, DirEntry};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use panda_domain::source_tree::{ContentHash, InvalidSource, SourceEntry, SourceKind, SourceManifest};
use sha2::{Digest, Sha256};

use crate::git_ignore::GitIgnores;
use crate::{DockerIgnore, InvalidPattern};

/// What a plan is made from; sent even where `.dockerignore` names it, as Docker does.
const ALWAYS_KEPT: [&str; 4] = ["Dockerfile", ".dockerignore", "panda.toml", "Procfile"];

/// How much a source may hold.
#[derive(Debug, Clone)]
pub struct WalkOptions {
    /// Most files, links and empty directories.
    pub max_entries: usize,
    /// Most bytes in all files together.
    pub max_bytes: u64,
    /// Files kept whatever `.dockerignore` says, such as a Dockerfile of another name.
    pub keep: Vec<String>,
}

impl Default for WalkOptions {
    fn default() -> Self {
        Self { max_entries: 100_000, max_bytes: 2 << 30, keep: Vec::new() }
    }
}

/// A directory as it was read.
#[derive(Debug)]
pub struct Walked {
    /// Its contents.
    pub manifest: SourceManifest,
    /// Paths that are neither file nor directory nor link (sockets, devices) and were left out.
    pub skipped: Vec<String>,
}

/// Why a directory can't be a source.
#[derive(Debug, thiserror::Error)]
pub enum WalkError {
    /// The disk didn't give it.
    #[error("read `{path}`")]
    Read {
        /// What we tried to read.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// A name isn't text.
    #[error("`{path}` has a name that is not UTF-8; rename it or add it to .pandaignore")]
    NotUtf8 {
        /// The name, with replacement characters.
        path: String,
    },
    /// An entry is none that a source may have.
    #[error("{entry}; {hint}", entry = .0, hint = .0.problem.hint())]
    Entry(#[from] InvalidSource),
    /// Too many entries.
    #[error("`{path}` has more than {limit} files; add what isn't needed to .dockerignore or .pandaignore")]
    TooMany {
        /// The root.
        path: PathBuf,
        /// The limit.
        limit: usize,
    },
    /// Too many bytes.
    #[error(
        "`{path}` has more than {limit} bytes, `{largest}` the most of them; add what isn't needed to .dockerignore or .pandaignore"
    )]
    TooLarge {
        /// The root.
        path: PathBuf,
        /// The limit.
        limit: u64,
        /// The largest file so far.
        largest: String,
    },
    /// `.dockerignore` has a line that is no pattern.
    #[error("read `.dockerignore`")]
    DockerIgnore(#[from] InvalidPattern),
    /// `.gitignore` or `.pandaignore` has a line that is no pattern.
    #[error("read the ignore files")]
    GitIgnore(#[from] ignore::Error),
}

/// Reads a directory: `.dockerignore` rules if there is one, else `.gitignore`; `.pandaignore` always;
/// `.git` and `.panda`, the CLI's link to its app, never go along.
pub fn walk(root: &Path, options: &WalkOptions) -> Result<Walked, WalkError> {
    let docker = match fs::read_to_string(root.join(".dockerignore")) {
        Ok(text) => Some(DockerIgnore::parse(&text)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(source) => return Err(WalkError::Read { path: root.join(".dockerignore"), source }),
    };
    let git = GitIgnores::new(root, docker.is_none())?;
    let mut walker = Walker {
        root,
        options,
        docker,
        entries: Vec::new(),
        skipped: Vec::new(),
        bytes: 0,
        largest: (0, String::new()),
    };
    walker.directory(root, "", git)?;
    Ok(Walked { manifest: SourceManifest::new(walker.entries)?, skipped: walker.skipped })
}

struct Walker<'a> {
    root: &'a Path,
    options: &'a WalkOptions,
    docker: Option<DockerIgnore>,
    entries: Vec<SourceEntry>,
    skipped: Vec<String>,
    bytes: u64,
    largest: (u64, String),
}

impl Walker<'_> {
    /// Returns how many entries there are below, empty directories included.
    fn directory(&mut self, path: &Path, prefix: &str, mut git: GitIgnores) -> Result<usize, WalkError> {
        git.enter(path)?;
        let failed = |source| WalkError::Read { path: path.to_owned(), source };
        let mut children =
            fs::read_dir(path).and_then(Iterator::collect::<io::Result<Vec<DirEntry>>>).map_err(failed)?;
        children.sort_by_key(DirEntry::file_name);
        let before = self.entries.len();
        for child in children {
            let Ok(name) = child.file_name().into_string() else {
                return Err(WalkError::NotUtf8 { path: child.path().to_string_lossy().into_owned() });
            };
            if name != ".git" && name != ".panda" {
                self.child(&child.path(), &format!("{prefix}{name}"), &git)?;
            }
        }
        Ok(self.entries.len() - before)
    }

    fn child(&mut self, path: &Path, relative: &str, git: &GitIgnores) -> Result<(), WalkError> {
        let failed = |source| WalkError::Read { path: path.to_owned(), source };
        let metadata = path.symlink_metadata().map_err(failed)?;
        let is_directory = metadata.is_dir();
        if git.matches(path, is_directory) {
            return Ok(());
        }
        let hidden = self.hidden_by_docker(relative);
        if is_directory {
            let readmit = self.docker.as_ref().is_some_and(DockerIgnore::may_readmit);
            let keeps = self.options.keep.iter().any(|kept| kept.starts_with(&format!("{relative}/")));
            if hidden && !readmit && !keeps {
                return Ok(());
            }
            let below = self.directory(path, &format!("{relative}/"), git.clone())?;
            return if below == 0 && !hidden { self.push(relative, SourceKind::Directory) } else { Ok(()) };
        }
        if hidden {
            return Ok(());
        }
        if metadata.is_symlink() {
            let target = fs::read_link(path).map_err(failed)?;
            let target = target.into_os_string().into_string();
            let target = target.map_err(|_| WalkError::NotUtf8 { path: relative.to_owned() })?;
            return self.push(relative, SourceKind::Symlink { target });
        }
        if !metadata.is_file() {
            self.skipped.push(relative.to_owned());
            return Ok(());
        }
        self.account(relative, metadata.len())?;
        let (size, sha256) = hash(path).map_err(failed)?;
        self.push(
            relative,
            SourceKind::File { executable: metadata.permissions().mode() & 0o100 != 0, size, sha256 },
        )
    }

    fn hidden_by_docker(&self, relative: &str) -> bool {
        let kept = ALWAYS_KEPT.contains(&relative) || self.options.keep.iter().any(|kept| kept == relative);
        !kept && self.docker.as_ref().is_some_and(|docker| docker.matches(relative))
    }

    /// Counts a file before it is read, so that a disk image is refused at once.
    fn account(&mut self, relative: &str, size: u64) -> Result<(), WalkError> {
        if size >= self.largest.0 {
            self.largest = (size, relative.to_owned());
        }
        self.bytes = self.bytes.saturating_add(size);
        if self.bytes <= self.options.max_bytes {
            return Ok(());
        }
        let (path, limit) = (self.root.to_owned(), self.options.max_bytes);
        Err(WalkError::TooLarge { path, limit, largest: self.largest.1.clone() })
    }

    fn push(&mut self, path: &str, kind: SourceKind) -> Result<(), WalkError> {
        if self.entries.len() >= self.options.max_entries {
            return Err(WalkError::TooMany { path: self.root.to_owned(), limit: self.options.max_entries });
        }
        self.entries.push(SourceEntry { path: path.to_owned(), kind });
        Ok(())
    }
}

fn hash(path: &Path) -> io::Result<(u64, ContentHash)> {
    let mut file = fs::File::open(path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 64 * 1024];
    let mut size = 0;
    loop {
        let length = file.read(&mut buffer)?;
        if length == 0 {
            return Ok((size, ContentHash::from_bytes(hasher.finalize().into())));
        }
        hasher.update(&buffer[..length]);
        size += length as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = directory.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        directory
    }

    fn paths(root: &Path) -> Vec<String> {
        let walked = walk(root, &WalkOptions::default()).unwrap();
        walked.manifest.entries().iter().map(|entry| entry.path.clone()).collect()
    }

    #[test]
    fn without_a_dockerignore_gitignore_files_of_every_level_count() {
        let root = tree(&[
            (".gitignore", "*.log\n/dist\n"),
            (".git/HEAD", "x"),
            (".panda/link.toml", "x"),
            ("a.log", ""),
            ("dist/x", ""),
            ("sub/.gitignore", "!keep.log\nlocal\n"),
            ("sub/keep.log", ""),
            ("sub/local", ""),
            ("node_modules/x/index.js", ""),
            ("src/dist/y", ""),
        ]);
        assert_eq!(paths(root.path()), [".gitignore", "src/dist/y", "sub/.gitignore", "sub/keep.log"]);
    }

    #[test]
    fn a_dockerignore_replaces_gitignore_but_not_pandaignore() {
        let root = tree(&[
            (".dockerignore", "Dockerfile\n*.md\n!README.md\n"),
            (".gitignore", "kept-by-docker\n"),
            (".pandaignore", "big.bin\n"),
            ("Dockerfile", ""),
            ("README.md", ""),
            ("big.bin", ""),
            ("kept-by-docker", ""),
            ("notes.md", ""),
        ]);
        let expected =
            [".dockerignore", ".gitignore", ".pandaignore", "Dockerfile", "README.md", "kept-by-docker"];
        assert_eq!(paths(root.path()), expected);
    }

    #[test]
    fn a_directory_inside_a_repository_obeys_the_ignore_files_above_it() {
        let root = tree(&[(".git/HEAD", ""), (".gitignore", "*.tmp\n"), ("app/a.tmp", ""), ("app/b", "")]);
        assert_eq!(paths(&root.path().join("app")), ["b"]);
    }

    #[test]
    fn modes_links_and_empty_directories_are_kept_and_links_out_are_refused() {
        let root = tree(&[("run.sh", "#!/bin/sh\n")]);
        fs::set_permissions(root.path().join("run.sh"), fs::Permissions::from_mode(0o775)).unwrap();
        fs::create_dir(root.path().join("empty")).unwrap();
        std::os::unix::fs::symlink("run.sh", root.path().join("link")).unwrap();
        let walked = walk(root.path(), &WalkOptions::default()).unwrap();
        assert!(matches!(walked.manifest.entries()[0].kind, SourceKind::Directory));
        assert!(matches!(walked.manifest.entries()[1].kind, SourceKind::Symlink { .. }));
        assert!(matches!(walked.manifest.entries()[2].kind, SourceKind::File { executable: true, .. }));
        std::os::unix::fs::symlink("/etc/passwd", root.path().join("out")).unwrap();
        let error = walk(root.path(), &WalkOptions::default()).unwrap_err().to_string();
        assert!(error.contains("`out`") && error.contains(".dockerignore"), "{error}");
    }

    #[test]
    fn too_much_is_refused_with_the_largest_file_named() {
        let root = tree(&[("a", "1"), ("big", "12345678"), ("c", "1")]);
        let few = WalkOptions { max_entries: 2, ..WalkOptions::default() };
        assert!(matches!(walk(root.path(), &few), Err(WalkError::TooMany { limit: 2, .. })));
        let small = WalkOptions { max_bytes: 5, ..WalkOptions::default() };
        assert!(
            matches!(walk(root.path(), &small), Err(WalkError::TooLarge { largest, .. }) if largest == "big")
        );
    }
}
