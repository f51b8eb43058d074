//! The seam's traits on the fake's state.

use std::collections::HashSet;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt};
use jiff::Timestamp;
use panda_domain::ids::{InstanceId, PlacementId};
use panda_domain::image::Digest;
use panda_domain::release::Shutdown;
use panda_domain::secret::Secret;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, mpsc};

use super::FakeRuntime;
use super::behaviour::{Ingress, PullFailure};
use super::command::Script;
use super::state::Workload;
use crate::runtime::{
    Capabilities, Check, CheckState, EnvironmentKey, EnvironmentSpec, ExecRequest, ExecSession, ExecSize,
    ImageUser, Inspect, Inventory, LogChunk, LogQuery, LogStream, LogTarget, ObservedAutoscaler,
    ObservedRoutes, ObservedWorkload, OrderedCertificate, Progress, PullImage, ResolvedImage, RouteTable,
    Routes, RuntimeError, RuntimeEvent, RuntimeResult, TaskKey, TaskSpec, TaskStatus, Tasks, Usage,
    WorkloadKey, WorkloadSpec, Workloads,
};

#[async_trait]
impl Workloads for FakeRuntime {
    async fn ensure_environment(&self, spec: &EnvironmentSpec) -> RuntimeResult<()> {
        self.called("ensure_environment")?.environments.insert(spec.key.clone(), spec.name.clone());
        Ok(())
    }

    async fn remove_environment(&self, key: &EnvironmentKey) -> RuntimeResult<()> {
        let mut state = self.called("remove_environment")?;
        if state.workloads.keys().any(|workload| workload.environment == *key) {
            return Err(RuntimeError::Conflict { what: format!("environment `{}`", key.environment) });
        }
        state.environments.remove(key);
        Ok(())
    }

    async fn ensure_workload(&self, spec: &WorkloadSpec) -> RuntimeResult<Progress> {
        let now = self.clock.now();
        let mut state = self.called("ensure_workload")?;
        let doing = || format!("run process `{}` of app `{}`", spec.key.process, spec.app);
        if let Some(reason) = state.refusal.clone() {
            return Err(RuntimeError::Rejected { doing: doing(), reason });
        }
        if !state.environments.contains_key(&spec.key.environment) {
            return Err(RuntimeError::Conflict {
                what: format!("environment `{}`", spec.key.environment.environment),
            });
        }
        let behaviour = state.behaviours.get(&spec.image.digest).cloned().unwrap_or_default();
        pullable(&spec.image, behaviour.pull)?;
        state.pulled(&spec.image.digest);
        if behaviour.root && spec.user == ImageUser::ForeignRestricted {
            let reason = "the image runs as root, which this team refuses".to_owned();
            return Err(RuntimeError::Rejected { doing: doing(), reason });
        }
        let fresh = Workload { spec: spec.clone(), wanted: None, instances: Vec::new() };
        let workload = state.workloads.entry(spec.key.clone()).or_insert(fresh);
        workload.spec = spec.clone();
        let chosen = workload.wanted.unwrap_or(spec.replicas);
        workload.wanted = spec.autoscale.map(|bounds| bounds.within(chosen));
        let replicas = workload.wanted.unwrap_or(spec.replicas);
        let draining = state.resize(&spec.key, replicas as usize, &self.ids, now);
        drop(state);
        self.hint();
        Ok(if draining { Progress::Working } else { Progress::Converged })
    }

    async fn remove_workload(&self, key: &WorkloadKey, shutdown: &Shutdown) -> RuntimeResult<Progress> {
        let now = self.clock.now();
        let mut state = self.called("remove_workload")?;
        if state.is_routed(key) {
            state.removed_while_routed.push(key.clone());
        }
        let Some(workload) = state.workloads.get_mut(key) else { return Ok(Progress::Converged) };
        workload.spec.replicas = 0;
        let port = workload.spec.port;
        for instance in &mut workload.instances {
            instance.drain(shutdown, port, now);
        }
        state.settle(now);
        let gone = !state.workloads.contains_key(key);
        drop(state);
        self.hint();
        Ok(if gone { Progress::Converged } else { Progress::Working })
    }

    async fn observe(&self, key: &EnvironmentKey) -> RuntimeResult<Vec<ObservedWorkload>> {
        let now = self.clock.now();
        let state = self.called("observe")?;
        let ours = state
            .workloads
            .iter()
            .filter(|(workload, w)| workload.environment == *key && !w.instances.is_empty());
        Ok(ours
            .map(|(key, workload)| ObservedWorkload {
                key: key.clone(),
                release_number: workload.spec.release_number,
                wanted: workload.wanted,
                instances: workload.observed(now),
            })
            .collect())
    }

    async fn inventory(&self) -> RuntimeResult<Inventory> {
        Ok(self.called("inventory")?.inventory())
    }

    async fn remove_old_images(&self, keep: &HashSet<Digest>, unused_since: Timestamp) -> RuntimeResult<u64> {
        Ok(self.called("remove_old_images")?.remove_old_images(keep, unused_since))
    }

    async fn ensure_image(&self, image: &PullImage) -> RuntimeResult<()> {
        let mut state = self.called("ensure_image")?;
        state.pulled(&image.digest);
        pullable(image, state.behaviours.get(&image.digest).and_then(|behaviour| behaviour.pull))
    }

    async fn resolve_image(
        &self,
        reference: &str,
        _login: Option<(&str, &Secret)>,
    ) -> RuntimeResult<ResolvedImage> {
        let mut state = self.called("resolve_image")?;
        let doing = || format!("pull image `{reference}`");
        let known = state.references.get(reference).cloned().ok_or_else(|| RuntimeError::Rejected {
            doing: doing(),
            reason: "the image isn't in the registry".to_owned(),
        })?;
        let failure = state.behaviours.get(&known.digest).and_then(|behaviour| behaviour.pull);
        if failure == Some(PullFailure::RegistryDown) {
            let source = Some("connection refused".into());
            return Err(RuntimeError::Unavailable { doing: doing(), source });
        }
        state.pulled(&known.digest);
        Ok(known)
    }

    fn watch(&self) -> BoxStream<'static, RuntimeEvent> {
        received(self.hints.subscribe()).map(|hint| hint.unwrap_or(RuntimeEvent { placement: None })).boxed()
    }
}

#[async_trait]
impl Routes for FakeRuntime {
    async fn ensure_routes(&self, table: &RouteTable) -> RuntimeResult<ObservedRoutes> {
        let mut state = self.called("ensure_routes")?;
        let lost = || RuntimeError::Unavailable { doing: "make the ingress route".to_owned(), source: None };
        if state.ingress == Ingress::Away {
            return Err(lost());
        }
        state.table = table.clone();
        let observed = state.observed_routes();
        if state.ingress == Ingress::Mute {
            state.routed = None;
            return Err(lost());
        }
        state.routed = Some(observed.clone());
        Ok(observed)
    }

    async fn routes_stand(&self) -> RuntimeResult<bool> {
        let state = self.called("routes_stand")?;
        if state.ingress != Ingress::Well {
            let doing = "look at the ingress".to_owned();
            return Err(RuntimeError::Unavailable { doing, source: None });
        }
        Ok(state.routed.as_ref() == Some(&state.observed_routes()))
    }

    async fn ordered_certificates(&self) -> RuntimeResult<Vec<OrderedCertificate>> {
        let state = self.called("ordered_certificates")?;
        let ordered = state.ordered.iter().flatten();
        Ok(ordered.filter(|one| state.table.orders.contains(&one.host)).cloned().collect())
    }
}

#[async_trait]
impl Tasks for FakeRuntime {
    async fn start_task(&self, spec: &TaskSpec) -> RuntimeResult<()> {
        let now = self.clock.now();
        let mut state = self.called("start_task")?;
        pullable(&spec.image, state.behaviours.get(&spec.image.digest).and_then(|b| b.pull))?;
        if !state.tasks.contains_key(&spec.key) {
            state.start_task(spec, now);
        }
        Ok(())
    }

    async fn task_status(&self, key: &TaskKey) -> RuntimeResult<TaskStatus> {
        let state = self.called("task_status")?;
        Ok(match state.tasks.get(key) {
            None => TaskStatus::Absent,
            Some(task) => task.ended.clone().unwrap_or(TaskStatus::Running),
        })
    }

    async fn cancel_task(&self, key: &TaskKey) -> RuntimeResult<()> {
        let mut state = self.called("cancel_task")?;
        if let Some(task) = state.tasks.get_mut(key) {
            task.ended.get_or_insert(TaskStatus::Ended { code: 137, oom: false, timed_out: false });
        }
        Ok(())
    }

    async fn remove_task(&self, key: &TaskKey) -> RuntimeResult<()> {
        self.called("remove_task")?.tasks.remove(key);
        Ok(())
    }
}

#[async_trait]
impl Inspect for FakeRuntime {
    fn capabilities(&self) -> Capabilities {
        let state = self.state();
        Capabilities {
            name: "fake",
            autoscale: !state.no_autoscale,
            request_holding: true,
            orders_certificates: state.ordered.is_some(),
            http_metrics: false,
        }
    }

    async fn check(&self) -> Vec<Check> {
        let away = self.called("check").is_err();
        let state = if away { CheckState::Failed } else { CheckState::Ok };
        vec![Check { name: "runtime".into(), state, seen: "in memory".into(), fix: String::new() }]
    }

    async fn logs(&self, query: &LogQuery) -> RuntimeResult<BoxStream<'static, RuntimeResult<LogChunk>>> {
        let live = self.lines.subscribe();
        let state = self.called("logs")?;
        let mut lines: Vec<LogChunk> = match &query.target {
            LogTarget::Task(key) => {
                let at = self.clock.now();
                let lines = state.task_lines(key).into_iter();
                lines.map(|line| super::state::chunk(None, "", &line, LogStream::Out, at)).collect()
            }
            LogTarget::Placement { .. } => state.logs.clone(),
        };
        drop(state);
        let wanted = self.selects(query);
        lines.retain(|chunk| wanted(chunk) && query.since.is_none_or(|since| chunk.at > since));
        let skip = query.tail.map_or(0, |tail| lines.len().saturating_sub(tail as usize));
        let earlier = stream::iter(lines.into_iter().skip(skip).map(Ok));
        if !query.follow || matches!(query.target, LogTarget::Task(_)) {
            return Ok(earlier.boxed());
        }
        let later = received(live).filter_map(|line| async { line }).filter(move |line| {
            let keep = wanted(line);
            async move { keep }
        });
        Ok(earlier.chain(later.map(Ok)).boxed())
    }

    async fn exec(
        &self,
        _environment: &EnvironmentKey,
        instance: &InstanceId,
        request: &ExecRequest,
    ) -> RuntimeResult<ExecSession> {
        let state = self.called("exec")?;
        let there = state.workloads.values().any(|w| w.instances.iter().any(|i| i.id == *instance));
        if !there {
            return Err(RuntimeError::NotFound { what: format!("instance `{instance}`") });
        }
        Ok(session(Script::read(&request.command)))
    }

    async fn attach_task(&self, key: &TaskKey, _size: Option<ExecSize>) -> RuntimeResult<ExecSession> {
        let state = self.called("attach_task")?;
        let task = state.tasks.get(key);
        let task = task.ok_or_else(|| RuntimeError::NotFound { what: format!("task `{}`", key.task) })?;
        Ok(session(Script::read(&task.spec.command)))
    }

    async fn usage(
        &self,
        environment: &EnvironmentKey,
        placement: &PlacementId,
    ) -> RuntimeResult<Vec<Usage>> {
        let state = self.called("usage")?;
        let ours = state
            .workloads
            .values()
            .filter(|w| w.spec.key.environment == *environment && w.spec.key.placement == *placement);
        let usage = ours.flat_map(|w| {
            w.instances.iter().map(|i| Usage {
                instance: i.id.clone(),
                cpu_millis: Some(10),
                memory_bytes: Some(20 << 20),
                memory_limit_bytes: Some(w.spec.size.memory_bytes),
            })
        });
        Ok(usage.collect())
    }

    async fn autoscalers(
        &self,
        environment: &EnvironmentKey,
        placement: &PlacementId,
    ) -> RuntimeResult<Vec<ObservedAutoscaler>> {
        let state = self.called("autoscalers")?;
        let ours = state.workloads.iter().filter(|(key, w)| {
            key.environment == *environment && key.placement == *placement && w.wanted.is_some()
        });
        let told = ours.map(|(key, w)| ObservedAutoscaler {
            key: key.clone(),
            wanted: w.wanted,
            cpu_millis: Some(10),
            memory_bytes: Some(20 << 20),
            trouble: None,
        });
        Ok(told.collect())
    }

    async fn manifest(&self, environment: &EnvironmentKey, placement: &PlacementId) -> RuntimeResult<String> {
        let state = self.called("manifest")?;
        let ours = state
            .workloads
            .values()
            .filter(|w| w.spec.key.environment == *environment && w.spec.key.placement == *placement);
        // Debug of a spec shows no values of variables.
        Ok(ours.map(|w| format!("{:#?}", w.spec)).collect::<Vec<_>>().join("\n"))
    }
}

impl FakeRuntime {
    /// Returns which lines a query wants, by what runs now.
    fn selects(&self, query: &LogQuery) -> impl Fn(&LogChunk) -> bool + Send + 'static {
        let this = self.clone();
        let target = query.target.clone();
        move |chunk| match &target {
            LogTarget::Task(_) => chunk.instance.is_none(),
            LogTarget::Placement { placement, process, instance, .. } => {
                let state = this.state();
                let of_placement = state.workloads.values().any(|w| {
                    w.spec.key.placement == *placement
                        && w.instances.iter().any(|i| Some(&i.id) == chunk.instance.as_ref())
                });
                of_placement
                    && process.as_ref().is_none_or(|process| process.as_str() == chunk.process)
                    && instance.as_ref().is_none_or(|instance| Some(instance) == chunk.instance.as_ref())
            }
        }
    }
}

fn pullable(image: &PullImage, failure: Option<PullFailure>) -> RuntimeResult<()> {
    let doing = format!("pull image `{}`", image.reference());
    match failure {
        None => Ok(()),
        Some(PullFailure::Absent) => {
            Err(RuntimeError::Rejected { doing, reason: "the image isn't in the registry".to_owned() })
        }
        Some(PullFailure::RegistryDown) => {
            Err(RuntimeError::Unavailable { doing, source: Some("connection refused".into()) })
        }
    }
}

fn session(script: Script) -> ExecSession {
    let lines = script.prints.into_iter().map(|line| Ok((LogStream::Out, Bytes::from(format!("{line}\n")))));
    let (resize, _) = mpsc::channel(1);
    ExecSession {
        input: Box::pin(tokio::io::sink()),
        output: stream::iter(lines.collect::<Vec<_>>()).boxed(),
        resize,
        exit: Box::pin(async move { Ok(script.code) }),
    }
}

/// Turns a channel into a stream; `None` stands for what a slow reader missed.
fn received<T: Clone + Send + 'static>(
    receiver: broadcast::Receiver<T>,
) -> impl futures_util::Stream<Item = Option<T>> + Send {
    stream::unfold(receiver, |mut receiver| async {
        match receiver.recv().await {
            Ok(item) => Some((Some(item), receiver)),
            Err(RecvError::Lagged(_)) => Some((None, receiver)),
            Err(RecvError::Closed) => None,
        }
    })
}
