//! `panda-edge`: reads its flags, starts the edge, and drains it on SIGTERM.

use std::error::Error;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use panda_edge::{AccessLogTarget, Edge, EdgeConfig, Limits, Network};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// Gives memory back after the peaks of a large table, which the system's allocator keeps.
#[global_allocator]
static MEMORY: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Panda's edge: TLS, routing, and holding of requests in front of the apps of one host.
#[derive(Debug, Parser)]
#[command(name = "panda-edge", version)]
struct Args {
    /// Address for plain HTTP; may be given several times.
    #[arg(long, env = "PANDA_EDGE_HTTP", value_delimiter = ',', default_value = "0.0.0.0:80")]
    http: Vec<SocketAddr>,
    /// Address for HTTPS; may be given several times.
    #[arg(long, env = "PANDA_EDGE_HTTPS", value_delimiter = ',', default_value = "0.0.0.0:443")]
    https: Vec<SocketAddr>,
    /// Path of the control socket.
    #[arg(long, env = "PANDA_EDGE_CONTROL", default_value = "/var/lib/panda/edge/edge.sock")]
    control: PathBuf,
    /// Folder for routes and certificates, private keys included.
    #[arg(long, env = "PANDA_EDGE_STATE_DIR", default_value = "/var/lib/panda/edge")]
    state_dir: PathBuf,
    /// File for access lines, `-` for standard output; none if absent.
    #[arg(long, env = "PANDA_EDGE_ACCESS_LOG")]
    access_log: Option<PathBuf>,
    /// Size of the access log's file at which a new one is begun, in MiB.
    #[arg(long, env = "PANDA_EDGE_ACCESS_LOG_MIB", default_value_t = 64)]
    access_log_mib: u64,
    /// Address for Prometheus metrics; they are always on the control socket.
    #[arg(long, env = "PANDA_EDGE_METRICS")]
    metrics: Option<SocketAddr>,
    /// Threads that serve; one a core if absent.
    #[arg(long, env = "PANDA_EDGE_WORKERS")]
    workers: Option<usize>,
    /// Address or range of proxies whose X-Forwarded headers are believed; may be given several times.
    #[arg(long, env = "PANDA_EDGE_TRUSTED_PROXY", value_delimiter = ',')]
    trusted_proxy: Vec<Network>,
    /// After SIGTERM: seconds in which idle connections still get an answer.
    #[arg(long, env = "PANDA_EDGE_DRAIN_GRACE", default_value_t = 3)]
    drain_grace: u64,
    /// After SIGTERM: seconds until what still runs, WebSockets included, is cut.
    #[arg(long, env = "PANDA_EDGE_DRAIN_LIMIT", default_value_t = 60)]
    drain_limit: u64,
    /// Requests of all apps together that may wait for an instance.
    #[arg(long, env = "PANDA_EDGE_HOLD_LIMIT", default_value_t = 10_000)]
    hold_limit: u32,
    /// Seconds a client may take for the head of a request.
    #[arg(long, env = "PANDA_EDGE_HEADER_TIMEOUT", default_value_t = 10)]
    header_timeout: u64,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let filter = EnvFilter::try_from_env("PANDA_EDGE_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .init();
    match run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", chain(&*error));
            ExitCode::FAILURE
        }
    }
}

fn run(args: Args) -> Result<(), Box<dyn Error>> {
    // The workers have threads and runtimes of their own; this one serves the control socket.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (mut terminate, mut interrupt) =
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let edge = Edge::start(config(args)).await?;
        let listening = edge.listening();
        tracing::info!(
            generation = edge.generation(),
            "listening on http {:?}, https {:?}",
            listening.http,
            listening.https
        );
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping: no new connections, open ones are drained");
        edge.stop().await;
        Ok(())
    })
}

fn config(args: Args) -> EdgeConfig {
    let access_log = match args.access_log {
        None => AccessLogTarget::Off,
        Some(path) if path.as_os_str() == "-" => AccessLogTarget::Stdout,
        Some(path) => AccessLogTarget::File { path, limit_bytes: args.access_log_mib << 20 },
    };
    EdgeConfig {
        http: args.http,
        https: args.https,
        control: args.control,
        state_dir: args.state_dir,
        access_log,
        metrics: args.metrics,
        workers: args
            .workers
            .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, std::num::NonZero::get)),
        trusted_proxies: args.trusted_proxy,
        limits: Limits {
            drain_grace: Duration::from_secs(args.drain_grace),
            drain_limit: Duration::from_secs(args.drain_limit),
            held: args.hold_limit,
            header_timeout: Duration::from_secs(args.header_timeout),
            ..Limits::default()
        },
    }
}

fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}
