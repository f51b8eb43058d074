//! What the driver has to be told.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use panda_domain::clock::Clock;
use panda_domain::ids::IdSource;

/// How many processes a container may have unless another limit is set.
pub(crate) const PIDS_LIMIT: i64 = 512;

/// Settings of the Docker driver.
#[derive(Debug, Clone)]
pub struct DockerConfig {
    /// Path of the engine's unix socket, `/var/run/docker.sock` for most.
    pub socket: PathBuf,
    /// Names this installation in labels, so that two on one engine don't touch each other's containers.
    pub installation: String,
    /// More labels for everything that is created, for those who look at the engine with other tools.
    pub labels: BTreeMap<String, String>,
    /// Folder for what labels can't hold: released addresses, drains, the edge's generation.
    pub state_dir: PathBuf,
    /// Addresses that environments get, such as `10.213.0.0/16`.
    pub subnet_pool: String,
    /// Bits of each environment's network, 24 unless set.
    pub subnet_prefix: u8,
    /// The edge's control socket; `None` when nothing is routed.
    pub edge_socket: Option<PathBuf>,
    /// The most processes and threads of one instance.
    pub pids_limit: i64,
    /// How long one ordinary call to the engine may take.
    pub call_timeout: Duration,
    /// How long pulling one image may take.
    pub pull_timeout: Duration,
    /// Where ids of instances come from.
    pub ids: IdSource,
    /// Where the time comes from.
    pub clock: Clock,
}

impl DockerConfig {
    /// Returns the usual settings for an installation that keeps its state in `state_dir`.
    pub fn new(installation: impl Into<String>, state_dir: impl Into<PathBuf>) -> Self {
        let clock = Clock::system();
        Self {
            socket: PathBuf::from("/var/run/docker.sock"),
            installation: installation.into(),
            labels: BTreeMap::new(),
            state_dir: state_dir.into(),
            subnet_pool: "10.213.0.0/16".to_owned(),
            subnet_prefix: 24,
            edge_socket: None,
            pids_limit: PIDS_LIMIT,
            call_timeout: Duration::from_mins(1),
            pull_timeout: Duration::from_mins(15),
            ids: IdSource::random(clock.clone()),
            clock,
        }
    }
}
