//! `panda-server`: the control plane. Reads its settings, wires the parts together, serves.
//!
//! Nothing else in the house knows which database, runtime or builder is in use.

mod commands;
mod config;
mod platform_containers;
mod serve;
mod state;
mod telemetry;
mod wiring;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::Config;

/// Gives memory back after the peaks of a large table, which the system's allocator keeps.
#[global_allocator]
static MEMORY: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

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
#[expect(clippy::large_enum_variant, reason = "there is one of it in a process")]
enum Command {
    /// Runs the server (the default).
    Serve,
    #[command(flatten)]
    Operate(commands::Command),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // A second provider in the tree would make rustls panic at its first use.
    if rustls::crypto::aws_lc_rs::default_provider().install_default().is_err() {
        eprintln!("error: another TLS provider is installed already; this is a bug");
        return ExitCode::from(1);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.expect("a process that can start threads can have a runtime");
    // The operator's commands read the configuration themselves: the first of them writes it.
    if let Some(Command::Operate(command)) = arguments.command {
        return runtime.block_on(command.run(arguments.config.as_deref(), arguments.data_dir));
    }
    let loaded =
        Config::load(arguments.config.as_deref(), std::env::var("DATABASE_URL").ok(), arguments.data_dir);
    let config = match loaded {
        Ok(config) => config,
        Err(error) => {
            eprintln!("error: {error}\n\nhint: `panda-server config check` names every mistake");
            return ExitCode::from(6);
        }
    };
    runtime.block_on(serve::run(config))
}
