//! Measures the platform against the same steps by hand, and what it costs when nothing happens.
//!
//! Both sides of a comparison run in turns, A-B-B-A, on the same engine, builder and registry in the same minutes: on a
//! machine that does other things as well only the ratio of the two says something.

mod bare;
mod by_hand;
mod cases;
mod cluster;
mod kubectl;
mod memory;
mod nginx;
mod pair;
mod reads;
mod report;
mod startup;
mod watch;

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use panda_e2e::{Cluster, Ground, Installation, Options};

/// Measures a private installation. Every figure is a sample of this machine in this moment: compare within one run.
#[derive(Debug, Parser)]
struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Starts an installation and measures it; `tests/bench/run.sh` sets up what this needs.
    Run(RunArgs),
    /// Serves the least that reading one app can be: the rival of the API.
    Bare {
        /// The installation's SQLite file.
        #[arg(long)]
        database: PathBuf,
        /// Where to listen.
        #[arg(long)]
        listen: SocketAddr,
    },
}

/// How much is measured.
#[derive(Debug, clap::Args)]
struct RunArgs {
    /// Rounds; each runs both sides once, in turns first.
    #[arg(long, default_value_t = 10)]
    rounds: usize,
    /// Seconds of one load run.
    #[arg(long, default_value_t = 3)]
    seconds: u64,
    /// Apps for the memory.
    #[arg(long, value_delimiter = ',', default_value = "0,100,1000")]
    apps: Vec<usize>,
    /// On the cluster that the surroundings have, against kubectl.
    #[arg(long)]
    cluster: bool,
    /// Parts to run; on a cluster `change`, `image`, `rollback` and `scale`.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "change,unchanged,image,rollback,scale,reads,startup,memory"
    )]
    only: Vec<String>,
    /// Where the JSON and the table go.
    #[arg(long, default_value = "target/bench/platform.json")]
    out: PathBuf,
}

fn main() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    match Args::parse().what {
        What::Run(args) => runtime.block_on(run(&args)),
        What::Bare { database, listen } => runtime.block_on(bare::serve(&database, listen)),
    }
}

async fn run(args: &RunArgs) -> anyhow::Result<()> {
    let ground =
        Ground::or_skip("panda-bench").context("the surroundings aren't set up: run `make bench`")?;
    let wants = |part: &str| args.only.iter().any(|wanted| wanted == part);
    let mut report = report::Report::begin();
    if args.cluster {
        let cluster = Cluster::of_the_run().context("there is no cluster: run `make bench`")?;
        let options = Options { cluster: Some(cluster), ..Options::default() };
        let panda = Installation::start_with(&ground, options).await?;
        let pairs = cluster::run(&panda, args.rounds, &wants).await;
        if pairs.is_err() {
            panda.print_logs();
        }
        pairs?.into_iter().for_each(|pair| report.add(pair));
        report.end();
        report.print();
        return report.save(&args.out);
    }
    if ["change", "unchanged", "image", "rollback", "reads", "startup"].into_iter().any(wants) {
        let quiet =
            [("PANDA_LOG__FILTER".to_owned(), "info,panda_platform_api::http::frame=warn".to_owned())];
        let options = Options { settings: quiet.to_vec(), ..Options::default() };
        let panda = Installation::start_with(&ground, options).await?;
        let outcome = measure(&panda, args, &wants, &mut report).await;
        if outcome.is_err() {
            panda.print_logs();
        }
        outcome?;
    }
    if wants("memory") {
        report.memory = memory::run(&ground, &args.apps).await?;
    }
    report.end();
    report.print();
    report.save(&args.out)
}

async fn measure(
    panda: &Installation,
    args: &RunArgs,
    wants: &impl Fn(&str) -> bool,
    report: &mut report::Report,
) -> anyhow::Result<()> {
    let hand = by_hand::Hand::start(panda).await?;
    if wants("change") || wants("unchanged") {
        let mut source = cases::Sources::start(panda, &hand).await?;
        if wants("change") {
            report.add(source.one_changed_line(args.rounds).await?);
        }
        if wants("unchanged") {
            report.add(source.nothing_changed(args.rounds).await?);
        }
        source.end().await?;
    }
    if wants("image") || wants("rollback") {
        let mut images = cases::Images::start(panda, &hand).await?;
        if wants("image") {
            report.add(images.deploy(args.rounds).await?);
        }
        if wants("rollback") {
            report.add(images.roll_back(args.rounds).await?);
        }
        images.end().await?;
    }
    if wants("startup") {
        report.startup_ms = startup::help(panda).await?;
    }
    if wants("reads") {
        report.reads = Some(reads::run(panda, args.rounds, args.seconds).await?);
    }
    Ok(())
}
