//! A directory of source as a list of its contents, addressed by what is in it.
//!
//! Client and server compare these lists, so that only missing contents travel. A list that came from
//! outside is checked here before anything touches a disk: every path stays inside, no path is reached
//! through a link, no link leads out.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Longest path in bytes.
pub const MAX_PATH_BYTES: usize = 1024;
/// Longest file name in bytes.
pub const MAX_NAME_BYTES: usize = 255;
/// Deepest nesting of directories.
pub const MAX_DEPTH: usize = 64;

/// A list that no honest client sends: which entry, what is wrong, what helps.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("source entry `{path}` {problem}")]
pub struct InvalidSource {
    /// The entry's path, cut to 120 characters, control characters shown as escapes.
    pub path: String,
    /// Why it was refused, continuing the sentence.
    pub problem: SourceProblem,
}

/// What may be wrong with an entry of a source tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SourceProblem {
    /// The path has no letters.
    #[error("has an empty path")]
    Empty,
    /// The path starts at the root of the machine.
    #[error("has an absolute path")]
    Absolute,
    /// A part of the path is `..`, `.` or empty.
    #[error("has `..`, `.` or an empty part in its path")]
    NotPlain,
    /// The path has a NUL or another control character, or isn't UTF-8.
    #[error("has control characters in its path, or is not UTF-8")]
    Control,
    /// The path or one of its names is longer than allowed.
    #[error("has a path or name that is too long")]
    TooLong,
    /// The path has more parts than allowed.
    #[error("is nested too deeply")]
    TooDeep,
    /// Two entries have this path.
    #[error("is listed twice")]
    Duplicate,
    /// A parent of this path is a file or a link.
    #[error("lies below something that is no directory")]
    BelowNonDirectory,
    /// The link's target is outside of the tree.
    #[error("is a link that leads out of the source")]
    LinkOut,
}

impl SourceProblem {
    /// Says what to do about it, as a sentence for the person who uploads.
    pub fn hint(self) -> &'static str {
        match self {
            Self::LinkOut => {
                "add the link to .dockerignore or .pandaignore, or replace it by what it points to"
            }
            Self::TooLong | Self::TooDeep | Self::Control => {
                "rename it, or add its directory to .dockerignore or .pandaignore"
            }
            Self::Duplicate | Self::BelowNonDirectory | Self::NotPlain | Self::Absolute | Self::Empty => {
                "upload again with a current `panda`; if it stays, report how this list was made"
            }
        }
    }
}

/// The SHA-256 of some content, printed as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ContentHash([u8; 32]);

/// A text that is no SHA-256 in hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no SHA-256 (expected 64 digits from 0 to f)")]
pub struct InvalidHash(String);

impl ContentHash {
    /// Returns the hash of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// Wraps a digest that was computed while reading a stream.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Returns the 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for ContentHash {
    type Err = InvalidHash;
    fn from_str(value: &str) -> Result<Self, InvalidHash> {
        let bad = || InvalidHash(value.chars().take(80).flat_map(char::escape_debug).collect());
        let text = value.as_bytes();
        if text.len() != 64 || !text.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(bad());
        }
        let mut bytes = [0; 32];
        for (slot, pair) in bytes.iter_mut().zip(value.as_bytes().chunks(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| bad())?;
            *slot = u8::from_str_radix(pair, 16).map_err(|_| bad())?;
        }
        Ok(Self(bytes))
    }
}

impl TryFrom<String> for ContentHash {
    type Error = InvalidHash;
    fn try_from(value: String) -> Result<Self, InvalidHash> {
        value.parse()
    }
}

impl From<ContentHash> for String {
    fn from(hash: ContentHash) -> String {
        hash.to_string()
    }
}

/// One file, link or empty directory of a source tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceEntry {
    /// Path from the root of the source, parts joined by `/`.
    pub path: String,
    /// What is at this path.
    #[serde(flatten)]
    pub kind: SourceKind,
}

/// What a [`SourceEntry`] is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum SourceKind {
    /// A regular file.
    File {
        /// Whether it may be executed (mode 0755; otherwise 0644).
        executable: bool,
        /// Length in bytes.
        size: u64,
        /// What is in it.
        sha256: ContentHash,
    },
    /// A symbolic link, relative, that stays inside the tree.
    Symlink {
        /// Where it points, relative to the link's directory.
        target: String,
    },
    /// A directory with nothing in it (others follow from their contents).
    Directory,
}

/// A checked source tree: sorted, without duplicates, every path and link inside.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "Vec<SourceEntry>", into = "Vec<SourceEntry>")]
pub struct SourceManifest(Vec<SourceEntry>);

impl SourceManifest {
    /// Checks the entries and puts them in order.
    pub fn new(mut entries: Vec<SourceEntry>) -> Result<Self, InvalidSource> {
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        let mut kinds = BTreeMap::new();
        for entry in &entries {
            check_path(&entry.path).map_err(|problem| invalid(&entry.path, problem))?;
            if kinds.insert(entry.path.as_str(), &entry.kind).is_some() {
                return Err(invalid(&entry.path, SourceProblem::Duplicate));
            }
        }
        for entry in &entries {
            for (end, _) in entry.path.match_indices('/') {
                if kinds.get(&entry.path[..end]).is_some_and(|kind| !matches!(kind, SourceKind::Directory)) {
                    return Err(invalid(&entry.path, SourceProblem::BelowNonDirectory));
                }
            }
            if let SourceKind::Symlink { target } = &entry.kind {
                check_link(&entry.path, target).map_err(|problem| invalid(&entry.path, problem))?;
            }
        }
        Ok(Self(entries))
    }

    /// Returns the entries in the order of their paths.
    pub fn entries(&self) -> &[SourceEntry] {
        &self.0
    }

    /// Returns the sum of the files' lengths in bytes.
    pub fn total_bytes(&self) -> u64 {
        self.files().fold(0, |sum, (_, size, _)| sum.saturating_add(size))
    }

    /// Returns path, length and content hash of every file.
    pub fn files(&self) -> impl Iterator<Item = (&str, u64, ContentHash)> {
        self.0.iter().filter_map(|entry| match &entry.kind {
            SourceKind::File { size, sha256, .. } => Some((entry.path.as_str(), *size, *sha256)),
            _ => None,
        })
    }

    /// Returns the hash of the whole tree; equal trees have equal hashes on every machine.
    pub fn tree_hash(&self) -> TreeHash {
        let mut hasher = Sha256::new();
        hasher.update(b"panda source tree 1\0");
        for entry in &self.0 {
            let line = match &entry.kind {
                SourceKind::File { executable, size, sha256 } => {
                    format!("f {} {size} {sha256} {}\0", if *executable { "755" } else { "644" }, entry.path)
                }
                SourceKind::Symlink { target } => format!("l {}\0{target}\0", entry.path),
                SourceKind::Directory => format!("d {}\0", entry.path),
            };
            hasher.update(line.as_bytes());
        }
        TreeHash(ContentHash(hasher.finalize().into()))
    }
}

impl TryFrom<Vec<SourceEntry>> for SourceManifest {
    type Error = InvalidSource;
    fn try_from(entries: Vec<SourceEntry>) -> Result<Self, InvalidSource> {
        Self::new(entries)
    }
}

impl From<SourceManifest> for Vec<SourceEntry> {
    fn from(manifest: SourceManifest) -> Self {
        manifest.0
    }
}

/// Names a whole source tree: `sha256:` and 64 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TreeHash(ContentHash);

impl fmt::Display for TreeHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.0)
    }
}

impl FromStr for TreeHash {
    type Err = InvalidHash;
    fn from_str(value: &str) -> Result<Self, InvalidHash> {
        value.strip_prefix("sha256:").unwrap_or("").parse().map(Self)
    }
}

impl TryFrom<String> for TreeHash {
    type Error = InvalidHash;
    fn try_from(value: String) -> Result<Self, InvalidHash> {
        value.parse()
    }
}

impl From<TreeHash> for String {
    fn from(hash: TreeHash) -> String {
        hash.to_string()
    }
}

/// Checks that a path is relative, plain and within the limits.
pub fn check_path(path: &str) -> Result<(), SourceProblem> {
    if path.is_empty() {
        return Err(SourceProblem::Empty);
    }
    if path.starts_with('/') {
        return Err(SourceProblem::Absolute);
    }
    if path.chars().any(char::is_control) {
        return Err(SourceProblem::Control);
    }
    if path.len() > MAX_PATH_BYTES || path.split('/').any(|part| part.len() > MAX_NAME_BYTES) {
        return Err(SourceProblem::TooLong);
    }
    if path.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err(SourceProblem::NotPlain);
    }
    if path.split('/').count() > MAX_DEPTH {
        return Err(SourceProblem::TooDeep);
    }
    Ok(())
}

/// Checks that the link at `path` stays inside the tree wherever its target passes through other links.
///
/// `..` may only lead the target: then it climbs from the link's own directory, which is a real one, and
/// every name after it starts from a real directory again.
pub fn check_link(path: &str, target: &str) -> Result<(), SourceProblem> {
    if target.is_empty() || target.starts_with('/') {
        return Err(SourceProblem::LinkOut);
    }
    if target.len() > MAX_PATH_BYTES || target.chars().any(char::is_control) {
        return Err(SourceProblem::TooLong);
    }
    let depth = path.matches('/').count();
    let mut climbed = 0;
    let mut named = false;
    for part in target.split('/').filter(|part| !matches!(*part, "" | ".")) {
        if part != ".." {
            named = true;
            continue;
        }
        climbed += 1;
        if named || climbed > depth {
            return Err(SourceProblem::LinkOut);
        }
    }
    Ok(())
}

fn invalid(path: &str, problem: SourceProblem) -> InvalidSource {
    InvalidSource { path: path.chars().take(120).flat_map(char::escape_debug).collect(), problem }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, content: &str) -> SourceEntry {
        let kind = SourceKind::File {
            executable: false,
            size: content.len() as u64,
            sha256: ContentHash::of(content.as_bytes()),
        };
        SourceEntry { path: path.to_owned(), kind }
    }

    fn link(path: &str, target: &str) -> SourceEntry {
        SourceEntry { path: path.to_owned(), kind: SourceKind::Symlink { target: target.to_owned() } }
    }

    fn problem(entries: Vec<SourceEntry>) -> Option<SourceProblem> {
        SourceManifest::new(entries).err().map(|e| e.problem)
    }

    #[test]
    fn the_tree_hash_ignores_order_and_sees_every_difference() {
        let hash = |entries| SourceManifest::new(entries).unwrap().tree_hash();
        let base = hash(vec![file("a", "1"), file("b/c", "2")]);
        assert_eq!(base, hash(vec![file("b/c", "2"), file("a", "1")]));
        let mut executable = file("a", "1");
        executable.kind = SourceKind::File { executable: true, size: 1, sha256: ContentHash::of(b"1") };
        for other in [
            vec![file("a", "2"), file("b/c", "2")],
            vec![file("a", "1"), file("b/d", "2")],
            vec![file("a", "1")],
            vec![executable, file("b/c", "2")],
            vec![link("a", "1"), file("b/c", "2")],
        ] {
            assert_ne!(base, hash(other));
        }
    }

    #[test]
    fn paths_that_leave_the_tree_are_refused() {
        for bad in ["", "/etc/passwd", "../x", "a/../../x", "a//b", "./a", "a/.", "a\0b", "a\nb"] {
            assert!(problem(vec![file(bad, "")]).is_some(), "{bad:?}");
        }
        assert_eq!(problem(vec![file(&"a".repeat(256), "")]), Some(SourceProblem::TooLong));
        assert_eq!(
            problem(vec![file(&["a/"; 70].concat().replace("//", "/"), "")]),
            Some(SourceProblem::NotPlain)
        );
        assert_eq!(problem(vec![file(&vec!["a"; 65].join("/"), "")]), Some(SourceProblem::TooDeep));
        assert_eq!(problem(vec![file("Ünïcode/файл.txt", "")]), None);
    }

    #[test]
    fn links_may_point_inside_only_and_nothing_lies_below_one() {
        assert_eq!(problem(vec![link("a/b", "../c")]), None);
        assert_eq!(problem(vec![link("a/b", "../../c")]), Some(SourceProblem::LinkOut));
        assert_eq!(problem(vec![link("a", "/etc")]), Some(SourceProblem::LinkOut));
        assert_eq!(problem(vec![link("d/b", ".."), link("a", "d/b/../x")]), Some(SourceProblem::LinkOut));
        assert_eq!(problem(vec![link("a", "b"), file("a/x", "")]), Some(SourceProblem::BelowNonDirectory));
        assert_eq!(problem(vec![file("a", ""), file("a/x", "")]), Some(SourceProblem::BelowNonDirectory));
        assert_eq!(problem(vec![file("a", "1"), file("a", "2")]), Some(SourceProblem::Duplicate));
    }

    #[test]
    fn a_list_from_outside_is_checked_while_it_is_read() {
        let good = r#"[{"path":"a","type":"file","executable":false,"size":0,"sha256":"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}]"#;
        let tree: SourceManifest = serde_json::from_str(good).unwrap();
        assert_eq!(serde_json::to_string(&tree).unwrap(), good);
        assert!(serde_json::from_str::<SourceManifest>(&good.replace(r#""a""#, r#""../a""#)).is_err());
        assert!(serde_json::from_str::<SourceManifest>(&good.replace("e3b0", "E3b0")).is_err());
    }
}
