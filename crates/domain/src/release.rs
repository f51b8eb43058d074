//! A Release: immutable and numbered, everything that is needed to run it again.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::image::Digest;
use crate::names::ProcessName;
use crate::port::TcpPort;

/// The frozen settings of a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseConfig {
    /// The processes, by name. `web` takes requests.
    pub processes: BTreeMap<ProcessName, ProcessSpec>,
    /// Runs once in the new image before any traffic moves; argv.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release_command: Option<Vec<String>>,
    /// Files mounted into every instance: path → content.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<String, FileContent>,
    /// Ports that the world reaches over plain TCP.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<TcpPort>,
    /// Behaviour of the routes.
    #[serde(default)]
    pub http: HttpConfig,
    /// How long the rollout may take, seconds.
    pub rollout_timeout_s: u32,
    /// How long the release command may take, seconds.
    pub release_timeout_s: u32,
    /// Whether a failure shortly after `live` goes back by itself.
    pub auto_rollback: bool,
}

/// One process of a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessSpec {
    /// What it runs as argv; `None` runs the image's own command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<Vec<String>>,
    /// The port it listens on; `None` for a worker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// How it is found ready.
    #[serde(default)]
    pub health: HealthCheck,
    /// Signal, drain and grace.
    #[serde(default)]
    pub shutdown: Shutdown,
}

/// How an instance is found ready, and hung. A process without a port is ready once it has run for two seconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthCheck {
    /// HTTP path; `None` means that an open TCP port is enough.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The lowest status that counts as healthy.
    pub ok_from: u16,
    /// The highest status that counts as healthy.
    pub ok_to: u16,
    /// Seconds between probes once ready.
    pub interval_s: u32,
    /// Seconds that one probe may take.
    pub timeout_s: u32,
    /// Seconds until the first success.
    pub startup_s: u32,
    /// Failures in a row that end readiness.
    pub failures: u32,
    /// Whether a failing probe also restarts the instance; needs a path.
    pub liveness: bool,
}

impl Default for HealthCheck {
    fn default() -> Self {
        Self {
            path: None,
            ok_from: 200,
            ok_to: 399,
            interval_s: 10,
            timeout_s: 5,
            startup_s: 120,
            failures: 3,
            liveness: false,
        }
    }
}

/// How an instance is stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shutdown {
    /// `SIGTERM` unless set.
    pub signal: String,
    /// Seconds out of the routes before the signal.
    pub drain_s: u32,
    /// Seconds between the signal and SIGKILL.
    pub grace_s: u32,
}

impl Default for Shutdown {
    fn default() -> Self {
        Self { signal: "SIGTERM".to_owned(), drain_s: 5, grace_s: 30 }
    }
}

/// What a mounted file holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileContent {
    /// This text.
    Text(String),
    /// The value of this secret or variable.
    Secret(String),
}

/// Behaviour of an app's routes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpConfig {
    /// Redirect plain HTTP.
    pub force_https: bool,
    /// The largest request body, bytes.
    pub body_limit_bytes: u64,
    /// Seconds until the first byte of the response.
    pub timeout_s: u32,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self { force_https: true, body_limit_bytes: 100 << 20, timeout_s: 60 }
    }
}

/// An image as a release keeps it: without a host, because push and pull hosts may differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseImage {
    /// Path in our registry, or a foreign repository with its host.
    pub repository: String,
    /// What runs.
    pub digest: Digest,
    /// Whether it lies in the platform's own registry.
    pub own_registry: bool,
    /// Whether our builder made it, so that it runs as uid 10001 with no capability.
    pub built_here: bool,
}

impl ReleaseConfig {
    /// Returns the port that requests go to, `None` when there is no `web` process.
    pub fn web_port(&self) -> Option<u16> {
        self.processes.get(&ProcessName::web()).and_then(|web| web.port)
    }
}
