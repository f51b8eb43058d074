//! The driver as one object.

mod seam;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use panda_deployer::runtime::{RuntimeError, RuntimeResult, Turns};
use panda_domain::clock::Clock;
use panda_domain::ids::IdSource;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::addresses::{Addresses, Held};
use crate::config::DockerConfig;
use crate::create::Host;
use crate::drain::Drains;
use crate::engine::Engine;
use crate::images::Pulls;
use crate::instances::Instances;
use crate::labels::{self, Identity};
use crate::pulled::Pulled;
use crate::routes::EdgeLink;
use crate::state_file::{Kept, StateFile};
use crate::usage::CpuSamples;
use crate::{environments, events, probe};

/// How long a new driver waits for the first probes of what already runs.
const FIRST_PROBES: Duration = Duration::from_secs(3);

/// What all parts of the driver share; cheap to clone.
#[derive(Clone)]
pub(crate) struct Driver {
    pub(crate) engine: Engine,
    pub(crate) host: Arc<Host>,
    pub(crate) addresses: Addresses,
    pub(crate) instances: Instances,
    pub(crate) drains: Kept<Drains>,
    pub(crate) pulls: Pulls,
    pub(crate) pulled: Kept<Pulled>,
    pub(crate) turns: Turns,
    /// One at a time makes or removes an environment's network.
    pub(crate) networks: Arc<tokio::sync::Mutex<()>>,
    pub(crate) cpu: CpuSamples,
    pub(crate) edge: Option<EdgeLink>,
    pub(crate) edge_socket: Option<PathBuf>,
    pub(crate) ids: IdSource,
    pub(crate) clock: Clock,
    pub(crate) pull_timeout: Duration,
    pub(crate) tasks: TaskTracker,
    pub(crate) cancel: CancellationToken,
}

impl Driver {
    /// Starts the probe of a run unless it has one.
    pub(crate) fn probe(&self, identity: &Identity, container: &str, started: &str) {
        if let Some(run) = self.instances.started(identity, container, started) {
            let watching = probe::watch(run, self.instances.clone(), self.engine.clone(), self.clock.clone());
            self.tasks.spawn(watching);
        }
    }
}

/// The Docker runtime: implements every trait of the seam. Dropping it ends its probes; the containers run on.
pub struct DockerRuntime {
    driver: Driver,
    _cancel: DropGuard,
}

impl DockerRuntime {
    /// Connects to the engine and takes over what runs, by its labels. Nothing is started, stopped or changed.
    pub async fn connect(config: DockerConfig) -> RuntimeResult<Self> {
        let engine = Engine::connect(&config.socket, config.call_timeout).await?;
        let cores = engine.info().await?.ncpu.and_then(|n| u32::try_from(n).ok()).unwrap_or(1);
        let host = Host {
            installation: config.installation.clone(),
            labels: config.labels.clone(),
            pids_limit: config.pids_limit,
            cores,
            init: engine.has_init,
        };
        let networks = environments::ours(&engine, &host.installation).await?;
        let held = held(&engine, &host.installation).await?;
        let addresses = Addresses::open(&config, networks, held).await?;
        let drains = StateFile::new(&config.state_dir, "drains.json");
        let pulled = StateFile::new(&config.state_dir, "pulled-images.json");
        let kept = tokio::task::spawn_blocking(move || Ok((Kept::open(drains)?, Kept::open(pulled)?)));
        let (drains, pulled) = kept.await.map_err(|error| RuntimeError::Internal {
            doing: "read the drains and the pulled images".to_owned(),
            source: Box::new(error),
        })??;
        let (cancel, tasks) = (CancellationToken::new(), TaskTracker::new());
        let edge = config.edge_socket.clone().map(|socket| {
            let (link, run) =
                EdgeLink::open(socket, StateFile::new(&config.state_dir, "edge-generation.json"))?;
            let cancelled = cancel.clone().cancelled_owned();
            tasks.spawn(async move {
                tokio::select! {
                    () = cancelled => {}
                    () = run => {}
                }
            });
            Ok::<_, RuntimeError>(link)
        });
        let edge = edge.transpose()?;
        let driver = Driver {
            engine,
            host: Arc::new(host),
            addresses,
            instances: Instances::new(cancel.child_token()),
            drains,
            pulls: Pulls::default(),
            pulled,
            turns: Turns::default(),
            networks: Arc::default(),
            cpu: CpuSamples::default(),
            edge,
            edge_socket: config.edge_socket,
            ids: config.ids,
            clock: config.clock,
            pull_timeout: config.pull_timeout,
            tasks,
            cancel: cancel.clone(),
        };
        let runtime = Self { driver, _cancel: cancel.drop_guard() };
        runtime.take_over().await?;
        Ok(runtime)
    }

    async fn take_over(&self) -> RuntimeResult<()> {
        let driver = &self.driver;
        driver.adopt().await?;
        driver.resume_drains();
        driver.tasks.spawn(events::follow(driver.clone(), driver.cancel.clone()));
        // An instance that hangs must not keep the server from starting: after a while it counts as not ready.
        let _ = tokio::time::timeout(FIRST_PROBES, driver.instances.all_probed()).await;
        Ok(())
    }

    /// Ends probes, drains' clocks and pulls, and waits for them. Containers run on.
    pub async fn shutdown(&self) {
        self.driver.cancel.cancel();
        self.driver.tasks.close();
        self.driver.tasks.wait().await;
    }
}

/// Returns the addresses that our containers hold, whatever they are for.
fn held<'a>(engine: &'a Engine, installation: &'a str) -> BoxFuture<'a, RuntimeResult<Vec<Held>>> {
    Box::pin(async move {
        let filters = std::collections::HashMap::from([(
            "label".to_owned(),
            vec![format!("{}={installation}", labels::INSTALLATION)],
        )]);
        let options = bollard::query_parameters::ListContainersOptions {
            all: true,
            filters: Some(filters),
            ..Default::default()
        };
        let listed = engine.call("list containers", engine.docker.list_containers(Some(options))).await?;
        let held = listed.into_iter().filter_map(|summary| {
            let labels = summary.labels?;
            let owner = labels.get(labels::INSTANCE).or_else(|| labels.get(labels::TASK))?.clone();
            let address = labels.get(labels::ADDRESS)?.parse().ok()?;
            Some(Held { owner, address })
        });
        Ok(held.collect())
    })
}
