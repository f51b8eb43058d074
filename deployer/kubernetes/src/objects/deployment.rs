//! A workload: one process of one release. Two releases are two Deployments, so that the old one serves until the new one is
//! ready; the cluster's own rolling update only happens when a size changes.

use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment};
use k8s_openapi::api::core::v1::{
    ContainerPort, HTTPGetAction, Lifecycle, LifecycleHandler, PodOS, PodTemplateSpec, Probe, SleepAction,
    TCPSocketAction, TopologySpreadConstraint,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use panda_deployer::runtime::WorkloadSpec;
use panda_domain::release::HealthCheck;

use super::container::{Common, RunsAs, instance_variables};
use super::files::Keyed;
use super::{Place, files, map, pod, selecting};
use crate::config::Requests;
use crate::labels;

/// Which version of this builder a pod template is of. A template is left as it is while it does what its spec says, whatever a
/// newer builder would write: an upgrade of Panda must not restart every app. Raise it with every change of the snapshots.
pub const TEMPLATE: u32 = 2;
/// The port's name in containers and services, the same whatever its number.
pub const PORT: &str = "http";

/// How much longer than its startup time a container may try, seconds. The platform gives up on it at the startup time and wants
/// to see it as it is then; only a container that nobody watches is started anew by its node.
const STARTUP_SLACK_S: u32 = 60;
/// How often a starting instance, or a mere port, is asked, seconds: the shortest that there is.
const STARTING_S: i32 = 1;

/// Everything that a Deployment is made of.
#[derive(Debug, Clone)]
pub struct Workload<'a> {
    /// Where it lies; all of the workload's objects share the name.
    pub place: Place,
    /// What should run.
    pub spec: &'a WorkloadSpec,
    /// Names of its variables.
    pub variables: &'a [String],
    /// Who the image's process is.
    pub runs_as: RunsAs,
    /// How much of its size is kept free.
    pub requests: Requests,
    /// The least drain, seconds.
    pub least_drain_s: u32,
    /// The secret with the login to the image's registry, if it needs one.
    pub login: Option<&'a str>,
}

/// Makes the Deployment, with the number of replicas that it starts with.
pub fn deployment(workload: &Workload<'_>, files: &[Keyed<'_>]) -> Deployment {
    let spec = workload.spec;
    let template = ObjectMeta {
        labels: Some(workload.place.labels.clone()),
        annotations: Some(map([(
            labels::RUNS_AS_ROOT,
            if workload.runs_as == RunsAs::Root { "true" } else { "false" },
        )])),
        ..ObjectMeta::default()
    };
    let mut metadata = workload.place.meta();
    metadata.annotations = Some(map([(labels::TEMPLATE, &TEMPLATE.to_string())]));
    Deployment {
        metadata,
        spec: Some(DeploymentSpec {
            replicas: Some(i32::try_from(spec.replicas).unwrap_or(i32::MAX)),
            revision_history_limit: Some(1),
            selector: selecting(labels::selector(&spec.key)),
            strategy: Some(DeploymentStrategy {
                type_: Some("RollingUpdate".to_owned()),
                rolling_update: Some(RollingUpdateDeployment {
                    max_surge: Some(IntOrString::String("100%".to_owned())),
                    max_unavailable: Some(IntOrString::Int(0)),
                }),
            }),
            template: PodTemplateSpec { metadata: Some(template), spec: Some(pod_of(workload, files)) },
            ..DeploymentSpec::default()
        }),
        status: None,
    }
}

fn pod_of(workload: &Workload<'_>, files: &[Keyed<'_>]) -> k8s_openapi::api::core::v1::PodSpec {
    let spec = workload.spec;
    let mut container = super::container::container(&Common {
        image: &spec.image,
        runs_as: workload.runs_as,
        command: spec.command.as_deref(),
        variables: workload.variables,
        secret: &workload.place.name,
        size: spec.size,
        requests: workload.requests,
    });
    container.env.get_or_insert_default().extend(instance_variables());
    container.lifecycle = lifecycle(workload);
    if let Some(port) = spec.port {
        container.ports = Some(vec![ContainerPort {
            name: Some(PORT.to_owned()),
            container_port: port.into(),
            protocol: Some("TCP".to_owned()),
            ..ContainerPort::default()
        }]);
        let (startup, readiness) = if spec.health.path.is_some() {
            (Some(starting(&spec.health, port)), probe(&spec.health, port))
        } else {
            (None, knocking(&spec.health, port))
        };
        container.startup_probe = startup;
        container.readiness_probe = Some(readiness);
        container.liveness_probe = Some(probe(&spec.health, port)).filter(|_| has_liveness(&spec.health));
    }
    let (volumes, mounts) = files::mounts(files, &workload.place.name);
    container.volume_mounts = Some(mounts).filter(|mounts| !mounts.is_empty());
    let mut pod = pod::pod(container, workload.login);
    pod.volumes = Some(volumes).filter(|volumes| !volumes.is_empty());
    pod.termination_grace_period_seconds =
        Some((drain_s(workload) + i64::from(spec.shutdown.grace_s)).max(1));
    pod.topology_spread_constraints = Some(spread(workload));
    if has_own_signal(workload) {
        pod.os = Some(PodOS { name: "linux".to_owned() });
    }
    pod
}

/// Seconds between leaving the services and the signal. Nobody routes to a process without a port.
fn drain_s(workload: &Workload<'_>) -> i64 {
    let drain = workload.spec.shutdown.drain_s.max(workload.least_drain_s);
    if workload.spec.port.is_some() { drain.into() } else { 0 }
}

/// A pod leaves its services when its end begins; it sleeps, serving, until everybody knows, and gets its signal then.
fn lifecycle(workload: &Workload<'_>) -> Option<Lifecycle> {
    let sleep = LifecycleHandler {
        sleep: Some(SleepAction { seconds: drain_s(workload) }),
        ..LifecycleHandler::default()
    };
    let pre_stop = Some(sleep).filter(|_| drain_s(workload) > 0);
    let stop_signal = has_own_signal(workload).then(|| workload.spec.shutdown.signal.clone());
    (pre_stop.is_some() || stop_signal.is_some()).then(|| Lifecycle {
        pre_stop,
        stop_signal,
        ..Lifecycle::default()
    })
}

/// SIGTERM is what everybody sends; an image's own wish is followed by nodes too.
fn has_own_signal(workload: &Workload<'_>) -> bool {
    workload.spec.shutdown.signal != "SIGTERM"
}

fn has_liveness(health: &HealthCheck) -> bool {
    health.liveness && health.path.is_some()
}

fn starting(health: &HealthCheck, port: u16) -> Probe {
    let attempts = health.startup_s.saturating_add(STARTUP_SLACK_S);
    Probe {
        period_seconds: Some(STARTING_S),
        failure_threshold: Some(i32::try_from(attempts).unwrap_or(i32::MAX)),
        ..probe(health, port)
    }
}

/// Whether a port is open is asked every second and from the moment that the container runs: a node answers for that itself, no
/// app has work with it. A startup probe would hold readiness up by a second, as a node has it wait for its next turn.
fn knocking(health: &HealthCheck, port: u16) -> Probe {
    let attempts = health.failures.saturating_mul(health.interval_s) / STARTING_S.unsigned_abs();
    Probe {
        period_seconds: Some(STARTING_S),
        // A port that doesn't answer at all must not make a turn longer than that.
        timeout_seconds: Some(STARTING_S),
        failure_threshold: Some(i32::try_from(attempts.max(1)).unwrap_or(i32::MAX)),
        ..probe(health, port)
    }
}

fn probe(health: &HealthCheck, port: u16) -> Probe {
    let port = IntOrString::Int(port.into());
    let seconds = |figure: u32| Some(i32::try_from(figure.max(1)).unwrap_or(i32::MAX));
    let http = health.path.as_ref().map(|path| HTTPGetAction {
        path: Some(path.clone()),
        port: port.clone(),
        scheme: Some("HTTP".to_owned()),
        ..HTTPGetAction::default()
    });
    let tcp = http.is_none().then_some(TCPSocketAction { port, host: None });
    Probe {
        http_get: http,
        tcp_socket: tcp,
        period_seconds: seconds(health.interval_s),
        timeout_seconds: seconds(health.timeout_s),
        failure_threshold: seconds(health.failures),
        success_threshold: Some(1),
        ..Probe::default()
    }
}

/// Instances of one workload lie apart, as far as that can be had.
fn spread(workload: &Workload<'_>) -> Vec<TopologySpreadConstraint> {
    let apart = |key: &str| TopologySpreadConstraint {
        max_skew: 1,
        topology_key: key.to_owned(),
        when_unsatisfiable: "ScheduleAnyway".to_owned(),
        label_selector: Some(selecting(labels::selector(&workload.spec.key))),
        ..TopologySpreadConstraint::default()
    };
    vec![apart("kubernetes.io/hostname"), apart("topology.kubernetes.io/zone")]
}
