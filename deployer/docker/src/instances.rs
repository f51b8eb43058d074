//! What the driver knows of each running instance beyond the engine: readiness, and how it last ended.
//!
//! Nothing here must survive the driver: labels, the engine's list and the next probe bring it all back.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use panda_deployer::runtime::{RuntimeEvent, WorkloadKey};
use panda_domain::ids::{InstanceId, PlacementId};
use panda_domain::instance::LastExit;
use tokio::sync::{broadcast, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::labels::Identity;

/// How many hints a slow listener may be behind before it is told to look at everything.
const EVENTS: usize = 1024;

/// What the probe of an instance found in its present run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Readiness {
    /// Whether it is ready now.
    pub(crate) ready: bool,
    /// When it first was in this run.
    pub(crate) ready_at: Option<Timestamp>,
    /// Whether at least one probe has ended.
    pub(crate) probed: bool,
    /// What the last probe said, for people.
    pub(crate) said: Option<String>,
}

#[derive(Debug)]
struct Entry {
    identity: Identity,
    container: String,
    /// The start that this run is known by, the engine's text.
    started: String,
    readiness: Readiness,
    draining: bool,
    noted: Instant,
    probe: CancellationToken,
}

/// A run of an instance that wants a probe.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    pub(crate) identity: Identity,
    pub(crate) container: String,
    pub(crate) started: String,
    pub(crate) cancel: CancellationToken,
}

/// All running instances of this installation.
#[derive(Debug, Clone)]
pub(crate) struct Instances {
    entries: Arc<Mutex<HashMap<InstanceId, Entry>>>,
    exits: Arc<Mutex<HashMap<InstanceId, LastExit>>>,
    /// Moves whenever the answer of [`Instances::upstreams`] may have.
    mark: Arc<AtomicU64>,
    events: broadcast::Sender<RuntimeEvent>,
    probed: Arc<watch::Sender<u64>>,
    cancel: CancellationToken,
}

impl Instances {
    /// Makes an empty registry whose probes end with `cancel`.
    pub(crate) fn new(cancel: CancellationToken) -> Self {
        Self {
            entries: Arc::default(),
            exits: Arc::default(),
            mark: Arc::default(),
            events: broadcast::Sender::new(EVENTS),
            probed: Arc::new(watch::Sender::new(0)),
            cancel,
        }
    }

    /// Listens to hints.
    pub(crate) fn listen(&self) -> broadcast::Receiver<RuntimeEvent> {
        self.events.subscribe()
    }

    /// Hints that something changed.
    pub(crate) fn hint(&self, placement: Option<PlacementId>) {
        // Nobody listening is fine: a hint carries no truth.
        let _ = self.events.send(RuntimeEvent { placement });
    }

    /// Notes a run; returns it if it is new and wants a probe.
    pub(crate) fn started(&self, identity: &Identity, container: &str, started: &str) -> Option<Run> {
        let mut entries = self.entries();
        if let Some(known) = entries.get(&identity.instance) {
            if known.container == container && known.started == started {
                return None;
            }
            known.probe.cancel();
        }
        let probe = self.cancel.child_token();
        let draining = entries.get(&identity.instance).is_some_and(|e| e.draining);
        entries.insert(
            identity.instance.clone(),
            Entry {
                identity: identity.clone(),
                container: container.to_owned(),
                started: started.to_owned(),
                readiness: Readiness::default(),
                draining,
                noted: Instant::now(),
                probe: probe.clone(),
            },
        );
        drop(entries);
        self.move_mark();
        self.hint(Some(identity.key.placement.clone()));
        Some(Run {
            identity: identity.clone(),
            container: container.to_owned(),
            started: started.to_owned(),
            cancel: probe,
        })
    }

    /// Notes that an instance's process ended, or that its container is gone.
    pub(crate) fn ended(&self, instance: &InstanceId, placement: Option<PlacementId>) {
        if let Some(entry) = self.entries().remove(instance) {
            entry.probe.cancel();
        }
        self.move_mark();
        self.hint(placement);
    }

    /// Forgets every instance that isn't in `alive`, a list that was asked for at `asked`: what started later isn't in it.
    pub(crate) fn retain(&self, alive: &[InstanceId], asked: Instant) {
        self.entries().retain(|id, entry| {
            let keep = entry.noted >= asked || alive.contains(id);
            if !keep {
                entry.probe.cancel();
            }
            keep
        });
        self.move_mark();
    }

    /// Takes an instance out of routes and discovery's favour.
    pub(crate) fn drain(&self, instance: &InstanceId) {
        let placement = self.entries().get_mut(instance).map(|entry| {
            entry.draining = true;
            entry.identity.key.placement.clone()
        });
        self.move_mark();
        self.hint(placement);
    }

    /// Notes how an instance ended.
    pub(crate) fn exited(&self, instance: &InstanceId, exit: LastExit) {
        self.exits.lock().unwrap_or_else(PoisonError::into_inner).insert(instance.clone(), exit);
    }

    /// Notes that the kernel killed it for its memory, just before or after its end was noted.
    pub(crate) fn out_of_memory(&self, instance: &InstanceId, at: Option<Timestamp>) {
        let mut exits = self.exits.lock().unwrap_or_else(PoisonError::into_inner);
        exits.entry(instance.clone()).or_insert(LastExit { code: 137, oom: true, at }).oom = true;
    }

    /// Returns how it last ended, as far as was seen.
    pub(crate) fn last_exit(&self, instance: &InstanceId) -> Option<LastExit> {
        self.exits.lock().unwrap_or_else(PoisonError::into_inner).get(instance).cloned()
    }

    /// Forgets how an instance ended, when it is gone for good.
    pub(crate) fn forget(&self, instance: &InstanceId) {
        self.exits.lock().unwrap_or_else(PoisonError::into_inner).remove(instance);
    }

    /// Returns what the probe found.
    pub(crate) fn readiness(&self, instance: &InstanceId) -> Readiness {
        self.entries().get(instance).map(|entry| entry.readiness.clone()).unwrap_or_default()
    }

    /// Notes what a probe found, unless the run is over; a change is hinted at once.
    pub(crate) fn found(&self, run: &Run, readiness: &Readiness) {
        let mut entries = self.entries();
        let Some(entry) = entries.get_mut(&run.identity.instance).filter(|e| e.started == run.started) else {
            return;
        };
        let turned = entry.readiness.ready != readiness.ready;
        let first = !entry.readiness.probed;
        entry.readiness = readiness.clone();
        drop(entries);
        if turned {
            self.move_mark();
            self.hint(Some(run.identity.key.placement.clone()));
        }
        if first {
            self.probed.send_modify(|n| *n += 1);
        }
    }

    /// Waits until every instance was probed once, so that a driver that was just started doesn't call ready ones starting.
    pub(crate) async fn all_probed(&self) {
        let mut probed = self.probed.subscribe();
        let done = |_: &u64| self.entries().values().all(|e| e.readiness.probed);
        // The sender lives as long as `self`, so waiting can't fail.
        let _ = probed.wait_for(done).await;
    }

    /// Returns a mark that moves whenever [`Instances::upstreams`] may answer something else.
    pub(crate) fn mark(&self) -> u64 {
        self.mark.load(Ordering::Acquire)
    }

    fn move_mark(&self) {
        self.mark.fetch_add(1, Ordering::AcqRel);
    }

    /// Returns the addresses of the instances that take requests now, by workload: id and `ip:port`, by age.
    pub(crate) fn upstreams(&self) -> HashMap<WorkloadKey, Vec<(InstanceId, String)>> {
        self.ready(Identity::endpoint)
    }

    /// Returns the addresses at another port of the instances that take connections now, workers too.
    pub(crate) fn at_port(&self, key: &WorkloadKey, port: u16) -> Vec<(InstanceId, String)> {
        let of_workload = |identity: &Identity| (identity.key == *key).then(|| identity.at(port));
        self.ready(of_workload).remove(key).unwrap_or_default()
    }

    fn ready(
        &self,
        address: impl Fn(&Identity) -> Option<String>,
    ) -> HashMap<WorkloadKey, Vec<(InstanceId, String)>> {
        let mut found: HashMap<WorkloadKey, Vec<_>> = HashMap::new();
        for entry in self.entries().values().filter(|e| e.readiness.ready && !e.draining) {
            if let Some(address) = address(&entry.identity) {
                let of_workload = found.entry(entry.identity.key.clone()).or_default();
                of_workload.push((entry.identity.instance.clone(), address));
            }
        }
        for of_workload in found.values_mut() {
            of_workload.sort_unstable();
        }
        found
    }

    fn entries(&self) -> MutexGuard<'_, HashMap<InstanceId, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
