//! What was last seen of the cluster: every object of this installation, kept up to date by watching. Nothing asks for it again
//! and again; who wants to know whether it is still so asks [`View::fresh`] first.

mod complaints;
mod follow;
mod kind;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Namespace, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::Ingress;
use kube::ResourceExt;
use panda_deployer::runtime::{EnvironmentKey, RuntimeError, RuntimeEvent, RuntimeResult};
use panda_domain::ids::PlacementId;
use tokio::sync::{broadcast, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::cluster::Cluster;
use crate::config::KubernetesConfig;
use crate::labels;
use crate::objects::certificate::Certificate;
pub(crate) use complaints::{Complaint, Complaints};
pub(crate) use kind::{Change, Kind};

/// How many hints a slow listener may be behind before it is told to look at everything.
const HINTS: usize = 1024;

/// Everything that is watched; cheap to clone.
#[derive(Clone)]
pub(crate) struct View {
    pub(crate) namespaces: Kind<Namespace>,
    pub(crate) deployments: Kind<Deployment>,
    pub(crate) autoscalers: Kind<HorizontalPodAutoscaler>,
    pub(crate) pods: Kind<Pod>,
    pub(crate) jobs: Kind<Job>,
    pub(crate) services: Kind<Service>,
    pub(crate) ingresses: Kind<Ingress>,
    pub(crate) slices: Kind<EndpointSlice>,
    /// cert-manager's, where an issuer is set: its kinds may not be there otherwise.
    pub(crate) certificates: Option<Kind<Certificate>>,
    pub(crate) complaints: Complaints,
    pub(crate) signals: Signals,
}

/// How the view tells that it changed; cheap to clone.
#[derive(Clone)]
pub(crate) struct Signals {
    hints: broadcast::Sender<RuntimeEvent>,
    /// Counts changes of any kind, for those who wait.
    changes: Arc<watch::Sender<u64>>,
    /// Moves whenever what is routed, and where to, may have changed.
    routes: Arc<AtomicU64>,
}

impl Signals {
    /// Listens to hints.
    pub(crate) fn listen(&self) -> broadcast::Receiver<RuntimeEvent> {
        self.hints.subscribe()
    }

    /// Hints that something changed.
    pub(crate) fn hint(&self, placement: Option<PlacementId>) {
        // Nobody listening is fine: a hint carries no truth.
        let _ = self.hints.send(RuntimeEvent { placement });
    }

    /// Returns a mark that moves whenever what is routed may have changed.
    pub(crate) fn routes_mark(&self) -> u64 {
        self.routes.load(Ordering::Acquire)
    }

    fn changed(&self) {
        self.changes.send_modify(|n| *n += 1);
    }

    /// Moves the mark of the routes if what matters to them became another.
    fn route_moved<K, T: PartialEq>(&self, change: &Change<K>, matters: impl Fn(&K) -> T) {
        let of = |object: &Option<Arc<K>>| object.as_deref().map(&matters);
        if of(&change.before) != of(&change.after) {
            self.routes.fetch_add(1, Ordering::AcqRel);
        }
    }
}

impl View {
    /// Makes a view that nothing was seen of yet.
    fn new(certificates: bool) -> Self {
        let signals = Signals {
            hints: broadcast::Sender::new(HINTS),
            changes: Arc::new(watch::Sender::new(0)),
            routes: Arc::default(),
        };
        Self {
            namespaces: Kind::new("namespaces"),
            deployments: Kind::new("deployments"),
            autoscalers: Kind::new("autoscalers"),
            pods: Kind::new("pods"),
            jobs: Kind::new("jobs"),
            services: Kind::new("services"),
            ingresses: Kind::new("ingresses"),
            slices: Kind::new("endpoints"),
            certificates: certificates.then(|| Kind::new("certificates")),
            complaints: Complaints::default(),
            signals,
        }
    }

    /// Starts watching and waits for the first full look, at most as long as that may take.
    pub(crate) async fn open(
        cluster: &Cluster,
        config: &KubernetesConfig,
        tasks: &TaskTracker,
        cancel: &CancellationToken,
    ) -> RuntimeResult<Self> {
        let view = Self::new(config.issuer.is_some());
        follow::start(&view, cluster, &config.installation, tasks, cancel);
        let synced = view.until(config.sync_timeout, || view.fresh().is_ok()).await;
        if synced { Ok(view) } else { view.fresh().map(|()| view.clone()) }
    }

    /// Fails while anything is watched whose state now isn't certain.
    pub(crate) fn fresh(&self) -> RuntimeResult<()> {
        let broken = [
            self.namespaces.broken(),
            self.deployments.broken(),
            self.autoscalers.broken(),
            self.pods.broken(),
            self.jobs.broken(),
            self.services.broken(),
            self.ingresses.broken(),
            self.slices.broken(),
        ];
        match broken.into_iter().flatten().next() {
            None => Ok(()),
            Some(why) => Err(RuntimeError::Unavailable {
                doing: "look at the cluster".to_owned(),
                source: Some(why.into()),
            }),
        }
    }

    /// Waits until something is so, looking at every change; `false` when it isn't within `limit`.
    pub(crate) async fn until(&self, limit: Duration, mut is_so: impl FnMut() -> bool) -> bool {
        let mut changes = self.signals.changes.subscribe();
        let wait = async {
            // Seen as changed at first, so that it is looked at once before anything is waited for.
            changes.mark_changed();
            while changes.changed().await.is_ok() {
                if is_so() {
                    return true;
                }
            }
            false
        };
        tokio::time::timeout(limit, wait).await.unwrap_or(false)
    }

    /// Returns the environment's namespace, unless it is on its way out.
    pub(crate) fn namespace(&self, key: &EnvironmentKey) -> Option<String> {
        let found = self.namespaces.all().into_iter().find(|namespace| {
            namespace.metadata.deletion_timestamp.is_none()
                && labels::environment(namespace.labels()).as_ref() == Some(key)
        });
        found.map(|namespace| namespace.name_any())
    }

    /// Returns the namespaces that ever were the environment's and aren't gone yet.
    pub(crate) fn namespaces_of(&self, key: &EnvironmentKey) -> Vec<String> {
        let all = self.namespaces.all().into_iter();
        let of_key = all.filter(|namespace| labels::environment(namespace.labels()).as_ref() == Some(key));
        of_key.map(|namespace| namespace.name_any()).collect()
    }
}
