//! A task: a command that runs once.

use std::time::Duration;

use k8s_openapi::api::batch::v1::{Job, JobSpec};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use panda_deployer::runtime::TaskSpec;

use super::container::{Common, RunsAs};
use super::files::Keyed;
use super::{Place, container, files, map, pod};
use crate::config::Requests;
use crate::labels;

/// How long a task may take to get a node, its image and its start.
pub const START: Duration = Duration::from_mins(10);
/// Seconds between the signal and the kill of a task that is ended: it was told before, or its time was over.
const GRACE_S: i64 = 1;

/// How long a task may take at most, its start included.
pub fn longest(spec: &TaskSpec) -> std::time::Duration {
    Duration::from_secs(u64::from(spec.timeout_s)) + START
}

/// Everything that a Job is made of.
#[derive(Debug, Clone)]
pub struct Task<'a> {
    /// Where it lies; all of the task's objects share the name.
    pub place: Place,
    /// What should run.
    pub spec: &'a TaskSpec,
    /// Who the image's process is.
    pub runs_as: RunsAs,
    /// How much of its size is kept free.
    pub requests: Requests,
    /// The secret with the login to the image's registry, if it needs one.
    pub login: Option<&'a str>,
}

/// Makes the Job. It never starts a second pod: nobody knows what the first had done.
pub fn job(task: &Task<'_>, files: &[Keyed<'_>]) -> Job {
    let spec = task.spec;
    let variables: Vec<String> = spec.env.0.keys().cloned().collect();
    let mut container = container::container(&Common {
        image: &spec.image,
        runs_as: task.runs_as,
        command: Some(&spec.command),
        variables: &variables,
        secret: &task.place.name,
        size: spec.size,
        requests: task.requests,
    });
    container.tty = spec.tty.then_some(true);
    container.stdin = spec.tty.then_some(true);
    let (volumes, mounts) = files::mounts(files, &task.place.name);
    container.volume_mounts = Some(mounts).filter(|mounts| !mounts.is_empty());
    let mut pod = pod::pod(container, task.login);
    pod.volumes = Some(volumes).filter(|volumes| !volumes.is_empty());
    pod.restart_policy = Some("Never".to_owned());
    pod.termination_grace_period_seconds = Some(GRACE_S);
    // The driver ends it in time, counted from its start; this is for when no driver is there. The pod's own deadline leaves it
    // and its log there; the job's would take both away.
    let longest = i64::try_from(longest(spec).as_secs()).unwrap_or(i64::MAX / 2);
    pod.active_deadline_seconds = Some(longest);
    let mut metadata = task.place.meta();
    metadata.annotations = Some(map([(labels::TIMEOUT, &spec.timeout_s.to_string())]));
    let template = ObjectMeta { labels: Some(task.place.labels.clone()), ..ObjectMeta::default() };
    Job {
        metadata,
        spec: Some(JobSpec {
            parallelism: Some(1),
            completions: Some(1),
            backoff_limit: Some(0),
            active_deadline_seconds: Some(longest * 2),
            template: PodTemplateSpec { metadata: Some(template), spec: Some(pod) },
            ..JobSpec::default()
        }),
        status: None,
    }
}
