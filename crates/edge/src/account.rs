//! What one request costs and how it ends: written down once, when it is dropped.

use std::sync::Arc;
use std::time::Instant;

use http::StatusCode;

use crate::access_log::{AccessLog, Entry};
use crate::metrics::{AppStats, Counters};
use crate::upstream::instance::Instance;

/// The account of one request on a route.
pub(crate) struct Account {
    stats: Arc<AppStats>,
    worker: usize,
    started: Instant,
    instance: Option<Arc<Instance>>,
    busy: bool,
    status: Option<StatusCode>,
    log: Option<Box<(AccessLog, Entry)>>,
    bytes_out: std::cell::Cell<u64>,
    broke_off: bool,
}

impl Account {
    /// Opens an account; the request counts as active until it is dropped.
    pub(crate) fn open(
        stats: Arc<AppStats>,
        worker: usize,
        started: Instant,
        log: Option<Box<(AccessLog, Entry)>>,
    ) -> Self {
        stats.shard(worker).active.add(1);
        Self {
            stats,
            worker,
            started,
            instance: None,
            busy: false,
            status: None,
            log,
            bytes_out: std::cell::Cell::new(0),
            broke_off: false,
        }
    }

    /// Returns the counters that this worker adds to.
    pub(crate) fn counters(&self) -> &Counters {
        self.stats.shard(self.worker)
    }

    /// Notes which instance serves; it counts as busy until [`Account::release_instance`] or the end.
    pub(crate) fn use_instance(&mut self, instance: &Arc<Instance>) {
        self.release_instance();
        instance.begin();
        self.instance = Some(Arc::clone(instance));
        self.busy = true;
    }

    /// Notes that the instance has nothing to do for this request any more.
    pub(crate) fn release_instance(&mut self) {
        if let Some(instance) = &self.instance
            && std::mem::take(&mut self.busy)
        {
            instance.end();
        }
    }

    /// Notes the answer's status and the time to it.
    pub(crate) fn answered(&mut self, status: StatusCode) {
        self.status = Some(status);
        self.counters().answered(status.as_u16(), self.started.elapsed());
    }

    pub(crate) fn add_bytes_in(&self, bytes: u64) {
        self.counters().bytes_in.add(bytes);
    }

    pub(crate) fn add_bytes_out(&self, bytes: usize) {
        self.bytes_out.set(self.bytes_out.get() + bytes as u64);
    }

    /// Notes that the answer's body ended before its end.
    pub(crate) fn broke_off(&mut self) {
        self.broke_off = true;
        self.counters().upstream_errors.add(1);
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        self.release_instance();
        let counters = self.counters();
        counters.active.sub(1);
        counters.bytes_out.add(self.bytes_out.get());
        if self.status.is_none() {
            counters.aborted.add(1);
        }
        if let Some(log) = self.log.take() {
            let (log, mut entry) = *log;
            entry.status = self.status.map(|status| status.as_u16());
            entry.bytes = self.bytes_out.get();
            entry.micros = u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX);
            entry.upstream = self.instance.as_ref().map(|instance| instance.id.to_string());
            entry.cut = self.broke_off;
            log.write(&entry);
        }
    }
}
