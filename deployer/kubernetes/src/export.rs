//! An app as files that any cluster takes: the objects that Panda would make, without what is Panda's own.
//!
//! They carry none of its labels, annotations and ids, so that no Panda on the same cluster takes them for its own; they name no
//! namespace, so that they go where `kubectl -n` says.

mod data;
mod kustomization;
mod readme;
mod web;
mod workloads;

use panda_deployer::export::{ExportedApp, PlainFile};
use panda_deployer::runtime::{RuntimeError, RuntimeResult};
use serde::Serialize;

use crate::objects::container::RunsAs;
use crate::objects::{Place, map};

/// Writes an app as objects for `kubectl apply -f`, one file each.
pub fn yaml(app: &ExportedApp) -> RuntimeResult<Vec<PlainFile>> {
    let mut files = objects(app)?;
    files.push(PlainFile::new("README.md", readme::yaml(app)));
    Ok(files)
}

/// Writes an app as a kustomization for `kubectl apply -k`: the same objects, with the secrets made of files to be filled.
pub fn kustomize(app: &ExportedApp) -> RuntimeResult<Vec<PlainFile>> {
    let mut files = objects(app)?;
    files.push(PlainFile::new("kustomization.yaml", kustomization::text(app, &files)?));
    if !app.holes().is_empty() {
        files.push(PlainFile::new(".gitignore", format!("/{}/\n", kustomization::SECRETS)));
    }
    files.push(PlainFile::new("README.md", readme::kustomize(app)));
    Ok(files)
}

/// The objects that both formats have.
fn objects(app: &ExportedApp) -> RuntimeResult<Vec<PlainFile>> {
    let mut files = Vec::new();
    let mut add =
        |path: String, text: RuntimeResult<String>| text.map(|text| files.push(PlainFile::new(path, text)));
    add("configmap-env.yaml".to_owned(), written(&data::variables(app)))?;
    if let Some(texts) = data::files(app) {
        add("configmap-files.yaml".to_owned(), written(&texts))?;
    }
    for process in &app.processes {
        let name = &process.name;
        add(format!("deployment-{name}.yaml"), written(&workloads::deployment(app, process)?))?;
        if let Some(service) = web::service(app, process) {
            add(format!("service-{name}.yaml"), written(&service))?;
        }
        for port in app.ports_of(name) {
            let service = web::published(app, process, port);
            add(format!("service-{name}-tcp-{}.yaml", port.published), written(&service))?;
        }
        if let Some(autoscaler) = workloads::autoscaler(app, process) {
            add(format!("horizontalpodautoscaler-{name}.yaml"), written(&autoscaler))?;
        }
        if let Some(budget) = workloads::budget(app, process) {
            add(format!("poddisruptionbudget-{name}.yaml"), written(&budget))?;
        }
    }
    if let Some(ingress) = web::ingress(app) {
        add("ingress.yaml".to_owned(), written(&ingress))?;
    }
    if let Some(job) = workloads::release_job(app)? {
        add(RELEASE_JOB.to_owned(), written(&job))?;
    }
    Ok(files)
}

/// In a folder of its own, so that `kubectl apply -f` of the whole doesn't run it beside the app's start.
const RELEASE_JOB: &str = "release/job.yaml";

fn written(object: &impl Serialize) -> RuntimeResult<String> {
    serde_saphyr::to_string(object).map_err(|error| RuntimeError::Internal {
        doing: "write an object as YAML".to_owned(),
        source: Box::new(error),
    })
}

/// Where an exported object lies: in whichever namespace it is applied to.
fn place(app: &ExportedApp, name: String) -> Place {
    Place { namespace: String::new(), name, labels: map([("app.kubernetes.io/name", app.name.as_str())]) }
}

/// Names of what the app's objects share.
fn named(app: &ExportedApp, what: &str) -> String {
    format!("{}-{what}", app.name)
}

/// Who the image's process is. One that was never seen to run keeps what it needs to step down from root, should it be root.
fn runs_as(app: &ExportedApp) -> RunsAs {
    use panda_deployer::runtime::ImageUser;
    match (app.user, app.runs_as_root) {
        (ImageUser::Built, _) => RunsAs::Ours,
        (ImageUser::Foreign, None | Some(true)) => RunsAs::Root,
        (ImageUser::Foreign, Some(false)) | (ImageUser::ForeignRestricted, _) => RunsAs::Name,
    }
}
