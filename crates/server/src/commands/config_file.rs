//! The configuration file: checking, showing, and writing it at the first installation.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Subcommand;
use toml::{Table, Value};

use crate::config::{Config, check};
use crate::platform_containers::write_whole;

/// The exit code of a configuration that the server refuses.
const INVALID: u8 = 6;

/// What can be done with the configuration.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Name every mistake at once; exit 6 if the server would refuse to start
    Check,
    /// Show what is in force: defaults, file, environment and flags together
    Show,
}

/// Carries the command out.
pub(super) fn run(config: &Config, command: &ConfigCommand) -> ExitCode {
    match command {
        ConfigCommand::Show => {
            print!("{}", toml::to_string(&config.redacted()).expect("plain tables are TOML"));
            ExitCode::SUCCESS
        }
        ConfigCommand::Check => {
            let findings = check(config);
            for finding in &findings {
                let word = if finding.fatal { "error" } else { "warning" };
                println!("{word}: {}: {}\nfix:   {}", finding.setting, finding.problem, finding.fix);
            }
            if findings.iter().any(|finding| finding.fatal) {
                return INVALID.into();
            }
            println!("ok: the server starts with this");
            ExitCode::SUCCESS
        }
    }
}

/// A setting's place and what it is to be.
pub(super) type Setting = (&'static [&'static str], Value);

/// A changed configuration beside the one in force, to be looked at before it is kept. Gone when dropped.
#[derive(Debug)]
pub(super) struct Draft {
    file: PathBuf,
    /// Where it lies; the file itself if nothing had to change.
    pub(super) path: PathBuf,
    before: Option<String>,
}

impl Draft {
    /// Puts it in the file's place. Returns false if nothing had to change. Comments are lost where something changes,
    /// so the file before is kept as `.bak`.
    pub(super) fn keep(self) -> Result<bool> {
        if self.path == self.file {
            return Ok(false);
        }
        if let Some(before) = &self.before {
            write_whole(&self.file.with_extension("toml.bak"), before)?;
        }
        std::fs::rename(&self.path, &self.file)
            .with_context(|| format!("write `{}`", self.file.display()))?;
        Ok(true)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if self.path != self.file {
            // Kept by now, or not wanted: either way there may be nothing to remove.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Drafts settings for the file, leaving all others as they are.
pub(super) fn draft(file: &Path, settings: Vec<Setting>) -> Result<Draft> {
    let before = match std::fs::read_to_string(file) {
        Ok(text) => Some(text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(error).with_context(|| format!("read `{}`", file.display())),
    };
    let parsed: Table = toml::from_str(before.as_deref().unwrap_or_default())
        .with_context(|| format!("read `{}`", file.display()))?;
    let mut changed = parsed.clone();
    for (path, value) in settings {
        set(&mut changed, path, value);
    }
    if before.is_some() && changed == parsed {
        return Ok(Draft { file: file.to_owned(), path: file.to_owned(), before });
    }
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("make the folder `{}`", folder.display()))?;
    }
    let head = "# panda-server's configuration. `panda-server config show` lists every setting with its value;\n\
                # PANDA_SECTION__KEY in the environment overrides one. `panda-server config check` names mistakes.\n\n";
    let path = file.with_extension("toml.draft");
    write_whole(&path, &format!("{head}{}", toml::to_string(&changed).expect("a table is TOML")))?;
    Ok(Draft { file: file.to_owned(), path, before })
}

fn set(table: &mut Table, path: &[&str], value: Value) {
    match path {
        [] => {}
        [key] => {
            table.insert((*key).to_owned(), value);
        }
        [section, rest @ ..] => {
            let section = table.entry((*section).to_owned()).or_insert_with(|| Value::Table(Table::new()));
            if let Value::Table(inner) = section {
                set(inner, rest, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(file: &Path, settings: Vec<Setting>) -> Result<bool> {
        draft(file, settings)?.keep()
    }

    #[test]
    fn a_draft_that_is_not_kept_leaves_the_file_alone() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("server.toml");
        let draft = draft(&file, vec![(&["edge", "https_port"][..], Value::Integer(8443))]).unwrap();
        assert_eq!(Config::load(Some(&draft.path), None, None).unwrap().edge.https_port, 8443);
        drop(draft);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn settings_are_written_once_and_others_stay() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("etc/server.toml");
        let port = || vec![(&["edge", "https_port"][..], Value::Integer(8443))];
        assert!(put(&file, port()).unwrap());
        assert!(!put(&file, port()).unwrap(), "nothing to change the second time");
        assert!(put(&file, vec![(&["public_url"][..], Value::String("https://a.test".into()))]).unwrap());
        let config = Config::load(Some(&file), None, None).unwrap();
        assert_eq!((config.edge.https_port, config.public_url.as_str()), (8443, "https://a.test"));
        assert!(file.with_extension("toml.bak").exists());
    }

    #[test]
    fn a_file_that_is_not_toml_is_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("server.toml");
        std::fs::write(&file, "public_url = ").unwrap();
        assert!(put(&file, vec![(&["data_dir"][..], Value::String("/x".into()))]).is_err());
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "public_url = ");
    }
}
