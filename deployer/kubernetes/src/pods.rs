//! From what the cluster says about a pod to what the seam tells about an instance.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Container, ContainerStateTerminated, ContainerStatus, Pod, PodCondition};
use panda_deployer::runtime::ObservedInstance;
use panda_domain::ids::{Id, InstanceId};
use panda_domain::instance::{InstanceState, LastExit};

use crate::labels;
use crate::objects::container;
use crate::reasons::{self, Reason};
use crate::view::{Complaint, Complaints};

/// An instance that started this often without getting ready is crashing, also in the moments in which it runs.
const CRASH_LOOP: u32 = 2;
/// How long a process without a port has to run to count as ready.
pub(crate) const WORKER_READY: SignedDuration = SignedDuration::from_secs(2);
/// How long a pod that should be gone is still told of: its node may be lost for good.
const LOST: SignedDuration = SignedDuration::from_secs(60);
/// The exit code that engines give where no process came about.
const NOT_STARTED: i32 = 128;

/// What is known of an instance beside its pod.
#[derive(Debug, Default)]
pub(crate) struct Beside {
    /// Whether it is one of those that go because there are too many.
    pub(crate) surplus: bool,
    /// TCP ports it was found to listen on.
    pub(crate) listening: Vec<(u16, bool)>,
}

/// Returns our id of a pod: the same 128 bits that the cluster names it by.
pub(crate) fn id(pod: &Pod) -> Option<InstanceId> {
    let digits: String = pod.metadata.uid.as_deref()?.chars().filter(|c| *c != '-').collect();
    Some(InstanceId::from_bits(u128::from_str_radix(&digits, 16).ok()?))
}

/// Returns the UID that an id stands for.
pub(crate) fn has_id(pod: &Pod, instance: &InstanceId) -> bool {
    id(pod).as_ref() == Some(instance)
}

/// Tells whether the pod takes requests, as far as it is concerned.
pub(crate) fn is_ready(pod: &Pod) -> bool {
    condition(pod, "Ready").is_some_and(|ready| ready.status == "True")
}

/// Tells whether a pod is over: evicted, or its node was shut down. The cluster has made another in its place.
pub(crate) fn is_over(pod: &Pod) -> bool {
    matches!(phase(pod), "Failed" | "Succeeded")
}

/// Tells whether a pod should have been gone for a while.
pub(crate) fn is_lost(pod: &Pod, now: Timestamp) -> bool {
    // Its grace is already in this time.
    pod.metadata.deletion_timestamp.as_ref().is_some_and(|at| now.duration_since(at.0) > LOST)
}

/// Returns the state of our container.
pub(crate) fn status(pod: &Pod) -> Option<&ContainerStatus> {
    let statuses = pod.status.as_ref()?.container_statuses.as_ref()?;
    statuses.iter().find(|status| status.name == container::NAME)
}

/// Returns when our container last started, while it runs.
pub(crate) fn running_since(pod: &Pod) -> Option<Timestamp> {
    status(pod)?.state.as_ref()?.running.as_ref()?.started_at.as_ref().map(|at| at.0)
}

/// Returns how our container last ended.
pub(crate) fn last_end(pod: &Pod) -> Option<&ContainerStateTerminated> {
    let status = status(pod)?;
    let now = status.state.as_ref().and_then(|state| state.terminated.as_ref());
    now.or_else(|| status.last_state.as_ref()?.terminated.as_ref())
}

/// Returns our container as it was asked for.
pub(crate) fn spec(pod: &Pod) -> Option<&Container> {
    pod.spec.as_ref()?.containers.iter().find(|one| one.name == container::NAME)
}

/// Returns the port that the process should listen on.
pub(crate) fn port(pod: &Pod) -> Option<u16> {
    let port = spec(pod)?.ports.as_ref()?.first()?;
    u16::try_from(port.container_port).ok()
}

/// Returns the limit of its memory, bytes.
pub(crate) fn memory_limit(pod: &Pod) -> Option<u64> {
    crate::quantity::bytes(&spec(pod)?.resources.as_ref()?.limits.as_ref()?.get("memory")?.0)
}

/// Tells what an instance does.
pub(crate) fn observe(
    pod: &Pod,
    beside: Beside,
    complaints: &Complaints,
    now: Timestamp,
) -> Option<ObservedInstance> {
    let since = running_since(pod);
    let state = state(pod, beside.surplus, now);
    let exit = last_exit(pod);
    let oom = exit.as_ref().is_some_and(|exit| exit.oom);
    let starts = !matches!(state, InstanceState::Ready | InstanceState::Draining);
    let (waiting, held_up) = match (starts && since.is_none()).then(|| obstacle(pod, complaints)).flatten() {
        Some(Reason::Final(words)) => (Some(words), None),
        Some(Reason::MayPass(words)) => (None, Some(words)),
        None => (None, None),
    };
    let ip = pod.status.as_ref().and_then(|status| status.pod_ip.clone());
    let address = ip
        .zip(port(pod))
        .map(|(ip, port)| if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") });
    Some(ObservedInstance {
        id: id(pod)?,
        state,
        address: address.filter(|_| since.is_some()),
        started_at: since.or_else(|| last_end(pod)?.started_at.as_ref().map(|at| at.0)),
        ready_at: ready_since(pod).filter(|_| state == InstanceState::Ready),
        restarts: restarts(pod),
        // The kernel kills at the limit: that is the peak.
        memory_peak_bytes: memory_limit(pod).filter(|_| oom),
        last_exit: exit,
        probe: starts.then(|| probe(pod, complaints)).flatten(),
        listening: if starts { beside.listening } else { Vec::new() },
        waiting,
        held_up,
        runs_as_root: labels::annotation(&pod.metadata, labels::RUNS_AS_ROOT) == Some("true"),
    })
}

fn state(pod: &Pod, surplus: bool, now: Timestamp) -> InstanceState {
    if surplus || pod.metadata.deletion_timestamp.is_some() {
        return InstanceState::Draining;
    }
    let ended = match last_end(pod) {
        Some(end) if is_oom(end) => InstanceState::Oom,
        _ => InstanceState::Crashing,
    };
    match running_since(pod) {
        Some(since) if is_ready(pod) => match port(pod) {
            None if now.duration_since(since) < WORKER_READY => InstanceState::Starting,
            _ => InstanceState::Ready,
        },
        Some(since) if was_ready(pod, since) => InstanceState::Unready,
        Some(_) if restarts(pod) >= CRASH_LOOP => ended,
        None if last_end(pod).is_some() => ended,
        Some(_) | None => InstanceState::Starting,
    }
}

/// A pod that was ready in this run lost that after its container had started; before, it never was.
fn was_ready(pod: &Pod, since: Timestamp) -> bool {
    let started = status(pod).and_then(|status| status.started) == Some(true);
    let turned = condition(pod, "Ready").and_then(|ready| ready.last_transition_time.as_ref()).map(|at| at.0);
    started && turned.is_some_and(|at| at > since)
}

/// Since when it is ready; a worker is once it has run for a while.
fn ready_since(pod: &Pod) -> Option<Timestamp> {
    match port(pod) {
        None => running_since(pod)?.checked_add(WORKER_READY).ok(),
        Some(_) => condition(pod, "Ready")?.last_transition_time.as_ref().map(|at| at.0),
    }
}

fn restarts(pod: &Pod) -> u32 {
    status(pod).and_then(|status| u32::try_from(status.restart_count).ok()).unwrap_or(0)
}

fn is_oom(end: &ContainerStateTerminated) -> bool {
    end.reason.as_deref() == Some("OOMKilled")
}

fn last_exit(pod: &Pod) -> Option<LastExit> {
    last_end(pod).map(exit)
}

/// Reads an end: where no process came about, the code that a shell gives.
pub(crate) fn exit(end: &ContainerStateTerminated) -> LastExit {
    let message = end.message.as_deref().unwrap_or_default();
    let code = match reasons::not_started(message, "") {
        Some((code, _)) if end.exit_code == NOT_STARTED => code,
        _ => end.exit_code.into(),
    };
    LastExit { code, oom: is_oom(end), at: end.finished_at.as_ref().map(|at| at.0) }
}

/// What keeps a container from starting.
fn obstacle(pod: &Pod, complaints: &Complaints) -> Option<Reason> {
    let uid = pod.metadata.uid.as_deref().unwrap_or_default();
    let said = |reason: &str| complaints.of(uid, reason).map(|complaint| complaint.message);
    if let Some(scheduled) = condition(pod, "PodScheduled").filter(|c| c.status == "False") {
        let message = scheduled.message.as_deref().unwrap_or_default();
        return Some(Reason::MayPass(reasons::unschedulable(message)));
    }
    let waiting = status(pod)?.state.as_ref()?.waiting.as_ref()?;
    let message = waiting.message.clone().unwrap_or_default();
    match waiting.reason.as_deref()? {
        "ErrImagePull" | "ImagePullBackOff" | "ErrImageNeverPull" | "RegistryUnavailable" => {
            // Nodes of older versions say only that they wait; why was said before.
            let told = message.contains(": ").then_some(message.clone());
            let told = told.or_else(|| said("Failed")).unwrap_or(message);
            let early = has_login(pod) && told.contains("anonymous token");
            // The node asked before it had heard of the secret. It asks again.
            let early =
                early.then(|| Reason::MayPass("its node doesn't have the registry's login yet".into()));
            early.or_else(|| Some(reasons::pull(&told)))
        }
        "InvalidImageName" => Some(Reason::Final(format!("the image's name can't be read ({message})"))),
        "CreateContainerConfigError" if message.contains("not found") => {
            Some(Reason::MayPass(format!("something that it mounts isn't there ({message})")))
        }
        // A busy node that hasn't heard of a secret or a file yet asks again by itself.
        "CreateContainerConfigError" if message.contains("failed to sync") => {
            Some(Reason::MayPass(format!("its node doesn't have all that it mounts yet ({message})")))
        }
        "CreateContainerConfigError" => Some(Reason::Final(config_error(&message))),
        "CreateContainerError" => Some(Reason::MayPass(format!("the node can't create it yet ({message})"))),
        "ContainerCreating" | "PodInitializing" => {
            let words = said("FailedMount").or_else(|| said("FailedAttachVolume"));
            let words = words.or_else(|| said("FailedCreatePodSandBox"));
            words.map(|words| Reason::MayPass(format!("its node can't set it up yet ({words})")))
        }
        _ => None,
    }
}

fn has_login(pod: &Pod) -> bool {
    pod.spec
        .as_ref()
        .and_then(|spec| spec.image_pull_secrets.as_ref())
        .is_some_and(|logins| !logins.is_empty())
}

fn config_error(message: &str) -> String {
    if message.contains("runAsNonRoot") {
        "its image runs as root, which isn't allowed here; add `USER 10001` to its Dockerfile".to_owned()
    } else {
        format!("the node refuses it ({message})")
    }
}

/// What the probe said last in this run.
fn probe(pod: &Pod, complaints: &Complaints) -> Option<String> {
    let since = running_since(pod)?;
    let uid = pod.metadata.uid.as_deref()?;
    // Times of events are whole seconds.
    let Complaint { message, .. } =
        complaints.of(uid, "Unhealthy").filter(|complaint| complaint.at.as_second() >= since.as_second())?;
    let probe = spec(pod)?.readiness_probe.as_ref()?;
    let path = probe.http_get.as_ref().and_then(|get| get.path.as_deref());
    Some(reasons::probe(&message, path, probe.timeout_seconds.unwrap_or(1)))
}

fn condition<'a>(pod: &'a Pod, type_: &str) -> Option<&'a PodCondition> {
    pod.status.as_ref()?.conditions.as_ref()?.iter().find(|condition| condition.type_ == type_)
}

fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}

#[cfg(test)]
mod tests;
