//! Workloads: from a spec to a Deployment and what stands by it.

mod create;
mod ensure;
mod observe;
mod remove;

use std::sync::Arc;

pub(crate) use create::login_name;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use panda_deployer::runtime::{RuntimeError, WorkloadKey, WorkloadSpec};

use crate::labels::{self, Labels};
use crate::objects::container;
use crate::pods;
use crate::runtime::Driver;

/// What there is of a workload in one namespace.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) deployment: Option<Arc<Deployment>>,
    /// Its pods, those that are over or lost left out; oldest first.
    pub(crate) pods: Vec<Arc<Pod>>,
}

impl Driver {
    /// Looks for a workload in a namespace.
    pub(crate) fn find(&self, namespace: &str, key: &WorkloadKey) -> Found {
        let selector = labels::selector(key);
        let deployments = self.view.deployments.within(namespace);
        let deployment = deployments.into_iter().find(|found| carries(found.labels(), &selector));
        let mut pods = self.live_pods(namespace);
        pods.retain(|pod| carries(pod.labels(), &selector));
        Found { deployment, pods }
    }

    /// Returns the instances of a namespace, those that are over or lost left out; oldest first.
    pub(crate) fn live_pods(&self, namespace: &str) -> Vec<Arc<Pod>> {
        let now = self.config.clock.now();
        let mut pods = self.view.pods.within(namespace);
        pods.retain(|pod| {
            labels::is(&pod.metadata, labels::KIND_INSTANCE)
                && !pods::is_over(pod)
                && !pods::is_lost(pod, now)
        });
        pods.sort_by_key(|pod| (pod.metadata.creation_timestamp.as_ref().map(|at| at.0), pod.uid()));
        pods
    }
}

/// Tells whether an object carries all of these labels.
pub(crate) fn carries(labels: &Labels, wanted: &Labels) -> bool {
    wanted.iter().all(|(name, value)| labels.get(name) == Some(value))
}

/// Returns how many replicas a Deployment is asked for.
pub(crate) fn replicas(deployment: &Deployment) -> u32 {
    let replicas = deployment.spec.as_ref().and_then(|spec| spec.replicas);
    replicas.and_then(|replicas| u32::try_from(replicas).ok()).unwrap_or(1)
}

/// Returns the port of a Deployment's containers.
pub(crate) fn port(deployment: &Deployment) -> Option<u16> {
    let pod = deployment.spec.as_ref()?.template.spec.as_ref()?;
    let container = pod.containers.iter().find(|one| one.name == container::NAME)?;
    u16::try_from(container.ports.as_ref()?.first()?.container_port).ok()
}

/// Says what is done for whom.
fn running(spec: &WorkloadSpec) -> String {
    format!("run process `{}` of app `{}`", spec.key.process, spec.app)
}

fn refused(spec: &WorkloadSpec, reason: impl Into<String>) -> RuntimeError {
    RuntimeError::Rejected { doing: running(spec), reason: reason.into() }
}

/// Tells whether a pod was chosen to go because there are too many.
pub(crate) fn is_chosen(pod: &Pod) -> bool {
    let cost = labels::annotation(&pod.metadata, labels::DELETION_COST);
    cost.and_then(|cost| cost.parse::<i32>().ok()).is_some_and(|cost| cost < 0)
}
