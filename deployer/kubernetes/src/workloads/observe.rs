//! What runs: merged from what was last seen of Deployments and pods.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use panda_deployer::runtime::{
    EnvironmentKey, Inventory, ObservedInstance, ObservedWorkload, RuntimeResult, WorkloadKey,
};

use super::{is_chosen, replicas};
use crate::labels;
use crate::pods::{self, Beside};
use crate::runtime::Driver;

/// A workload's parts before they are told of.
#[derive(Default)]
struct Parts {
    release_number: u32,
    deployment: Option<Arc<Deployment>>,
    pods: Vec<Arc<Pod>>,
}

impl Driver {
    /// Returns every workload of the environment.
    pub(crate) fn observe(&self, key: &EnvironmentKey) -> RuntimeResult<Vec<ObservedWorkload>> {
        self.view.fresh()?;
        let mut observed = Vec::new();
        for namespace in self.view.namespaces_of(key) {
            let parts = self.parts(&namespace).into_iter();
            observed.extend(parts.map(|(key, parts)| self.workload(&namespace, key, &parts)));
        }
        Ok(observed)
    }

    /// Returns everything that is held for this installation.
    pub(crate) fn inventory(&self) -> RuntimeResult<Inventory> {
        self.view.fresh()?;
        let mut held = Inventory::default();
        for namespace in self.view.namespaces.all() {
            let stays = namespace.metadata.deletion_timestamp.is_none();
            held.environments.extend(labels::environment(namespace.labels()).filter(|_| stays));
            held.workloads.extend(self.parts(&namespace.name_any()).into_keys());
        }
        for job in self.view.jobs.all() {
            let task = labels::task(job.labels()).zip(labels::placement(job.labels()));
            held.tasks.extend(task);
        }
        Ok(held)
    }

    fn parts(&self, namespace: &str) -> BTreeMap<WorkloadKey, Parts> {
        let mut found: BTreeMap<WorkloadKey, Parts> = BTreeMap::new();
        for deployment in self.view.deployments.within(namespace) {
            if let Some((key, release_number)) = labels::workload(deployment.labels()) {
                let parts = found.entry(key).or_default();
                (parts.release_number, parts.deployment) = (release_number, Some(deployment));
            }
        }
        for pod in self.live_pods(namespace) {
            if let Some((key, release_number)) = labels::workload(pod.labels()) {
                let parts = found.entry(key).or_default();
                parts.release_number = release_number;
                parts.pods.push(pod);
            }
        }
        found
    }

    fn workload(&self, namespace: &str, key: WorkloadKey, parts: &Parts) -> ObservedWorkload {
        // Pods whose Deployment is gone go too.
        let wanted = parts.deployment.as_deref().map_or(0, replicas) as usize;
        let staying = parts.pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()).count();
        let too_many = staying > wanted;
        let instances = parts.pods.iter().filter_map(|pod| {
            let surplus = wanted == 0 || (too_many && is_chosen(pod));
            self.instance(namespace, pod, surplus)
        });
        ObservedWorkload {
            wanted: parts.deployment.as_deref().and_then(|found| self.autoscaled(namespace, found)),
            instances: instances.collect(),
            key,
            release_number: parts.release_number,
        }
    }

    fn instance(&self, namespace: &str, pod: &Arc<Pod>, surplus: bool) -> Option<ObservedInstance> {
        let now = self.config.clock.now();
        let listening = if pods::port(pod).is_some() && !pods::is_ready(pod) && !surplus {
            self.listening.of(self, namespace, pod)
        } else {
            Vec::new()
        };
        pods::observe(pod, Beside { surplus, listening }, &self.view.complaints, now)
    }

    /// Returns the running pods of a placement by the environment's key, with their workload's.
    pub(crate) fn pods_of(
        &self,
        environment: &EnvironmentKey,
        placement: &panda_domain::ids::PlacementId,
    ) -> Vec<(WorkloadKey, Arc<Pod>)> {
        let namespaces = self.view.namespaces_of(environment).into_iter();
        let pods = namespaces.flat_map(|namespace| self.live_pods(&namespace));
        let pods = pods.filter_map(|pod| Some((labels::workload(pod.labels())?.0, pod)));
        pods.filter(|(key, _)| key.placement == *placement).collect()
    }
}
