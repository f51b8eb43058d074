//! Requests that wait until an instance can take them, in bounded number and for a bounded time.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::metrics::AppStats;
use crate::protocol::RouteOptions;
use crate::shared::Shared;

/// Says why a request doesn't wait any longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GaveUp {
    /// Too many wait already.
    Full,
    /// No instance came in time.
    Expired,
}

/// A request's place among those that wait; it is given back when dropped.
pub(crate) struct Hold {
    shared: Arc<Shared>,
    stats: Arc<AppStats>,
    worker: usize,
    deadline: Instant,
    changed: watch::Receiver<()>,
}

impl Hold {
    /// Takes a place. What changes from now on ends [`Hold::wait`], so look once more before waiting.
    pub(crate) fn begin(
        shared: &Arc<Shared>,
        stats: &Arc<AppStats>,
        worker: usize,
        options: &RouteOptions,
    ) -> Result<Self, GaveUp> {
        if options.hold_ms == 0 {
            return Err(GaveUp::Expired);
        }
        if stats.held() >= u64::from(options.hold_limit) {
            return Err(GaveUp::Full);
        }
        if shared.held.fetch_add(1, Relaxed) >= shared.limits.held {
            shared.held.fetch_sub(1, Relaxed);
            return Err(GaveUp::Full);
        }
        let counters = stats.shard(worker);
        counters.held.add(1);
        counters.held_total.add(1);
        Ok(Self {
            changed: shared.changed.subscribe(),
            shared: Arc::clone(shared),
            stats: Arc::clone(stats),
            worker,
            deadline: Instant::now() + Duration::from_millis(options.hold_ms),
        })
    }

    /// Waits until something changed or the time is over after which an instance is tried again.
    pub(crate) async fn wait(&mut self, again_in: Option<Duration>) -> Result<(), GaveUp> {
        let again_at = again_in.map(|after| Instant::now() + after.max(Duration::from_millis(1)));
        let until = again_at.map_or(self.deadline, |at| at.min(self.deadline));
        match tokio::time::timeout_at(until, self.changed.changed()).await {
            Ok(_) => Ok(()),
            Err(_) if Instant::now() < self.deadline => Ok(()),
            Err(_) => Err(GaveUp::Expired),
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.shared.held.fetch_sub(1, Relaxed);
        self.stats.shard(self.worker).held.sub(1);
    }
}
