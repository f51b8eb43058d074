//! What of a directory the daemon gets to see: everything it asked for, minus what is ignored.

use std::collections::HashSet;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use bollard_buildkit_proto::fsutil::types::Stat;
use panda_source_walk::DockerIgnore;
use tonic::Status;
use tonic::metadata::MetadataMap;

/// Bits of Go's `os.FileMode`, which the protocol carries instead of `st_mode`.
const GO_MODE_DIR: u32 = 1 << 31;
const GO_MODE_SYMLINK: u32 = 1 << 27;

/// One entry of the listing; its place is the number that the daemon asks by.
pub(super) struct Listed {
    pub(super) stat: Stat,
    pub(super) path: PathBuf,
}

/// What the daemon asks for in one transfer.
pub(super) struct Selection {
    pub(super) directory: String,
    /// Paths and globs it needs; empty means everything.
    wanted: Vec<String>,
    excluded: DockerIgnore,
}

impl Selection {
    pub(super) fn from_metadata(metadata: &MetadataMap) -> Result<Self, Status> {
        let excluded = DockerIgnore::from_patterns(values(metadata, "exclude-patterns"))
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        let mut wanted = values(metadata, "followpaths");
        wanted.extend(values(metadata, "include-patterns"));
        let directory = values(metadata, "dir-name").into_iter().next().unwrap_or_default();
        Ok(Self { directory, wanted, excluded })
    }
}

/// Reads a header that the daemon query-escapes as a whole when one value isn't ASCII.
fn values(metadata: &MetadataMap, name: &str) -> Vec<String> {
    let escaped = metadata.contains_key(format!("{name}-encoded"));
    let raw = metadata.get_all(name).iter().filter_map(|value| value.to_str().ok());
    raw.map(|value| if escaped { unescape(value) } else { value.to_owned() }).collect()
}

fn unescape(value: &str) -> String {
    let bytes = value.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = value.get(at + 1..at + 3).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match (bytes[at], hex) {
            (b'%', Some(byte)) => {
                out.push(byte);
                at += 2;
            }
            (b'+', _) => out.push(b' '),
            (byte, _) => out.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Lists a directory depth first, names in the order of their bytes, as the daemon insists.
pub(super) fn list(root: &Path, selection: &Selection) -> Result<Vec<Listed>, Status> {
    let mut all = Vec::new();
    walk(root, "", &selection.excluded, &mut all)?;
    Ok(narrow(all, &selection.wanted))
}

fn walk(
    directory: &Path,
    prefix: &str,
    excluded: &DockerIgnore,
    out: &mut Vec<Listed>,
) -> Result<(), Status> {
    let failed = |error: std::io::Error| Status::internal(format!("read `{}`: {error}", directory.display()));
    let mut entries =
        std::fs::read_dir(directory).and_then(Iterator::collect::<Result<Vec<_>, _>>).map_err(failed)?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        let Ok(name) = entry.file_name().into_string() else {
            return Err(Status::invalid_argument(format!("`{}` is not UTF-8", path.display())));
        };
        let relative = format!("{prefix}{name}");
        let metadata = path.symlink_metadata().map_err(failed)?;
        let hidden = excluded.matches(&relative);
        if metadata.is_dir() {
            if hidden && !excluded.may_readmit() {
                continue;
            }
            let place = out.len();
            out.push(Listed { stat: directory_stat(&relative, &metadata), path: path.clone() });
            walk(&path, &format!("{relative}/"), excluded, out)?;
            // An ignored directory is only there for the sake of something below it.
            if hidden && out.len() == place + 1 {
                out.pop();
            }
        } else if !hidden && let Some(stat) = leaf_stat(&relative, &path, &metadata).map_err(failed)? {
            out.push(Listed { stat, path });
        }
    }
    Ok(())
}

fn directory_stat(relative: &str, metadata: &Metadata) -> Stat {
    let mode = (metadata.mode() & 0o777) | GO_MODE_DIR;
    Stat { path: relative.to_owned(), mode, mod_time: 0, ..Default::default() }
}

/// Describes a file or link; `None` for what no source has (sockets, devices).
fn leaf_stat(relative: &str, path: &Path, metadata: &Metadata) -> std::io::Result<Option<Stat>> {
    let mut stat = Stat { path: relative.to_owned(), ..Default::default() };
    if metadata.is_symlink() {
        stat.mode = 0o777 | GO_MODE_SYMLINK;
        stat.linkname = std::fs::read_link(path)?.to_string_lossy().into_owned();
    } else if metadata.is_file() {
        stat.mode = metadata.mode() & 0o777;
        stat.size = metadata.len().cast_signed();
        // The daemon tells changed files by size and time: see `source::content_time`.
        stat.mod_time = metadata.mtime() * 1_000_000_000 + metadata.mtime_nsec();
    } else {
        return Ok(None);
    }
    Ok(Some(stat))
}

/// Leaves out what wasn't asked for. Sending more than asked is always right, so a selection with a link
/// in it (whose target would be needed too) sends everything.
fn narrow(all: Vec<Listed>, wanted: &[String]) -> Vec<Listed> {
    if wanted.is_empty() {
        return all;
    }
    let Ok(matcher) =
        DockerIgnore::from_patterns(wanted.iter().map(|path| path.trim_matches('/').to_owned()))
    else {
        return all;
    };
    let picked: Vec<bool> = all.iter().map(|entry| matcher.matches(&entry.stat.path)).collect();
    let links = all.iter().filter(|entry| entry.stat.mode & GO_MODE_SYMLINK != 0);
    for link in links {
        let below = format!("{}/", link.stat.path);
        if matcher.matches(&link.stat.path) || wanted.iter().any(|path| path.starts_with(&below)) {
            return all;
        }
    }
    let mut parents = HashSet::new();
    for (entry, _) in all.iter().zip(&picked).filter(|(_, picked)| **picked) {
        parents.extend(entry.stat.path.match_indices('/').map(|(end, _)| entry.stat.path[..end].to_owned()));
    }
    let keep = all.into_iter().zip(picked);
    keep.filter(|(entry, picked)| *picked || parents.contains(&entry.stat.path))
        .map(|(entry, _)| entry)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(paths: &[&str]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for path in paths {
            let path = directory.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "x").unwrap();
        }
        directory
    }

    fn names(root: &Path, wanted: &[&str], excluded: &[&str]) -> Vec<String> {
        let selection = Selection {
            directory: String::new(),
            wanted: wanted.iter().map(ToString::to_string).collect(),
            excluded: DockerIgnore::from_patterns(excluded.iter().map(ToString::to_string)).unwrap(),
        };
        list(root, &selection).unwrap().into_iter().map(|entry| entry.stat.path).collect()
    }

    #[test]
    fn names_come_in_the_order_of_their_bytes_parents_first() {
        let root = tree(&["b/z", "b.txt", "a", "b/a/x"]);
        assert_eq!(names(root.path(), &[], &[]), ["a", "b", "b/a", "b/a/x", "b/z", "b.txt"]);
    }

    #[test]
    fn ignored_files_stay_here_unless_a_later_line_readmits_them() {
        let root = tree(&["secret", "logs/a", "logs/keep", "src/main"]);
        assert_eq!(names(root.path(), &[], &["secret", "logs"]), ["src", "src/main"]);
        assert_eq!(
            names(root.path(), &[], &["secret", "logs", "!logs/keep"]),
            ["logs", "logs/keep", "src", "src/main"]
        );
    }

    #[test]
    fn only_what_the_daemon_asks_for_is_listed_unless_links_are_involved() {
        let root = tree(&["Dockerfile", "package.json", "src/a/b", "other"]);
        assert_eq!(names(root.path(), &["Dockerfile"], &[]), ["Dockerfile"]);
        assert_eq!(
            names(root.path(), &["src/a", "pack*.json"], &[]),
            ["package.json", "src", "src/a", "src/a/b"]
        );
        std::os::unix::fs::symlink("../other", root.path().join("src/link")).unwrap();
        assert_eq!(names(root.path(), &["src"], &[]).len(), 7);
    }

    #[test]
    fn escaped_headers_are_read_as_they_were_meant() {
        assert_eq!(unescape("a%20b+%C3%BC"), "a b ü");
        assert_eq!(unescape("100%"), "100%");
    }
}
