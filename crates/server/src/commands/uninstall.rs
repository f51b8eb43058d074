//! `panda-server uninstall`: the platform's containers go; with `--purge` everything goes.

use std::path::{Path, PathBuf};

use clap::Args;

use super::{Failure, Outcome, load, say, upgrade};
use crate::config::Config;

/// How much goes.
#[derive(Debug, Clone, Args)]
pub(crate) struct UninstallArgs {
    /// Remove all apps, images, state, keys and configuration too. There is no way back but a backup
    #[arg(long, requires = "confirm")]
    purge: bool,
    /// The installation's name once more, for --purge
    #[arg(long, value_name = "NAME")]
    confirm: Option<String>,
}

/// Carries it out.
pub(super) async fn run(file: Option<&Path>, data_dir: Option<PathBuf>, args: UninstallArgs) -> Outcome {
    let config = load(file, data_dir)?;
    let installation = upgrade::installed(&config)?;
    if args.purge && args.confirm.as_deref() != Some(&installation.name) {
        return Err(Failure::new(
            format!("--confirm doesn't name this installation, `{}`", installation.name),
            format!("panda-server uninstall --purge --confirm {}", installation.name),
        ));
    }
    let host = upgrade::connect(&config, &installation).await?;
    let engine =
        |error| Failure::of(anyhow::Error::from(error), "correct what the engine says, then run this again");
    let containers = host.remove_platform(args.purge).await.map_err(engine)?;
    say(&format!("removed {containers} containers of the platform"));
    if !args.purge {
        say(&format!("apps run on without an edge; state stays in {}", config.data_dir.display()));
        return Ok(());
    }
    if let Some(id) = installation_id(&config) {
        let apps = host.remove_apps(&id).await.map_err(engine)?;
        say(&format!("removed {apps} containers of apps"));
    }
    remove_folder(&config.data_dir)?;
    let _ = std::fs::remove_file(&installation.config_file);
    say("removed state, keys and configuration");
    Ok(())
}

/// Returns the random name under which the driver labels what it makes; the store notes it beside its file.
fn installation_id(config: &Config) -> Option<String> {
    let database = config.database.url.strip_prefix("sqlite://")?;
    let note = std::fs::read_to_string(format!("{database}.state.json")).ok()?;
    let note: serde_json::Value = serde_json::from_str(&note).ok()?;
    Some(note.get("installation")?.as_str()?.to_owned())
}

/// In a container the folder itself is a mount and can only be emptied.
fn remove_folder(folder: &Path) -> Outcome {
    let empty = || -> std::io::Result<()> {
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                std::fs::remove_dir_all(entry.path())?;
            } else {
                std::fs::remove_file(entry.path())?;
            }
        }
        match std::fs::remove_dir(folder) {
            Err(error) if error.kind() != std::io::ErrorKind::ResourceBusy => Err(error),
            _ => Ok(()),
        }
    };
    match empty() {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Failure::of(error, format!("run this as root; what is left lies in {}", folder.display())))
        }
        _ => Ok(()),
    }
}
