//! The commit that a directory is at, read from git's own files: no process is started.

use std::fs;
use std::path::{Path, PathBuf};

/// Returns the commit that is checked out in the repository round `directory`, if there is one.
pub(crate) fn head(directory: &Path) -> Option<String> {
    let git = directory.ancestors().map(|above| above.join(".git")).find(|git| git.exists())?;
    let git = if git.is_file() { pointed(&git)? } else { git };
    let head = fs::read_to_string(git.join("HEAD")).ok()?;
    let head = head.trim();
    let Some(reference) = head.strip_prefix("ref: ") else { return commit(head) };
    // A linked worktree keeps its branches in the main repository.
    let common = fs::read_to_string(git.join("commondir")).ok().map(|path| git.join(path.trim()));
    [Some(git), common].into_iter().flatten().find_map(|folder| resolve(&folder, reference))
}

fn resolve(git: &Path, reference: &str) -> Option<String> {
    if let Ok(text) = fs::read_to_string(git.join(reference)) {
        return commit(text.trim());
    }
    let packed = fs::read_to_string(git.join("packed-refs")).ok()?;
    let line = packed.lines().find(|line| line.split(' ').nth(1) == Some(reference))?;
    commit(line.split(' ').next()?)
}

fn pointed(file: &Path) -> Option<PathBuf> {
    let text = fs::read_to_string(file).ok()?;
    let path = text.strip_prefix("gitdir: ")?.trim();
    Some(file.parent()?.join(path))
}

fn commit(text: &str) -> Option<String> {
    let hex = matches!(text.len(), 40 | 64) && text.bytes().all(|b| b.is_ascii_hexdigit());
    hex.then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commit_is_found_loose_packed_and_detached() {
        let root = tempfile::tempdir().unwrap();
        let git = root.path().join(".git");
        fs::create_dir_all(git.join("refs/heads")).unwrap();
        let (a, b) = ("a".repeat(40), "b".repeat(40));
        fs::write(git.join("HEAD"), "ref: refs/heads/main\n").unwrap();
        assert_eq!(head(root.path()), None);
        fs::write(git.join("packed-refs"), format!("# pack-refs\n{b} refs/heads/main\n")).unwrap();
        assert_eq!(head(root.path()), Some(b));
        fs::write(git.join("refs/heads/main"), format!("{a}\n")).unwrap();
        fs::create_dir(root.path().join("sub")).unwrap();
        assert_eq!(head(&root.path().join("sub")), Some(a.clone()));
        fs::write(git.join("HEAD"), format!("{a}\n")).unwrap();
        assert_eq!(head(root.path()), Some(a));
    }
}
