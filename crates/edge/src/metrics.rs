//! Counters: one set an app and a worker, so that counting is an addition nobody else waits for.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::protocol::{AppUsage, LATENCY_BUCKETS_MICROS, Status};

/// A number that is added to.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Relaxed);
    }

    pub(crate) fn sub(&self, amount: u64) {
        self.0.fetch_sub(amount, Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// What one worker counted for one app. Aligned, so that two workers don't share a cache line.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Counters {
    pub(crate) requests: [Counter; 5],
    pub(crate) aborted: Counter,
    pub(crate) bytes_in: Counter,
    pub(crate) bytes_out: Counter,
    pub(crate) active: Counter,
    pub(crate) held: Counter,
    pub(crate) held_total: Counter,
    pub(crate) retries: Counter,
    pub(crate) upstream_errors: Counter,
    latency: [Counter; LATENCY_BUCKETS_MICROS.len() + 1],
    latency_sum_micros: Counter,
}

impl Counters {
    /// Counts an answer by the class of its status and the time to its first byte.
    pub(crate) fn answered(&self, status: u16, after: Duration) {
        let class = usize::from(status / 100).clamp(1, 5) - 1;
        self.requests[class].add(1);
        let micros = u64::try_from(after.as_micros()).unwrap_or(u64::MAX);
        let bucket = LATENCY_BUCKETS_MICROS.iter().take_while(|bound| micros > **bound).count();
        self.latency[bucket].add(1);
        self.latency_sum_micros.add(micros);
    }
}

/// What all workers counted for one app; an app without requests takes no memory for counters.
#[derive(Debug)]
pub(crate) struct AppStats {
    pub(crate) app: Box<str>,
    shards: Box<[OnceLock<Box<Counters>>]>,
}

impl AppStats {
    pub(crate) fn new(app: &str, workers: usize) -> Self {
        Self { app: app.into(), shards: (0..workers).map(|_| OnceLock::new()).collect() }
    }

    /// Returns the counters of one worker.
    pub(crate) fn shard(&self, worker: usize) -> &Counters {
        self.shards[worker].get_or_init(Box::default)
    }

    /// Returns how many requests of the app wait for an instance.
    pub(crate) fn held(&self) -> u64 {
        self.sum(|counters| &counters.held)
    }

    fn sum(&self, field: impl Fn(&Counters) -> &Counter) -> u64 {
        // A worker may subtract what another one added, so that single shards can wrap; the sum is right.
        self.shards
            .iter()
            .filter_map(OnceLock::get)
            .fold(0, |sum: u64, counters| sum.wrapping_add(field(counters).get()))
    }

    /// Adds up the counters of all workers.
    pub(crate) fn usage(&self) -> AppUsage {
        AppUsage {
            app: self.app.to_string(),
            requests: std::array::from_fn(|class| self.sum(|counters| &counters.requests[class])),
            aborted: self.sum(|counters| &counters.aborted),
            bytes_in: self.sum(|counters| &counters.bytes_in),
            bytes_out: self.sum(|counters| &counters.bytes_out),
            active: self.sum(|counters| &counters.active),
            held: self.held(),
            held_total: self.sum(|counters| &counters.held_total),
            retries: self.sum(|counters| &counters.retries),
            upstream_errors: self.sum(|counters| &counters.upstream_errors),
            latency_buckets: (0..=LATENCY_BUCKETS_MICROS.len())
                .map(|bucket| self.sum(|counters| &counters.latency[bucket]))
                .collect(),
            latency_sum_micros: self.sum(|counters| &counters.latency_sum_micros),
        }
    }
}

/// Name, help, kind, and where the value is.
type Field = (&'static str, &'static str, &'static str, fn(&AppUsage) -> u64);

/// Writes the counters in Prometheus' text format.
pub(crate) fn exposition(status: &Status, apps: &[Arc<AppStats>]) -> String {
    let mut out = String::with_capacity(4096);
    let gauges = [
        ("panda_edge_generation", "Generation of routes that is served.", status.generation),
        ("panda_edge_persisted_generation", "Generation that is on disk.", status.persisted_generation),
        ("panda_edge_routes", "Number of routes.", status.routes),
        ("panda_edge_connections", "Open client connections.", status.connections),
        ("panda_edge_unrouted_requests", "Requests without a route.", status.unrouted),
        ("panda_edge_ejected_upstreams", "Instances left out for a moment.", status.ejected.len() as u64),
        ("panda_edge_access_log_dropped", "Access log lines dropped.", status.log_lines_dropped),
    ];
    for (name, help, value) in gauges {
        head(&mut out, name, help, "gauge");
        line(&mut out, name, "", value);
    }
    // An app that was never asked for says nothing: a thousand idle apps would be a page of zeros.
    let apps: Vec<AppUsage> = apps
        .iter()
        .map(|stats| stats.usage())
        .filter(|usage| usage.answered() + usage.aborted + usage.active + usage.held > 0)
        .collect();
    requests(&mut out, &apps);
    let fields: [Field; 8] = [
        ("panda_edge_aborted_total", "Requests whose client left.", "counter", |app| app.aborted),
        ("panda_edge_received_bytes_total", "Bytes of request bodies.", "counter", |app| app.bytes_in),
        ("panda_edge_sent_bytes_total", "Bytes of response bodies.", "counter", |app| app.bytes_out),
        ("panda_edge_active_requests", "Requests in flight.", "gauge", |app| app.active),
        ("panda_edge_held_requests", "Requests that wait for an instance.", "gauge", |app| app.held),
        ("panda_edge_held_total", "Requests that had to wait.", "counter", |app| app.held_total),
        ("panda_edge_retries_total", "Requests sent a second time.", "counter", |app| app.retries),
        ("panda_edge_upstream_errors_total", "Attempts that failed.", "counter", |app| app.upstream_errors),
    ];
    for (name, help, kind, value) in fields {
        head(&mut out, name, help, kind);
        for app in &apps {
            line(&mut out, name, &format!("{{app=\"{}\"}}", escape(&app.app)), value(app));
        }
    }
    latencies(&mut out, &apps);
    out
}

fn requests(out: &mut String, apps: &[AppUsage]) {
    let name = "panda_edge_requests_total";
    head(out, name, "Answered requests by class of status.", "counter");
    for app in apps {
        for (class, count) in app.requests.iter().enumerate() {
            if *count > 0 {
                let labels = format!("{{app=\"{}\",status=\"{}xx\"}}", escape(&app.app), class + 1);
                line(out, name, &labels, *count);
            }
        }
    }
}

fn latencies(out: &mut String, apps: &[AppUsage]) {
    let name = "panda_edge_response_seconds";
    head(out, name, "Time to the first byte of the answer.", "histogram");
    for app in apps {
        let label = escape(&app.app);
        let mut sum = 0;
        for (bucket, count) in app.latency_buckets.iter().enumerate() {
            sum += count;
            let bound = match LATENCY_BUCKETS_MICROS.get(bucket) {
                Some(micros) => Duration::from_micros(*micros).as_secs_f64().to_string(),
                None => "+Inf".to_owned(),
            };
            line(out, &format!("{name}_bucket"), &format!("{{app=\"{label}\",le=\"{bound}\"}}"), sum);
        }
        let seconds = Duration::from_micros(app.latency_sum_micros).as_secs_f64();
        let _ = writeln!(out, "{name}_sum{{app=\"{label}\"}} {seconds}");
        line(out, &format!("{name}_count"), &format!("{{app=\"{label}\"}}"), sum);
    }
}

fn head(out: &mut String, name: &str, help: &str, kind: &str) {
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

fn line(out: &mut String, name: &str, labels: &str, value: u64) {
    let _ = writeln!(out, "{name}{labels} {value}");
}

fn escape(label: &str) -> String {
    label.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
