//! The driver as one object.

mod seam;

use std::sync::Arc;

use panda_deployer::runtime::{RuntimeResult, Turns};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::cluster::Cluster;
use crate::config::KubernetesConfig;
use crate::images::Images;
use crate::labels::Owner;
use crate::listening::Listening;
use crate::routes::Routed;
use crate::usage::Figures;
use crate::view::View;

/// What all parts of the driver share; cheap to clone.
#[derive(Clone)]
pub(crate) struct Driver {
    pub(crate) cluster: Cluster,
    pub(crate) view: View,
    pub(crate) owner: Arc<Owner>,
    pub(crate) config: Arc<KubernetesConfig>,
    pub(crate) images: Images,
    pub(crate) listening: Listening,
    pub(crate) figures: Figures,
    pub(crate) routed: Routed,
    pub(crate) turns: Turns,
    /// One at a time makes or removes an environment.
    pub(crate) environments: Arc<tokio::sync::Mutex<()>>,
    pub(crate) tasks: TaskTracker,
    pub(crate) cancel: CancellationToken,
}

/// The Kubernetes runtime: implements every trait of the seam. Dropping it ends its watching; the cluster goes on.
pub struct KubernetesRuntime {
    driver: Driver,
    _cancel: DropGuard,
}

impl KubernetesRuntime {
    /// Connects to the cluster and takes over what runs, by its labels. Nothing is created or changed.
    pub async fn connect(config: KubernetesConfig) -> RuntimeResult<Self> {
        let cluster = Cluster::connect(&config).await?;
        let (tasks, cancel) = (TaskTracker::new(), CancellationToken::new());
        let guard = cancel.clone().drop_guard();
        let view = View::open(&cluster, &config, &tasks, &cancel).await?;
        let owner = Owner { installation: config.installation.clone(), labels: config.labels.clone() };
        let driver = Driver {
            images: Images::new(&config),
            cluster,
            view,
            owner: Arc::new(owner),
            config: Arc::new(config),
            listening: Listening::default(),
            figures: Figures::default(),
            routed: Routed::default(),
            turns: Turns::default(),
            environments: Arc::default(),
            tasks,
            cancel,
        };
        Ok(Self { driver, _cancel: guard })
    }

    /// Ends watching and what is under way, and waits for it. The cluster goes on.
    pub async fn shutdown(&self) {
        self.driver.cancel.cancel();
        self.driver.tasks.close();
        self.driver.tasks.wait().await;
    }
}

impl Driver {
    /// Runs work of its own until it is done or the driver ends.
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let cancel = self.cancel.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                () = cancel.cancelled() => {}
                () = work => {}
            }
        });
    }
}
