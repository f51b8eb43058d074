//! `panda-server backup` and `restore`: the whole state in one file, its key wrapped by a passphrase.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use clap::Args;
use panda_domain::secret::Secret;
use panda_store::{BackupFolder, BackupSummary, RestoreOptions};

use super::{Failure, Outcome, health, opening, say};
use crate::config::Config;

/// Where a backup goes.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Example:
  panda-server backup --to /backups/panda-$(date +%F) --passphrase-file /root/panda-passphrase")]
pub(crate) struct BackupArgs {
    /// The file to write; it must not exist
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
    /// File with the passphrase that wraps the key, at least 12 characters; `-` reads it from standard input
    #[arg(long, value_name = "FILE")]
    passphrase_file: PathBuf,
}

/// Where a backup comes from.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:
  panda-server restore --from /backups/panda-2027-01-31 --passphrase-file /root/panda-passphrase --check
  docker stop panda-server && panda-server restore --from FILE --passphrase-file FILE && docker start panda-server")]
pub(crate) struct RestoreArgs {
    /// The backup
    #[arg(long, value_name = "FILE")]
    from: PathBuf,
    /// File with the passphrase; `-` reads it from standard input
    #[arg(long, value_name = "FILE")]
    passphrase_file: PathBuf,
    /// Only read it to its end, and try the passphrase
    #[arg(long)]
    check: bool,
    /// Replace state that is there
    #[arg(long)]
    overwrite: bool,
}

/// Writes a backup while the server runs.
pub(super) async fn backup(config: &Config, args: BackupArgs) -> Outcome {
    let passphrase = passphrase(&args.passphrase_file)?;
    if args.to.exists() {
        let cause = format!("`{}` exists", args.to.display());
        return Err(Failure::new(cause, "name a new file: a backup is never overwritten"));
    }
    let store = opening::look(config).await.map_err(|error| {
        Failure::of(error, "run this as root; `panda-server doctor` looks at key and database")
    })?;
    let summary = store
        .backup(&args.to, &passphrase, &folders(config))
        .await
        .map_err(|error| Failure::of(error, "see that the folder exists and the disk has room"))?;
    store.close().await;
    say(&format!("{}: {}", args.to.display(), told(&summary)));
    say("try it: panda-server restore --check --from FILE --passphrase-file FILE");
    Ok(())
}

/// Brings a backup back, or only reads it.
pub(super) async fn restore(config: &Config, args: RestoreArgs) -> Outcome {
    let passphrase = passphrase(&args.passphrase_file)?;
    if args.check {
        let summary = panda_store::inspect_backup(&args.from, &passphrase).await.map_err(|error| {
            Failure::of(error, "use another backup, or the passphrase that belongs to it")
        })?;
        say(&format!("ok, {}: {}", args.from.display(), told(&summary)));
        return Ok(());
    }
    if health::ready(config).await.is_ok() {
        return Err(Failure::new("the server runs", "stop it first: docker stop panda-server"));
    }
    let options = RestoreOptions { overwrite: args.overwrite };
    let summary = panda_store::restore(
        &args.from,
        &opening::store_config(config),
        &config.keys.file,
        &folders(config),
        &passphrase,
        options,
    )
    .await
    .map_err(|error| Failure::of(error, "nothing was changed; --overwrite replaces state that is there"))?;
    say(&format!("restored {}; {} secrets open", told(&summary), summary.secrets_proven));
    say("next: docker start panda-server, or `panda-server install` on a new machine");
    Ok(())
}

/// What lies beside the database and can't be made again.
fn folders(config: &Config) -> Vec<BackupFolder> {
    vec![BackupFolder { name: "blobs".to_owned(), path: config.data_dir.join("blobs") }]
}

fn told(summary: &BackupSummary) -> String {
    let rows: u64 = summary.rows.values().sum();
    format!(
        "{rows} rows of {} tables, {} files, schema {}",
        summary.rows.len(),
        summary.files,
        summary.schema
    )
}

fn passphrase(file: &Path) -> Outcome<Secret> {
    let read = || -> std::io::Result<String> {
        if file == Path::new("-") {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text)?;
            return Ok(text);
        }
        std::fs::read_to_string(file)
    };
    let text = read().map_err(|error| {
        let error =
            anyhow::Error::from(error).context(format!("read the passphrase from `{}`", file.display()));
        Failure::of(error, "name a file that holds it in one line")
    })?;
    let line = text.lines().next().unwrap_or_default();
    if line.is_empty() {
        return Err(Failure::new("the passphrase is empty", "at least 12 characters, in one line"));
    }
    Ok(Secret::new(line))
}
