//! What the fake holds, and how time changes it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use panda_domain::ids::{IdSource, InstanceId};
use panda_domain::image::Digest;
use panda_domain::instance::{InstanceState, LastExit};
use panda_domain::names::EnvironmentName;
use panda_domain::port::PortState;
use panda_domain::release::Shutdown;

use super::after;
use super::behaviour::{Behaviour, Ingress};
use super::command::Script;
use crate::runtime::{
    EnvironmentKey, Inventory, LogChunk, LogStream, ObservedInstance, ObservedRoutes, OrderedCertificate,
    ResolvedImage, RouteTable, RouteTarget, TaskKey, TaskSpec, TaskStatus, WorkloadKey, WorkloadSpec,
};

/// The longest wait between two starts.
const LONGEST_BACKOFF: Duration = Duration::from_mins(5);
/// More restarts than any test asks for; keeps a crash loop with a distant clock from taking for ever.
const MOST_RESTARTS: u32 = 100_000;

#[derive(Default)]
pub(super) struct State {
    pub(super) behaviours: HashMap<Digest, Behaviour>,
    pub(super) references: HashMap<String, ResolvedImage>,
    pub(super) unavailable: bool,
    pub(super) fails_at: Option<usize>,
    pub(super) refusal: Option<String>,
    pub(super) no_autoscale: bool,
    pub(super) calls: Vec<&'static str>,
    pub(super) environments: BTreeMap<EnvironmentKey, EnvironmentName>,
    pub(super) workloads: BTreeMap<WorkloadKey, Workload>,
    pub(super) tasks: BTreeMap<TaskKey, Task>,
    /// Images that were pulled, and when each was last asked for.
    pub(super) images: HashMap<Digest, Timestamp>,
    pub(super) table: RouteTable,
    /// What was routed when the table was last ensured.
    pub(super) routed: Option<ObservedRoutes>,
    pub(super) ingress: Ingress,
    /// The certificates that it orders by itself, if it does.
    pub(super) ordered: Option<Vec<OrderedCertificate>>,
    pub(super) removed_while_routed: Vec<WorkloadKey>,
    pub(super) logs: Vec<LogChunk>,
    settled: Timestamp,
    addresses: u32,
}

pub(super) struct Workload {
    pub(super) spec: WorkloadSpec,
    /// How many instances its autoscaler wants.
    pub(super) wanted: Option<u32>,
    pub(super) instances: Vec<Instance>,
}

pub(super) struct Instance {
    pub(super) id: InstanceId,
    address: u32,
    behaviour: Behaviour,
    started: Timestamp,
    restarts: u32,
    last_exit: Option<LastExit>,
    unready: bool,
    pub(super) drain_ends: Option<Timestamp>,
}

pub(super) struct Task {
    pub(super) spec: TaskSpec,
    script: Script,
    started: Timestamp,
    pub(super) ended: Option<TaskStatus>,
}

impl State {
    /// Brings everything up to `now`: crashes, restarts, drains and tasks that came to their end.
    pub(super) fn settle(&mut self, now: Timestamp) {
        self.settled = now;
        for workload in self.workloads.values_mut() {
            workload.instances.retain(|i| i.drain_ends.is_none_or(|ends| now < ends));
            for instance in &mut workload.instances {
                instance.settle(now);
            }
        }
        self.workloads.retain(|_, w| w.spec.replicas > 0 || !w.instances.is_empty());
        for task in self.tasks.values_mut() {
            task.settle(now);
        }
    }

    pub(super) fn add_instance(&mut self, key: &WorkloadKey, id: InstanceId, now: Timestamp) {
        self.addresses += 1;
        let address = self.addresses;
        let Some(workload) = self.workloads.get_mut(key) else { return };
        let digest = &workload.spec.image.digest;
        let behaviour = self.behaviours.get(digest).cloned().unwrap_or_default();
        for line in &behaviour.prints {
            self.logs.push(chunk(Some(&id), key.process.as_str(), line, LogStream::Out, now));
        }
        workload.instances.push(Instance {
            id,
            address,
            behaviour,
            started: now,
            restarts: 0,
            last_exit: None,
            unready: false,
            drain_ends: None,
        });
    }

    /// Drains what is too much, starts what is missing; tells whether anything drains.
    pub(super) fn resize(
        &mut self,
        key: &WorkloadKey,
        replicas: usize,
        ids: &IdSource,
        now: Timestamp,
    ) -> bool {
        let Some(workload) = self.workloads.get_mut(key) else { return false };
        let mut live = workload.observed(now);
        live.retain(|i| i.state != InstanceState::Draining);
        live.sort_by_key(|i| (i.state != InstanceState::Ready, i.id.clone()));
        let order: Vec<InstanceId> = live.into_iter().map(|i| i.id).collect();
        let surplus = order.get(replicas..).unwrap_or_default();
        let Workload { spec, instances, .. } = workload;
        for instance in instances.iter_mut().filter(|i| surplus.contains(&i.id)) {
            instance.drain(&spec.shutdown, spec.port, now);
        }
        let draining = instances.iter().any(|i| i.drain_ends.is_some());
        for _ in order.len()..replicas {
            self.add_instance(key, ids.next(), now);
        }
        draining
    }

    pub(super) fn crash(&mut self, id: &InstanceId, exit: LastExit, now: Timestamp) {
        if let Some(instance) = self.instance(id) {
            instance.restarts += 1;
            instance.started = after(now, backoff(instance.restarts));
            instance.last_exit = Some(exit);
        }
    }

    pub(super) fn set_unready(&mut self, id: &InstanceId, unready: bool) {
        if let Some(instance) = self.instance(id) {
            instance.unready = unready;
        }
    }

    pub(super) fn print(
        &mut self,
        id: &InstanceId,
        line: &str,
        stream: LogStream,
        now: Timestamp,
    ) -> Option<LogChunk> {
        let owner = |w: &&Workload| w.instances.iter().any(|i| i.id == *id);
        let process = self.workloads.values().find(owner)?.spec.key.process.to_string();
        let chunk = chunk(Some(id), &process, line, stream, now);
        self.logs.push(chunk.clone());
        Some(chunk)
    }

    pub(super) fn start_task(&mut self, spec: &TaskSpec, now: Timestamp) {
        let script = Script::read(&spec.command);
        for line in &script.prints {
            self.logs.push(chunk(None, "", line, LogStream::Out, now));
        }
        self.tasks.entry(spec.key.clone()).or_insert_with(|| Task {
            spec: spec.clone(),
            script,
            started: now,
            ended: None,
        });
    }

    pub(super) fn inventory(&self) -> Inventory {
        let running = self.workloads.iter().filter(|(_, w)| !w.instances.is_empty());
        Inventory {
            environments: self.environments.keys().cloned().collect(),
            workloads: running.map(|(key, _)| key.clone()).collect(),
            tasks: self.tasks.iter().map(|(key, t)| (key.clone(), t.spec.placement.clone())).collect(),
        }
    }

    pub(super) fn pulled(&mut self, image: &Digest) {
        self.images.insert(image.clone(), self.settled);
    }

    pub(super) fn remove_old_images(&mut self, keep: &HashSet<Digest>, unused_since: Timestamp) -> u64 {
        let before = self.images.len();
        let (workloads, tasks) = (&self.workloads, &self.tasks);
        self.images.retain(|image, used| {
            let runs = workloads.values().any(|w| w.spec.image.digest == *image)
                || tasks.values().any(|t| t.spec.image.digest == *image);
            runs || keep.contains(image) || *used >= unused_since
        });
        (before - self.images.len()) as u64
    }

    pub(super) fn task_lines(&self, key: &TaskKey) -> Vec<String> {
        self.tasks.get(key).map(|task| task.script.prints.clone()).unwrap_or_default()
    }

    pub(super) fn observed_routes(&self) -> ObservedRoutes {
        let upstreams = self.table.routes.iter().map(|route| {
            let addresses = match &route.target {
                RouteTarget::Platform(address) => vec![address.to_string()],
                RouteTarget::Workloads(keys) => keys.iter().flat_map(|key| self.ready(key)).collect(),
            };
            (route.id.clone(), addresses)
        });
        let ports = self.table.ports.iter().map(|port| (port.published, PortState::Open { host: None }));
        ObservedRoutes { upstreams: upstreams.collect(), ports: ports.collect() }
    }

    /// Tells whether the ingress sends requests to a workload.
    pub(super) fn is_routed(&self, key: &WorkloadKey) -> bool {
        let by_port = self.table.ports.iter().any(|port| port.target == *key);
        by_port
            || self.table.routes.iter().any(
                |route| matches!(&route.target, RouteTarget::Workloads(workloads) if workloads.contains(key)),
            )
    }

    fn ready(&self, key: &WorkloadKey) -> Vec<String> {
        let Some(workload) = self.workloads.get(key) else { return Vec::new() };
        let observed = workload.observed(self.settled);
        observed.into_iter().filter(|i| i.state == InstanceState::Ready).filter_map(|i| i.address).collect()
    }

    fn instance(&mut self, id: &InstanceId) -> Option<&mut Instance> {
        self.workloads.values_mut().flat_map(|w| &mut w.instances).find(|i| i.id == *id)
    }
}

impl Workload {
    pub(super) fn observed(&self, now: Timestamp) -> Vec<ObservedInstance> {
        self.instances.iter().map(|i| i.observe(&self.spec, now)).collect()
    }
}

impl Instance {
    pub(super) fn drain(&mut self, shutdown: &Shutdown, port: Option<u16>, now: Timestamp) {
        let drain = if port.is_some() { shutdown.drain_s } else { 0 };
        self.drain_ends.get_or_insert(after(now, Duration::from_secs(u64::from(drain))));
    }

    fn settle(&mut self, now: Timestamp) {
        let Some(exit) = self.behaviour.exit else { return };
        while self.restarts < MOST_RESTARTS {
            let died = after(self.started, exit.after);
            if now < died {
                return;
            }
            self.restarts += 1;
            self.last_exit = Some(LastExit { code: exit.code, oom: exit.oom, at: Some(died) });
            self.started = after(died, backoff(self.restarts));
        }
    }

    fn observe(&self, spec: &WorkloadSpec, now: Timestamp) -> ObservedInstance {
        let runs = self.started <= now;
        let ready_at = self.behaviour.ready_after.map(|delay| after(self.started, delay));
        let ready = runs && ready_at.is_some_and(|at| at <= now) && !self.unready;
        let oom = self.last_exit.as_ref().is_some_and(|exit| exit.oom);
        let state = match () {
            () if self.drain_ends.is_some() => InstanceState::Draining,
            () if ready => InstanceState::Ready,
            () if runs && self.unready => InstanceState::Unready,
            () if runs && self.restarts < 2 => InstanceState::Starting,
            () if oom => InstanceState::Oom,
            () => InstanceState::Crashing,
        };
        let address =
            spec.port.map(|port| format!("10.99.{}.{}:{port}", self.address >> 8, self.address & 255));
        ObservedInstance {
            id: self.id.clone(),
            state,
            address: address.filter(|_| runs),
            started_at: Some(self.started.min(now)),
            ready_at: ready_at.filter(|at| *at <= now && runs),
            restarts: self.restarts,
            last_exit: self.last_exit.clone(),
            probe: (!ready).then(|| self.behaviour.probe.clone()),
            listening: if ready { Vec::new() } else { self.behaviour.listening.clone() },
            waiting: None,
            held_up: None,
            runs_as_root: self.behaviour.root && spec.user != crate::runtime::ImageUser::Built,
            memory_peak_bytes: oom.then_some(spec.size.memory_bytes),
        }
    }
}

impl Task {
    fn settle(&mut self, now: Timestamp) {
        if self.ended.is_some() {
            return;
        }
        let limit = Duration::from_secs(u64::from(self.spec.timeout_s));
        if self.script.takes > limit && now >= after(self.started, limit) {
            self.ended = Some(TaskStatus::Ended { code: 137, oom: false, timed_out: true });
        } else if now >= after(self.started, self.script.takes) {
            self.ended = Some(TaskStatus::Ended { code: self.script.code, oom: false, timed_out: false });
        }
    }
}

/// 1 s, 2 s, 4 s … 5 min.
fn backoff(restarts: u32) -> Duration {
    Duration::from_secs(1 << restarts.saturating_sub(1).min(9)).min(LONGEST_BACKOFF)
}

pub(super) fn chunk(
    instance: Option<&InstanceId>,
    process: &str,
    line: &str,
    stream: LogStream,
    at: Timestamp,
) -> LogChunk {
    LogChunk {
        at,
        instance: instance.cloned(),
        process: process.to_owned(),
        stream,
        line: Bytes::copy_from_slice(line.as_bytes()),
    }
}
