//! What an operator does with an installation, from the host's console.

mod backup;
mod claim_token;
mod cluster_keys;
mod config_file;
mod doctor;
mod health;
mod http;
mod install;
mod opening;
mod ports;
mod preflight;
mod store;
mod uninstall;
mod upgrade;

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Subcommand;

use crate::config::Config;
pub(crate) use claim_token::keep as keep_claim_token;

/// The operator's commands.
#[derive(Debug, Subcommand)]
#[expect(clippy::large_enum_variant, reason = "there is one of it in a process")]
pub(crate) enum Command {
    /// Set this machine up: folders, configuration, containers. Safe to run again
    Install(install::InstallArgs),
    /// Remove the platform's containers; apps serve on unless --purge
    Uninstall(uninstall::UninstallArgs),
    /// Replace server or edge by another version, and go back by itself if that one isn't healthy
    Upgrade(upgrade::UpgradeArgs),
    /// Look for what is wrong with this installation, and say how to mend it
    Doctor,
    /// Check or show the configuration
    Config {
        #[command(subcommand)]
        command: config_file::ConfigCommand,
    },
    /// Write the whole state into one file, while the server runs
    Backup(backup::BackupArgs),
    /// Bring a backup into an empty installation
    Restore(backup::RestoreArgs),
    /// Move the state to another database
    Store {
        #[command(subcommand)]
        command: store::StoreCommand,
    },
    /// Tell whether the server on this machine is healthy (for the container's health check)
    Health,
    /// Make folders, keys and the files that the other containers mount (for compose; `install` does it by itself)
    #[command(hide = true)]
    Prepare,
    /// Make the platform's keys in a cluster unless they are there, and write them into the data folder (for the pod's start)
    #[command(hide = true)]
    ClusterKeys(cluster_keys::ClusterKeysArgs),
    /// Tell whether this version could take over the state, without touching it
    #[command(hide = true)]
    Preflight,
}

/// Why a command failed, and what helps.
#[derive(Debug)]
pub(crate) struct Failure {
    cause: String,
    fix: String,
}

impl Failure {
    pub(crate) fn new(cause: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { cause: cause.into(), fix: fix.into() }
    }

    /// Says what was tried, with everything that the error knows.
    pub(crate) fn of(error: impl Into<anyhow::Error>, fix: impl Into<String>) -> Self {
        Self { cause: format!("{:#}", error.into()), fix: fix.into() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}\nfix:   {}", self.cause, self.fix)
    }
}

/// The result of a command.
pub(crate) type Outcome<T = ()> = Result<T, Failure>;

impl Command {
    /// Carries the command out and says on the console how it went.
    pub(crate) async fn run(self, file: Option<&Path>, data_dir: Option<PathBuf>) -> ExitCode {
        let outcome = match self {
            Self::Install(args) => install::run(file, data_dir, args).await,
            Self::Uninstall(args) => uninstall::run(file, data_dir, args).await,
            Self::Upgrade(args) => upgrade::run(file, data_dir, args).await,
            Self::Doctor => match load(file, data_dir) {
                Ok(config) => return doctor::run(&config).await,
                Err(failure) => Err(failure),
            },
            Self::Config { command } => match load(file, data_dir) {
                Ok(config) => return config_file::run(&config, &command),
                Err(failure) => Err(failure),
            },
            Self::Backup(args) => match load(file, data_dir) {
                Ok(config) => backup::backup(&config, args).await,
                Err(failure) => Err(failure),
            },
            Self::Restore(args) => match load(file, data_dir) {
                Ok(config) => backup::restore(&config, args).await,
                Err(failure) => Err(failure),
            },
            Self::Store { command } => match load(file, data_dir) {
                Ok(config) => store::run(&config, command).await,
                Err(failure) => Err(failure),
            },
            Self::Health => match load(file, data_dir) {
                Ok(config) => health::run(&config).await,
                Err(failure) => Err(failure),
            },
            Self::Prepare => match load(file, data_dir) {
                Ok(config) => install::prepare(&config),
                Err(failure) => Err(failure),
            },
            Self::ClusterKeys(args) => match load(file, data_dir) {
                Ok(config) => cluster_keys::run(&config, &args).await,
                Err(failure) => Err(failure),
            },
            Self::Preflight => match load(file, data_dir) {
                Ok(config) => preflight::run(&config).await,
                Err(failure) => Err(failure),
            },
        };
        match outcome {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => {
                eprintln!("{failure}");
                ExitCode::FAILURE
            }
        }
    }
}

/// Reads the configuration as the server does.
fn load(file: Option<&Path>, data_dir: Option<PathBuf>) -> Outcome<Config> {
    let database = std::env::var("DATABASE_URL").ok();
    Config::load(file, database, data_dir)
        .map_err(|error| Failure::of(error, "correct it; `panda-server config check` names every mistake"))
}

/// Tells people what goes on; standard output stays free for what programs read.
fn say(text: &str) {
    eprintln!("{text}");
}
