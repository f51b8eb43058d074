//! Serving: the API, the jobs and the reconcilers, until SIGTERM.

use std::future::IntoFuture;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use futures_util::StreamExt;
use panda_domain::clock::Clock;
use panda_platform_api::app::claim::ensure_claim_token;
use panda_platform_api::http::metrics::Metrics;
use panda_platform_api::http::{operator_router, public_router};
use tokio::net::{TcpListener, UnixListener};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::commands;
use crate::config::{Config, check};
use crate::wiring::{Wired, wire};
use crate::{state, telemetry};

/// How long jobs, streams and requests may take to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(20);
/// How often the samples of requests are put in order.
const METRICS_UPKEEP: Duration = Duration::from_secs(5);

/// Serves until SIGTERM; the exit code says whether it could start.
pub(crate) async fn run(config: Config) -> ExitCode {
    telemetry::start(&config.log);
    let fatal: Vec<_> = check(&config).into_iter().filter(|f| f.fatal).collect();
    for finding in &fatal {
        eprintln!("error: {}: {}\n\nhint: {}", finding.setting, finding.problem, finding.fix);
    }
    if !fatal.is_empty() {
        return ExitCode::from(6);
    }
    match serve(&config).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!(
                "error: {error:#}\n\nhint: `panda-server doctor` looks at everything that the server needs"
            );
            ExitCode::from(7)
        }
    }
}

async fn serve(config: &Config) -> anyhow::Result<()> {
    let clock = Clock::system();
    let shutdown = CancellationToken::new();
    state::ensure_folders(config)?;
    // Bound before the state is opened: a second server fails here, by name of the port, and touches nothing.
    let listener = TcpListener::bind(config.listen.api).await.with_context(|| {
        format!("listen on {} (another server, or move it with `listen.api`)", config.listen.api)
    })?;
    let operator = bind_operator(config)?;
    let store = state::open(config, clock.clone()).await?;
    let wired = wire(config, store.clone(), &clock, &shutdown).await?;
    announce(config, &store).await?;
    let tracker = TaskTracker::new();
    start_work(&tracker, &wired, &shutdown);
    let pages = || panda_dashboard::router(&wired.platform);
    let public = public_router(&wired.platform, pages()).into_make_service_with_connect_info::<SocketAddr>();
    let ours = operator_router(&wired.platform, pages());
    let stop = || shutdown.clone().cancelled_owned();
    tracker.spawn(axum::serve(listener, public).with_graceful_shutdown(stop()).into_future());
    tracker
        .spawn(axum::serve(operator, ours.into_make_service()).with_graceful_shutdown(stop()).into_future());
    tracker.close();
    tracing::info!("serving on {}", config.listen.api);
    wait_for_signal().await?;
    tracing::info!("stopping: what is under way goes on with the next start");
    shutdown.cancel();
    if tokio::time::timeout(GRACE, tracker.wait()).await.is_err() {
        tracing::warn!("some work didn't stop in {} s; the next start takes it over", GRACE.as_secs());
    }
    drop(wired);
    store.close().await;
    Ok(())
}

fn bind_operator(config: &Config) -> anyhow::Result<UnixListener> {
    let path = &config.listen.operator_socket;
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("replace the operator socket `{}`", path.display()));
        }
        _ => {}
    }
    UnixListener::bind(path).with_context(|| format!("listen on `{}`", path.display()))
}

/// Prints the claim token, once for each start until somebody has used it.
async fn announce(config: &Config, store: &panda_store::Store) -> anyhow::Result<()> {
    if let Some(token) = ensure_claim_token(store).await.context("make the claim token")? {
        println!("this server has no owner yet; claim it at {}/claim", config.public_url);
        println!("claim token: {}", token.reveal());
        commands::keep_claim_token(config, Some(token.reveal()))
    } else {
        commands::keep_claim_token(config, None)
    }
}

fn start_work(tracker: &TaskTracker, wired: &Wired, shutdown: &CancellationToken) {
    tracker.spawn(wired.runner.clone().run(shutdown.clone()));
    for (reconciler, period, notices) in &wired.reconcilers {
        let (activator, reconciler, period, notices) =
            (wired.activator.clone(), reconciler.clone(), *period, notices.clone());
        let stop = shutdown.clone();
        tracker.spawn(async move { activator.run(reconciler, period, notices, stop).await });
    }
    tracker.spawn(keep_metrics(wired.platform.metrics.clone(), shutdown.clone()));
    let (runtime, rollouts, hints, stop) =
        (wired.runtime.clone(), wired.rollouts.clone(), wired.hints.clone(), shutdown.clone());
    tracker.spawn(async move {
        let mut events = runtime.watch();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                event = events.next() => match event {
                    Some(event) => {
                        rollouts.hint(event.placement);
                        hints.notify();
                    }
                    None => return,
                },
            }
        }
    });
}

/// Samples lie in memory one by one until they are sorted into their classes, which otherwise only a scrape does.
async fn keep_metrics(metrics: Metrics, stop: CancellationToken) {
    while tokio::time::timeout(METRICS_UPKEEP, stop.cancelled()).await.is_err() {
        metrics.upkeep();
    }
}

async fn wait_for_signal() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
