//! What the edge tells about itself.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// Upper bounds of the latency histogram's buckets, in microseconds; one more bucket takes the rest.
pub const LATENCY_BUCKETS_MICROS: [u64; 12] =
    [500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000, 5_000_000, 30_000_000];

/// Acknowledges a change: it is in effect and on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// Generation that is served now.
    pub generation: u64,
}

/// What the edge is doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Version of the program.
    pub version: String,
    /// Process id, which changes at an upgrade.
    pub pid: u32,
    /// Milliseconds since the process started.
    pub uptime_ms: u64,
    /// Generation that is served; 0 before the first snapshot.
    pub generation: u64,
    /// Generation that is on disk.
    pub persisted_generation: u64,
    /// Addresses it listens on.
    pub listening: ListenAddresses,
    /// TCP ports that routes name, and whether they are listened on.
    #[serde(default)]
    pub tcp_ports: Vec<TcpPort>,
    /// Number of routes.
    pub routes: u64,
    /// Number of certificates.
    pub certificates: u64,
    /// Open client connections.
    pub connections: u64,
    /// Requests that wait for an instance.
    pub held: u64,
    /// Requests that were answered without a route: unknown hosts, and malformed ones.
    #[serde(default)]
    pub unrouted: u64,
    /// Instances that are left out for a moment because they refused a connection.
    pub ejected: Vec<Ejected>,
    /// Lines that the access log had to drop.
    pub log_lines_dropped: u64,
    /// What went wrong at start and was worked around, such as a corrupt snapshot.
    pub warnings: Vec<String>,
}

/// Addresses that the edge listens on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenAddresses {
    /// Plain HTTP.
    pub http: Vec<SocketAddr>,
    /// HTTPS.
    pub https: Vec<SocketAddr>,
    /// Prometheus metrics over TCP.
    pub metrics: Option<SocketAddr>,
}

/// A TCP port that a route names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TcpPort {
    /// The port.
    pub port: u16,
    /// Why it isn't listened on, in words; `None` when it is.
    pub problem: Option<String>,
}

/// An instance that is left out for a moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ejected {
    /// Identity of the instance.
    pub upstream: String,
    /// Its address.
    pub address: String,
    /// Milliseconds until it is tried again.
    pub for_ms: u64,
}

/// Counters of every app since the process started.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Milliseconds since the process started; a smaller figure than before means the counters restarted.
    pub uptime_ms: u64,
    /// One entry an app that has routes.
    pub apps: Vec<AppUsage>,
}

/// Counters of one app since the process started.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppUsage {
    /// Name of the app, as its routes give it.
    pub app: String,
    /// Answered requests by class of status: 1xx, 2xx, 3xx, 4xx, 5xx.
    pub requests: [u64; 5],
    /// Requests whose client left before the answer.
    pub aborted: u64,
    /// Bytes of request bodies.
    pub bytes_in: u64,
    /// Bytes of response bodies.
    pub bytes_out: u64,
    /// Requests in flight.
    pub active: u64,
    /// Requests that wait for an instance.
    pub held: u64,
    /// Requests that had to wait for an instance.
    pub held_total: u64,
    /// Requests that were sent to a second instance or connection.
    pub retries: u64,
    /// Attempts at an instance that failed.
    pub upstream_errors: u64,
    /// Answers by time to the first byte: one count per bound of [`LATENCY_BUCKETS_MICROS`], then the rest.
    pub latency_buckets: Vec<u64>,
    /// Sum of the times to the first byte, in microseconds.
    pub latency_sum_micros: u64,
}

impl AppUsage {
    /// Returns how many requests were answered.
    pub fn answered(&self) -> u64 {
        self.requests.iter().sum()
    }
}

/// Says why the edge refused a change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// Machine-readable reason: `stale-generation`, `generation-gap`, `invalid-change`, `not-persisted`,
    /// `not-found`, `too-large`.
    pub code: String,
    /// The reason in words.
    pub detail: String,
    /// Generation that is served.
    pub generation: u64,
}
