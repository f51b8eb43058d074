//! `.gitignore` and `.pandaignore`: one matcher a directory, the deepest that has an opinion decides.

use std::path::{Path, PathBuf};

use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder};

/// Left out of every source that has no `.dockerignore`, unless an ignore file readmits them.
const DEFAULTS: [&str; 4] = ["node_modules/", "__pycache__/", ".venv/", ".DS_Store"];

/// The ignore files on the way from the outermost directory to the present one.
#[derive(Clone)]
pub(crate) struct GitIgnores {
    names: Vec<&'static str>,
    stack: Vec<Gitignore>,
}

impl GitIgnores {
    /// Starts at `root`; with `git`, `.gitignore` files count, those above in the same repository too.
    pub(crate) fn new(root: &Path, git: bool) -> Result<Self, ignore::Error> {
        let mut this = Self {
            names: if git { vec![".gitignore", ".pandaignore"] } else { vec![".pandaignore"] },
            stack: vec![],
        };
        if git {
            let mut defaults = GitignoreBuilder::new(root);
            for pattern in DEFAULTS {
                defaults.add_line(None, pattern)?;
            }
            this.stack.push(defaults.build()?);
            for directory in parents_in_repository(root) {
                this.enter(&directory)?;
            }
        }
        Ok(this)
    }

    /// Reads the ignore files of a directory below the present one.
    pub(crate) fn enter(&mut self, directory: &Path) -> Result<(), ignore::Error> {
        let mut builder = GitignoreBuilder::new(directory);
        let mut found = false;
        for name in &self.names {
            let file = directory.join(name);
            if file.is_file() {
                found = true;
                if let Some(error) = builder.add(&file) {
                    return Err(error);
                }
            }
        }
        if found {
            self.stack.push(builder.build()?);
        }
        Ok(())
    }

    /// Tells whether this path is ignored.
    pub(crate) fn matches(&self, path: &Path, is_directory: bool) -> bool {
        let verdicts = self.stack.iter().rev().map(|ignores| ignores.matched(path, is_directory));
        verdicts
            .into_iter()
            .find(|verdict| !verdict.is_none())
            .is_some_and(|verdict| matches!(verdict, Match::Ignore(_)))
    }
}

/// Returns the directories above `root`, outermost first, up to the repository's; none outside of one.
fn parents_in_repository(root: &Path) -> Vec<PathBuf> {
    if root.join(".git").exists() {
        return Vec::new();
    }
    let mut parents: Vec<PathBuf> = Vec::new();
    for directory in root.ancestors().skip(1) {
        parents.push(directory.to_owned());
        if directory.join(".git").exists() {
            parents.reverse();
            return parents;
        }
    }
    Vec::new()
}
