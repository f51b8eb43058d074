//! Watching: one owned task a kind. A watch that ends well goes on where it was; after an error everything is listed anew, so
//! that nothing is taken for certain that wasn't just seen.

use std::fmt::Debug;
use std::pin::pin;
use std::time::Duration;

use futures_util::StreamExt;
use k8s_openapi::api::core::v1::{Event as ClusterEvent, Pod};
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Resource, ResourceExt};
use panda_domain::ids::PlacementId;
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Change, Kind, Signals, View};
use crate::cluster::Cluster;
use crate::{labels, pods};

/// The pause after an error, at first and at most.
const PAUSE: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));
/// How long one watch stays open, seconds. A connection that died silently is found that much later.
const WATCH_S: u32 = 60;

/// Starts watching everything.
pub(super) fn start(
    view: &View,
    cluster: &Cluster,
    installation: &str,
    tasks: &TaskTracker,
    cancel: &CancellationToken,
) {
    let ours = watcher::Config::default()
        .timeout(WATCH_S)
        .labels(&format!("{}={installation}", labels::INSTALLATION));
    let spawn = Spawn { cluster, signals: &view.signals, config: &ours, tasks, cancel };
    let [deployments, pods, services, ingresses, slices] = [(); 5].map(|()| view.signals.clone());
    let complaints = view.complaints.clone();
    let soon = Soon { signals: view.signals.clone(), tasks: tasks.clone(), cancel: cancel.clone() };
    spawn.kind(view.namespaces.clone(), |_| {});
    spawn.kind(view.jobs.clone(), |_| {});
    spawn.kind(view.autoscalers.clone(), |_| {});
    spawn.kind(view.deployments.clone(), move |change| {
        deployments.route_moved(change, |deployment| deployment.metadata.uid.clone());
    });
    spawn.kind(view.pods.clone(), move |change| {
        pods.route_moved(change, takes_requests);
        soon.worker_started(change);
        if let (Some(gone), None) = (&change.before, &change.after) {
            complaints.forget(gone.uid().unwrap_or_default().as_str());
        }
    });
    spawn.kind(view.services.clone(), move |change| {
        services.route_moved(change, |s| (s.spec.clone(), s.status.clone()));
    });
    spawn.kind(view.ingresses.clone(), move |change| ingresses.route_moved(change, |i| i.spec.clone()));
    spawn.kind(view.slices.clone(), move |change| slices.route_moved(change, |s| s.endpoints.clone()));
    if let Some(certificates) = &view.certificates {
        spawn.kind(certificates.clone(), |_| {});
    }
    tasks.spawn(until_cancelled(cancel.clone(), complain(view.clone(), cluster.all())));
}

struct Spawn<'a> {
    cluster: &'a Cluster,
    signals: &'a Signals,
    config: &'a watcher::Config,
    tasks: &'a TaskTracker,
    cancel: &'a CancellationToken,
}

impl Spawn<'_> {
    fn kind<K>(&self, kind: Kind<K>, look: impl Fn(&Change<K>) + Send + 'static)
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    {
        let (api, config, signals) = (self.cluster.all::<K>(), self.config.clone(), self.signals.clone());
        let took = move |change: &Change<K>| {
            look(change);
            let placement = change.object().and_then(|object| labels::placement(object.labels()));
            signals.changed();
            signals.hint(placement);
        };
        self.tasks.spawn(until_cancelled(self.cancel.clone(), follow(api, config, kind, took)));
    }
}

/// Hints at what becomes so by time alone.
struct Soon {
    signals: Signals,
    tasks: TaskTracker,
    cancel: CancellationToken,
}

impl Soon {
    /// A process without a port is ready once it has run for a while, which no event tells.
    fn worker_started(&self, change: &Change<Pod>) {
        let Some(pod) = &change.after else { return };
        let runs_since = |pod: &Pod| pods::running_since(pod).filter(|_| pods::port(pod).is_none());
        let started = runs_since(pod);
        if started.is_none() || change.before.as_deref().and_then(runs_since) == started {
            return;
        }
        let (signals, placement) = (self.signals.clone(), labels::placement(pod.labels()));
        let wait = pods::WORKER_READY.unsigned_abs();
        self.tasks.spawn(until_cancelled(self.cancel.clone(), async move {
            tokio::time::sleep(wait).await;
            signals.changed();
            signals.hint(placement);
        }));
    }
}

async fn until_cancelled(cancel: CancellationToken, work: impl Future<Output = ()>) {
    tokio::select! {
        () = cancel.cancelled() => {}
        () = work => {}
    }
}

/// Keeps a kind up to date for ever.
async fn follow<K>(api: Api<K>, config: watcher::Config, kind: Kind<K>, took: impl Fn(&Change<K>))
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    let mut pause = PAUSE.0;
    loop {
        let mut events = pin!(watcher(api.clone(), config.clone()));
        while let Some(event) = events.next().await {
            match event {
                Ok(event) => {
                    if take(&kind, event.modify(|object| object.managed_fields_mut().clear()), &took) {
                        pause = PAUSE.0;
                    }
                }
                Err(error) => {
                    tracing::debug!(%error, "watching broke off");
                    kind.broke(&error.to_string());
                    break;
                }
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE.1);
    }
}

/// Takes one event in; returns whether a listing was completed by it.
fn take<K>(kind: &Kind<K>, event: Event<K>, took: &impl Fn(&Change<K>)) -> bool
where
    K: Resource<DynamicType = ()> + Clone,
{
    match event {
        Event::Init => kind.begins(),
        Event::InitApply(object) => kind.listed(object),
        Event::InitDone => {
            let changes = kind.ends();
            changes.iter().for_each(took);
            // Also when nothing changed: who waits for the first look is told.
            took(&Change { before: None, after: None });
            return true;
        }
        Event::Apply(object) => {
            if let Some(change) = kind.applied(object) {
                took(&change);
            }
        }
        Event::Delete(object) => {
            // What we removed ourselves is no news.
            if let Some(change) = kind.deleted(&object) {
                took(&change);
            }
        }
    }
    false
}

/// Routes lead to pods that are ready and stay: returns the address of such a one.
fn takes_requests(pod: &Pod) -> Option<String> {
    let ready = pods::is_ready(pod) && pod.metadata.deletion_timestamp.is_none();
    pod.status.as_ref().and_then(|status| status.pod_ip.clone()).filter(|_| ready)
}

/// Follows what nodes complain of. Events carry no labels, so that those of other pods come too and are left out here.
async fn complain(view: View, events: Api<ClusterEvent>) {
    let config = watcher::Config::default().timeout(WATCH_S).fields("involvedObject.kind=Pod,type=Warning");
    let mut pause = PAUSE.0;
    loop {
        let mut stream = pin!(watcher(events.clone(), config.clone()));
        while let Some(event) = stream.next().await {
            match event {
                Ok(Event::Apply(event) | Event::InitApply(event)) => note(&view, &event),
                Ok(Event::InitDone) => {
                    pause = PAUSE.0;
                    forget_strangers(&view);
                }
                Ok(Event::Init | Event::Delete(_)) => {}
                Err(error) => {
                    // Complaints explain; nothing is decided by them alone.
                    tracing::debug!(%error, "watching events broke off");
                    break;
                }
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE.1);
    }
}

fn note(view: &View, event: &ClusterEvent) {
    let namespace = event.involved_object.namespace.as_deref().unwrap_or_default();
    let known = view.namespaces.broken().is_some() || view.namespaces.get("", namespace).is_some();
    if known && view.complaints.note(event) {
        view.signals.changed();
        view.signals.hint(placement_of(view, event));
    }
}

/// Complaints that came before the namespaces were known may be about anybody's pods.
fn forget_strangers(view: &View) {
    if view.pods.broken().is_none() {
        let ours: std::collections::HashSet<String> =
            view.pods.all().iter().filter_map(|pod| pod.uid()).collect();
        view.complaints.retain(|uid| ours.contains(uid));
    }
}

fn placement_of(view: &View, event: &ClusterEvent) -> Option<PlacementId> {
    let about = &event.involved_object;
    let pod = view.pods.get(about.namespace.as_deref()?, about.name.as_deref()?)?;
    labels::placement(pod.labels())
}
