//! Keeps a running job's lease, and hears when the job should stop.

use std::time::Duration;

use panda_store::{JobRow, Result, Store};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::context::{JobContext, Stop};
use crate::runner::RunnerSettings;

/// Runs beside the job's handler until something stops the job; the caller drops it when the handler is done.
pub(crate) async fn watch(context: &JobContext, settings: &RunnerSettings, shutdown: &CancellationToken) {
    let (store, job) = (context.store(), context.job());
    let mut changes = store.changes();
    let mut held_until = Instant::now() + settings.lease;
    let mut next_beat = Instant::now() + settings.heartbeat;
    loop {
        // First of all: it may have been asked for between the claim and the subscription above.
        match cancel_requested(store, job).await {
            Ok(true) => return context.tell_to_stop(Stop::Canceled),
            Ok(false) => {}
            Err(error) => {
                tracing::warn!(job.id = %job.id, "look whether job `{}` is to stop: {error}", job.id);
                sleep(Duration::from_millis(200)).await;
            }
        }
        tokio::select! {
            () = shutdown.cancelled() => return context.tell_to_stop(Stop::ShuttingDown),
            changed = changes.changed() => {
                if changed.is_err() {
                    // The store is going away with everything else.
                    return context.tell_to_stop(Stop::ShuttingDown);
                }
                continue;
            }
            () = sleep(next_beat.saturating_duration_since(Instant::now())) => {}
        }
        match prolong(store, job, settings.lease).await {
            Ok(true) => held_until = Instant::now() + settings.lease,
            Ok(false) => return context.tell_to_stop(Stop::LeaseLost),
            Err(error) => tracing::warn!(job.id = %job.id, "prolong the lease of job `{}`: {error}", job.id),
        }
        next_beat = Instant::now() + settings.heartbeat;
        if Instant::now() >= held_until {
            return context.tell_to_stop(Stop::LeaseLost);
        }
    }
}

async fn prolong(store: &Store, job: &JobRow, lease: Duration) -> Result<bool> {
    let mut tx = store.begin().await?;
    let held = tx.heartbeat(job, lease).await?;
    tx.commit().await?;
    Ok(held)
}

async fn cancel_requested(store: &Store, job: &JobRow) -> Result<bool> {
    store.read().await?.job_cancel_requested(job).await
}
