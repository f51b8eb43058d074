//! `panda-server store copy`: the state into another database.

use std::time::Duration;

use clap::{Args, Subcommand};
use panda_store::{CopyError, CopyStep, CopySummary, Keyring, StoreConfig, StoreError, copy_store};

use super::{Failure, Outcome, health, opening, say};
use crate::config::Config;

/// What one statement may take here: nobody waits for a page meanwhile, and a table may have to be sorted.
const STATEMENT_LIMIT: Duration = Duration::from_mins(2);

/// What can be done with the database.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum StoreCommand {
    /// Copy the state into another, empty database and compare every row; the server must be stopped
    Copy(CopyArgs),
}

/// Where the state goes.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:
  docker stop panda-server
  panda-server store copy --to postgres://panda@db.example.com/panda --dry-run
  PANDA_COPY_TO=postgres://panda:PASSWORD@db.example.com/panda panda-server store copy
  panda-server store copy --to sqlite:///var/lib/panda/db/panda.db     # and back, with database.url at PostgreSQL")]
pub(crate) struct CopyArgs {
    /// The empty database, `postgres://…` or `sqlite:///path`; the variable keeps a password out of the list of processes
    #[arg(long, value_name = "URL", env = "PANDA_COPY_TO", hide_env_values = true)]
    to: String,
    /// Only look: opens both, reads every row, writes nothing
    #[arg(long)]
    dry_run: bool,
}

/// Carries a command out.
pub(super) async fn run(config: &Config, command: StoreCommand) -> Outcome {
    let StoreCommand::Copy(args) = command;
    if health::ready(config).await.is_ok() {
        return Err(Failure::new("the server runs", "stop it first: docker stop panda-server"));
    }
    let keyring = Keyring::load(opening::key_source(config)).await.map_err(|error| {
        Failure::of(error, "run this as root; put the key file back (docs/operating.md, \"The key\")")
    })?;
    let from = StoreConfig { statement_deadline: STATEMENT_LIMIT, ..opening::store_config(config) };
    let to = StoreConfig { url: args.to, ..from.clone() };
    let summary = copy_store(&from, &to, keyring, args.dry_run, &mut tell).await.map_err(explain)?;
    for line in last_words(config, &summary, args.dry_run) {
        say(&line);
    }
    Ok(())
}

fn tell(step: CopyStep<'_>) {
    match step {
        CopyStep::Copied { table, rows, done: true } => say(&format!("{table}: {rows} rows")),
        CopyStep::Copied { table, rows, done: false } => say(&format!("{table}: {rows} rows so far")),
        CopyStep::Compared { table, rows } => say(&format!("{table}: {rows} rows, the same in both")),
    }
}

fn explain(error: CopyError) -> Failure {
    let fix = match &error {
        CopyError::Store(StoreError::Locked { .. }) | CopyError::InUse { .. } => {
            "stop every server that uses it, then copy again: docker stop panda-server"
        }
        CopyError::Store(StoreError::WrongKey { .. }) => {
            "the key in force has to be the one of the state: docs/operating.md, \"The key\""
        }
        CopyError::Store(StoreError::NotEmpty { .. }) | CopyError::ForeignTable { .. } => {
            "name an empty database of its own: createdb --encoding UTF8 panda"
        }
        CopyError::FileExists { .. } => "name a new file: a database is never overwritten",
        CopyError::NoState { .. } => "see that database.url names the state: panda-server config show",
        CopyError::OtherTables { .. } => {
            "drop that database and make an empty one: another version made its tables"
        }
        CopyError::OddValue { .. } => {
            "nothing was written; take a backup, correct that value in the source by hand, and copy again"
        }
        CopyError::Differs { .. } => {
            "the target keeps no rows; see what changes them there (a trigger, a rule), or make a fresh database"
        }
        CopyError::NotMigrated { .. } => {
            "mend that, set database.url to the target and start the server, which tries again; or drop it and copy anew"
        }
        CopyError::Store(_) => "the target keeps no rows, the source is as it was: mend that and copy again",
    };
    Failure::of(error, fix)
}

/// Says what was done, and what else the new place needs.
fn last_words(config: &Config, summary: &CopySummary, dry_run: bool) -> Vec<String> {
    let rows: u64 = summary.rows.values().sum();
    let tables = summary.rows.len();
    if dry_run {
        return vec![format!(
            "{rows} rows of {tables} tables can be copied (schema {}); nothing was written",
            summary.schema
        )];
    }
    let data = config.data_dir.display();
    let key = config.keys.file.display();
    let mut lines = vec![
        format!(
            "copied {rows} rows of {tables} tables, every one the same in both; {} secrets open with {key}",
            summary.secrets_proven
        ),
        "next: set database.url to the new database (server.toml or DATABASE_URL), then panda-server install"
            .to_owned(),
        "the old database is as it was; no server may run on it again, or there are two truths".to_owned(),
        "not in a database, and needed by a server on another machine or in a cluster:".to_owned(),
    ];
    let beside = [
        (format!("{key}"), "opens every secret; keep it 0600, without it the copy is worth nothing"),
        (format!("{data}/keys/registry.key"), "signs tokens for the registry"),
        (format!("{data}/keys/local-ca.*"), "the local authority that clients have pinned"),
        (format!("{data}/blobs"), "uploaded directories"),
        (format!("{data}/logs"), "logs of builds and apps"),
        ("the volume panda-registry".to_owned(), "images that were built here"),
    ];
    lines.extend(beside.map(|(what, why)| format!("  {what}: {why}")));
    lines
}
