//! An app's processes, as the objects that Panda would make of them without its labels.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::batch::v1::{Job, JobSpec};
use k8s_openapi::api::core::v1::{LocalObjectReference, PodSpec, PodTemplateSpec};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use panda_deployer::export::{ExportedApp, ExportedProcess};
use panda_deployer::runtime::{EnvironmentKey, RuntimeResult, SecretEnv, WorkloadKey, WorkloadSpec};
use panda_domain::ids::Id;

use super::{data, named, place, runs_as};
use crate::config::{LEAST_DRAIN_S, Requests};
use crate::labels::Labels;
use crate::objects::container::{self, Common};
use crate::objects::deployment::Workload;
use crate::objects::{self, Place, disruption_budget, map, selecting};

/// Returns the name of a process's Deployment.
pub(super) fn name(app: &ExportedApp, process: &ExportedProcess) -> String {
    named(app, process.name.as_str())
}

/// Returns the labels that only one process's pods have.
pub(super) fn selector(app: &ExportedApp, process: &ExportedProcess) -> Labels {
    map([
        ("app.kubernetes.io/name", app.name.as_str()),
        ("app.kubernetes.io/component", process.name.as_str()),
    ])
}

/// Returns an object's name and labels and nothing of Panda.
pub(super) fn plain_meta(place: &Place) -> ObjectMeta {
    ObjectMeta { name: Some(place.name.clone()), labels: Some(place.labels.clone()), ..ObjectMeta::default() }
}

/// Makes a process's Deployment.
pub(super) fn deployment(app: &ExportedApp, process: &ExportedProcess) -> RuntimeResult<Deployment> {
    let spec = spec_of(app, process);
    let workload = Workload {
        place: Place { labels: selector(app, process), ..place(app, name(app, process)) },
        spec: &spec,
        variables: &[],
        runs_as: runs_as(app),
        requests: Requests::default(),
        least_drain_s: LEAST_DRAIN_S,
        login: None,
    };
    let mut deployment = objects::deployment::deployment(&workload, &[]);
    deployment.metadata = plain_meta(&workload.place);
    if let Some(spec) = &mut deployment.spec {
        // An autoscaler's number would be set back by each apply.
        spec.replicas = spec.replicas.filter(|_| process.autoscale.is_none());
        spec.selector = selecting(selector(app, process));
        spec.revision_history_limit = None;
        let labels = Some(selector(app, process));
        spec.template.metadata = Some(ObjectMeta { labels, ..ObjectMeta::default() });
        if let Some(pod) = &mut spec.template.spec {
            complete(app, pod)?;
            let own = data::single(app, &process.variables);
            pod.containers.iter_mut().for_each(|container| container.env = some(own.clone()));
            for constraint in pod.topology_spread_constraints.iter_mut().flatten() {
                constraint.label_selector = Some(selecting(selector(app, process)));
            }
        }
    }
    Ok(deployment)
}

/// Makes the budget of a process with several instances.
pub(super) fn budget(app: &ExportedApp, process: &ExportedProcess) -> Option<PodDisruptionBudget> {
    let place = Place { labels: selector(app, process), ..place(app, name(app, process)) };
    let mut budget = disruption_budget::disruption_budget(&place, &spec_of(app, process))?;
    budget.metadata = plain_meta(&place);
    if let Some(spec) = &mut budget.spec {
        spec.selector = Some(selecting(selector(app, process)));
    }
    Some(budget)
}

/// Makes the autoscaler of a process whose replicas change by load.
pub(super) fn autoscaler(app: &ExportedApp, process: &ExportedProcess) -> Option<HorizontalPodAutoscaler> {
    let place = place(app, name(app, process));
    let mut autoscaler = objects::autoscaler::autoscaler(&place, process.autoscale?, process.size);
    autoscaler.metadata = plain_meta(&Place { labels: selector(app, process), ..place });
    Some(autoscaler)
}

/// Makes the Job that runs the release command, `None` when there is none. As with Panda it runs once and isn't tried again.
pub(super) fn release_job(app: &ExportedApp) -> RuntimeResult<Option<Job>> {
    let (Some(command), Some(process)) = (&app.release_command, app.processes.first()) else {
        return Ok(None);
    };
    let process = app.web().map_or(process, |(web, _)| web);
    let mut container = container::container(&Common {
        image: &app.image,
        runs_as: runs_as(app),
        command: Some(command),
        variables: &[],
        secret: "",
        size: process.size,
        requests: Requests::default(),
    });
    container.env = some(data::single(app, &std::collections::BTreeMap::new()));
    let mut pod = objects::pod::pod(container, None);
    complete(app, &mut pod)?;
    pod.restart_policy = Some("Never".to_owned());
    let place = place(app, named(app, "release"));
    let labels = map([
        ("app.kubernetes.io/name", app.name.as_str()),
        ("app.kubernetes.io/component", "release_command"),
    ]);
    let template = ObjectMeta { labels: Some(labels), ..ObjectMeta::default() };
    Ok(Some(Job {
        metadata: plain_meta(&place),
        spec: Some(JobSpec {
            backoff_limit: Some(0),
            template: PodTemplateSpec { metadata: Some(template), spec: Some(pod) },
            ..JobSpec::default()
        }),
        status: None,
    }))
}

/// Gives a pod the app's files, variables and login.
fn complete(app: &ExportedApp, pod: &mut PodSpec) -> RuntimeResult<()> {
    let (volumes, mounts) = data::mounts(app)?;
    // Panda's namespaces have an account for it; others' have `default`, of which no token is mounted either.
    pod.service_account_name = None;
    pod.volumes = some(volumes);
    pod.image_pull_secrets =
        app.own_registry.then(|| vec![LocalObjectReference { name: named(app, "registry") }]);
    for container in &mut pod.containers {
        container.env_from = Some(vec![data::shared(app)]);
        container.volume_mounts = some(mounts.clone());
    }
    Ok(())
}

fn some<T>(all: Vec<T>) -> Option<Vec<T>> {
    Some(all).filter(|all| !all.is_empty())
}

/// A process in the words of the driver's builders. Its ids name nothing: what is made of them is taken away again.
fn spec_of(app: &ExportedApp, process: &ExportedProcess) -> WorkloadSpec {
    let nowhere = EnvironmentKey { team: Id::from_bits(0), environment: Id::from_bits(0) };
    WorkloadSpec {
        key: WorkloadKey {
            environment: nowhere,
            placement: Id::from_bits(0),
            process: process.name.clone(),
            release: Id::from_bits(0),
            revision: 0,
        },
        app: app.name.clone(),
        environment_name: app.environment.clone(),
        release_number: app.release,
        image: app.image.clone(),
        user: app.user,
        command: process.command.clone(),
        env: SecretEnv::default(),
        files: Vec::new(),
        port: process.port,
        health: process.health.clone(),
        shutdown: process.shutdown.clone(),
        replicas: process.replicas,
        autoscale: process.autoscale,
        size: process.size,
        discoverable: process.name.is_web(),
    }
}
