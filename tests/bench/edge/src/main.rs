//! Measures the edge against nginx, haproxy and caddy, and what a change of routes costs.

mod changes;
mod load;
mod memory;
mod process;
mod proxies;
mod report;

use std::path::PathBuf;

use anyhow::Context;
use clap::Parser;

/// Measures the edge. Every figure is a sample of this machine in this moment: compare within one run.
#[derive(Debug, Parser)]
struct Args {
    /// The edge's program, built with --release.
    #[arg(long, default_value = "target/release/panda-edge")]
    edge: PathBuf,
    /// Seconds a load run takes.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Rounds there and back.
    #[arg(long, default_value_t = 2)]
    rounds: usize,
    /// Connections of the load generator.
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Route changes at each number of routes.
    #[arg(long, default_value_t = 100)]
    changes: usize,
    /// Where the JSON goes.
    #[arg(long, default_value = "target/bench/edge.json")]
    out: PathBuf,
    /// Parts to run.
    #[arg(long, value_delimiter = ',', default_value = "load,changes,memory")]
    only: Vec<String>,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    anyhow::ensure!(
        args.edge.exists(),
        "`{}` isn't there; build it with --release first",
        args.edge.display()
    );
    let folder = tempfile::tempdir().context("make a folder for configurations")?;
    let runs = |part: &str| args.only.iter().any(|wanted| wanted == part);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut report = report::Report::new();
    if runs("load") {
        let plan = load::Plan { seconds: args.seconds, rounds: args.rounds, connections: args.connections };
        report.load = runtime.block_on(load::run(&args.edge, folder.path(), &plan))?;
    }
    if runs("changes") {
        for routes in [10, 1_000, 10_000] {
            let outcome = runtime.block_on(changes::run(&args.edge, routes, args.changes))?;
            report.changes.push(outcome);
        }
    }
    if runs("memory") {
        report.memory = runtime.block_on(memory::run(&args.edge))?;
    }
    report.print();
    report.save(&args.out)
}
