//! `panda-server`: the control plane. Reads its settings, wires the parts together, serves.
//!
//! Nothing else in the house knows which database, runtime or builder is in use.

mod config;
mod serve;
mod state;
mod telemetry;
mod wiring;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::Config;

/// Runs the platform that apps are deployed to.
#[derive(Debug, Parser)]
#[command(name = "panda-server", version, about)]
struct Arguments {
    /// The configuration file.
    #[arg(long, global = true, value_name = "FILE", env = "PANDA_CONFIG")]
    config: Option<PathBuf>,
    /// Where the state lies; stronger than the file.
    #[arg(long, global = true, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the server (the default).
    Serve,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // A second provider in the tree would make rustls panic at its first use.
    if rustls::crypto::aws_lc_rs::default_provider().install_default().is_err() {
        eprintln!("error: another TLS provider is installed already; this is a bug");
        return ExitCode::from(1);
    }
    let loaded = Config::load(arguments.config.as_deref(), std::env::var("DATABASE_URL").ok(), arguments.data_dir);
    let config = match loaded {
        Ok(config) => config,
        Err(error) => {
            eprintln!("error: {error}\n\nhint: `panda-server config check` names every mistake");
            return ExitCode::from(6);
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.expect("a process that can start threads can have a runtime");
    runtime.block_on(run(arguments.command.unwrap_or(Command::Serve), config))
}

async fn run(command: Command, config: Config) -> ExitCode {
    match command {
        Command::Serve => serve::run(config).await,
    }
}
