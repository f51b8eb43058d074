//! Environments and workloads: what should run, and what does.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use jiff::Timestamp;
use panda_domain::autoscale::Autoscale;
use panda_domain::formation::Size;
use panda_domain::ids::{EnvironmentId, InstanceId, PlacementId, ReleaseId, TeamId};
use panda_domain::image::Digest;
use panda_domain::instance::{InstanceState, LastExit};
use panda_domain::names::{AppName, EnvironmentName, ProcessName};
use panda_domain::release::{HealthCheck, Shutdown};
use panda_domain::secret::Secret;
use panda_registry_token::RegistryKey;
use serde::{Deserialize, Serialize};

use super::RuntimeResult;
use super::tasks::TaskKey;

/// Names an environment at the runtime: a network, or a namespace.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EnvironmentKey {
    /// Who owns it.
    pub team: TeamId,
    /// Its id.
    pub environment: EnvironmentId,
}

/// An environment as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvironmentSpec {
    /// Its key.
    pub key: EnvironmentKey,
    /// For names that people read.
    pub name: EnvironmentName,
}

/// Names one process of one release of an app. Two releases of a process are two workloads, so that the old one serves
/// until the new one is ready.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct WorkloadKey {
    /// Where.
    pub environment: EnvironmentKey,
    /// The app in its environment.
    pub placement: PlacementId,
    /// The process.
    pub process: ProcessName,
    /// Which release, and which attempt at it: `restart` makes a new attempt of the same release.
    pub release: ReleaseId,
    /// Counts restarts of the same release, from 0.
    pub revision: u32,
}

/// A variable set whose values never print.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct SecretEnv(pub BTreeMap<String, Secret>);

impl fmt::Debug for SecretEnv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// A file mounted read-only into every instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSpec {
    /// Absolute path in the container.
    pub path: String,
    /// Its content, which never prints.
    pub content: Secret,
    /// Whether it holds a secret. Other files are text of `panda.toml`, which people who look at the runtime may read.
    pub secret: bool,
}

/// An image by digest, as the runtime pulls it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PullImage {
    /// `host/repository` without tag and digest.
    pub repository: String,
    /// What runs.
    pub digest: Digest,
    /// The key of the platform's own registry, if the image lies there: whoever pulls makes a token when it needs one.
    pub login: Option<RegistryKey>,
}

impl PullImage {
    /// Returns the host and the repository's path in that registry.
    pub fn host_and_path(&self) -> (&str, &str) {
        self.repository.split_once('/').unwrap_or(("", &self.repository))
    }

    /// Returns `repository@digest`.
    pub fn reference(&self) -> String {
        format!("{}@{}", self.repository, self.digest)
    }
}

/// Who a container's process runs as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageUser {
    /// Built by our detectors: uid 10001, no capability at all.
    Built,
    /// Somebody else's image: its own user; root keeps eight capabilities and is marked.
    Foreign,
    /// Somebody else's image, in a team that refuses root.
    ForeignRestricted,
}

/// One process of one release as it should run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkloadSpec {
    /// Its key.
    pub key: WorkloadKey,
    /// Names that the containers carry for people and for discovery.
    pub app: AppName,
    /// Environment name, for `PANDA_ENVIRONMENT`.
    pub environment_name: EnvironmentName,
    /// The release's number.
    pub release_number: u32,
    /// The image.
    pub image: PullImage,
    /// Who it runs as.
    pub user: ImageUser,
    /// argv; `None` runs the image's own command.
    pub command: Option<Vec<String>>,
    /// Everything the process gets, `PORT` and `PANDA_*` included; only `PANDA_INSTANCE` is added by the driver.
    pub env: SecretEnv,
    /// Files.
    pub files: Vec<FileSpec>,
    /// The port it listens on; `None` for a worker.
    pub port: Option<u16>,
    /// How it is found ready.
    pub health: HealthCheck,
    /// How it is stopped.
    pub shutdown: Shutdown,
    /// How many instances. Where there are bounds: with how many it starts.
    pub replicas: u32,
    /// Between which bounds the runtime changes the number by load. Only where it has the capability.
    pub autoscale: Option<Autoscale>,
    /// The size of each.
    pub size: Size,
    /// Whether other apps of the environment find these instances by the app's name (true for the release that serves).
    pub discoverable: bool,
}

/// How far a workload is from its spec.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Every object is as the spec says. Says nothing about readiness: [`Workloads::observe`] does.
    Converged,
    /// Something is still being done; call again.
    Working,
}

/// One instance as seen now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObservedInstance {
    /// Our id, from the container's label.
    pub id: InstanceId,
    /// What it does.
    pub state: InstanceState,
    /// Where requests reach it, `ip:port`, when it has a port and runs.
    pub address: Option<String>,
    /// When its container last started.
    pub started_at: Option<Timestamp>,
    /// When it first became ready in its present run.
    pub ready_at: Option<Timestamp>,
    /// How often it was restarted by itself.
    pub restarts: u32,
    /// How it last ended.
    pub last_exit: Option<LastExit>,
    /// What the probe said last, for people: `connection refused`, `GET /healthz gave 503`.
    pub probe: Option<String>,
    /// TCP ports it was found to listen on, with whether only on localhost; filled while it isn't ready.
    pub listening: Vec<(u16, bool)>,
    /// Why it can't start at all: image pull failed, refused by the engine; words for people.
    pub waiting: Option<String>,
    /// What keeps it from starting now, but may pass: no node has room, the image's registry is away; words for people.
    #[serde(default)]
    pub held_up: Option<String>,
    /// Whether its main process runs as root.
    pub runs_as_root: bool,
    /// Peak memory in bytes, where known.
    pub memory_peak_bytes: Option<u64>,
}

/// One workload as seen now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObservedWorkload {
    /// Its key, from labels.
    pub key: WorkloadKey,
    /// The release's number, from labels.
    pub release_number: u32,
    /// How many instances its autoscaler wants; `None` where none rules.
    #[serde(default)]
    pub wanted: Option<u32>,
    /// Its instances, oldest first.
    pub instances: Vec<ObservedInstance>,
}

impl ObservedWorkload {
    /// Returns how many instances are ready.
    pub fn ready(&self) -> usize {
        self.instances.iter().filter(|i| i.state == InstanceState::Ready).count()
    }
}

/// Something changed at the runtime. A hint to look; carries no truth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuntimeEvent {
    /// Whose, when the event tells.
    pub placement: Option<PlacementId>,
}

/// Environments and workloads.
#[async_trait]
pub trait Workloads: Send + Sync {
    /// Makes the environment be there. Twice is once.
    async fn ensure_environment(&self, spec: &EnvironmentSpec) -> RuntimeResult<()>;
    /// Removes an environment that has no workloads. Absent is fine.
    async fn remove_environment(&self, key: &EnvironmentKey) -> RuntimeResult<()>;
    /// Starts what is missing, stops what is too much (newest surplus last out of the routes is the caller's business: the
    /// caller shrinks only what no route names), restarts what died with backoff. Never waits for readiness. Between bounds the
    /// number that the autoscaler chose stays; outside of them it is brought to the nearer one.
    async fn ensure_workload(&self, spec: &WorkloadSpec) -> RuntimeResult<Progress>;
    /// Drains and removes all instances: out of discovery, the drain time, the signal, the grace, kill. Returns `Working`
    /// until the last one is gone. Absent is `Converged`. Volumes stay.
    async fn remove_workload(&self, key: &WorkloadKey, shutdown: &Shutdown) -> RuntimeResult<Progress>;
    /// Returns every workload of ours in the environment, orphans included.
    async fn observe(&self, key: &EnvironmentKey) -> RuntimeResult<Vec<ObservedWorkload>>;
    /// Returns everything that the runtime holds for this installation, and nothing of another one on the same engine.
    async fn inventory(&self) -> RuntimeResult<Inventory>;
    /// Pulls the image, so that a later start is quick. Done already is fine.
    async fn ensure_image(&self, image: &PullImage) -> RuntimeResult<()>;
    /// Removes images that this runtime pulled for this installation, that nothing runs, that aren't among `keep` and that
    /// nobody asked for since `unused_since`; a few at a time. Images that were there before stay, and so does every name
    /// that somebody else gave one. Returns how many names went.
    async fn remove_old_images(&self, keep: &HashSet<Digest>, unused_since: Timestamp) -> RuntimeResult<u64>;
    /// Returns the digest that a reference has now, its EXPOSEd ports, and its user; asks the registry, pulls if it must.
    async fn resolve_image(
        &self,
        reference: &str,
        login: Option<(&str, &Secret)>,
    ) -> RuntimeResult<ResolvedImage>;
    /// Streams hints until dropped; reconnects by itself and sends a hint after each reconnect.
    fn watch(&self) -> BoxStream<'static, RuntimeEvent>;
}

/// Everything that a runtime holds for an installation, whether or not anybody still wants it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inventory {
    /// Networks or namespaces.
    pub environments: BTreeSet<EnvironmentKey>,
    /// Workloads that have at least one instance.
    pub workloads: BTreeSet<WorkloadKey>,
    /// Tasks, ended ones too, and whose they are.
    pub tasks: BTreeMap<TaskKey, PlacementId>,
}

/// What an image reference turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedImage {
    /// Pins it.
    pub digest: Digest,
    /// TCP ports of `EXPOSE`.
    pub exposed: Vec<u16>,
    /// The image's `USER`, empty for root.
    pub user: String,
}

impl ResolvedImage {
    /// Returns the TCP ports among an image's `ExposedPorts` (`8080/tcp`, `53/udp`, `80`), sorted.
    pub fn tcp_ports<'p>(exposed: impl IntoIterator<Item = &'p String>) -> Vec<u16> {
        let ports = exposed.into_iter().filter_map(|port| match port.split_once('/') {
            Some((port, "tcp")) => port.parse().ok(),
            Some(_) => None,
            None => port.parse().ok(),
        });
        let mut ports: Vec<u16> = ports.collect();
        ports.sort_unstable();
        ports
    }
}
