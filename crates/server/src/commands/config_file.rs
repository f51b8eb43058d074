//! The configuration file: checking, showing, and writing it at the first installation.

use std::path::Path;
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

/// Writes settings into the file, leaving all others as they are. Returns false if nothing had to change.
/// Comments are lost where something changes, so the file before is kept as `.bak`.
pub(super) fn put(file: &Path, settings: Vec<Setting>) -> Result<bool> {
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
        return Ok(false);
    }
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("make the folder `{}`", folder.display()))?;
    }
    if let Some(before) = before {
        write_whole(&file.with_extension("toml.bak"), &before)?;
    }
    let head = "# panda-server's configuration. `panda-server config show` lists every setting with its value;\n\
                # PANDA_SECTION__KEY in the environment overrides one. `panda-server config check` names mistakes.\n\n";
    write_whole(file, &format!("{head}{}", toml::to_string(&changed).expect("a table is TOML")))?;
    Ok(true)
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
