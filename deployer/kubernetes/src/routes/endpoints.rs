//! Where services really lead to: the endpoints that the cluster has made of them.

use std::collections::BTreeSet;

use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use kube::ResourceExt;
use panda_deployer::runtime::WorkloadKey;

use crate::labels;
use crate::pods;
use crate::runtime::Driver;
use crate::workloads::carries;

/// The label by which slices name their service.
const SERVICE: &str = "kubernetes.io/service-name";

impl Driver {
    /// Tells whether a service leads to instances of the release that it should, and to no others; to none only while none is
    /// ready.
    pub(super) fn is_followed(&self, namespace: &str, service: &str, to: &WorkloadKey) -> bool {
        let found = self.find(namespace, to);
        let ready: BTreeSet<String> = found
            .pods
            .iter()
            .filter(|pod| pods::is_ready(pod) && pod.metadata.deletion_timestamp.is_none())
            .filter_map(|pod| pod.uid())
            .collect();
        let all: BTreeSet<String> = found.pods.iter().filter_map(|pod| pod.uid()).collect();
        let leads_to = self.leads_to(namespace, service);
        leads_to.is_subset(&all) && ready.is_subset(&leads_to)
    }

    /// Returns the addresses of a workload's instances that its service leads to.
    pub(super) fn upstreams(&self, key: &WorkloadKey, service: &str) -> Vec<String> {
        let Some(namespace) = self.view.namespace(&key.environment) else { return Vec::new() };
        let slices = self.slices(&namespace, service);
        let selector = labels::selector(key);
        let addresses = slices.iter().flat_map(|slice| {
            let port = slice.ports.iter().flatten().find_map(|port| port.port);
            let endpoints = slice.endpoints.iter().filter(|endpoint| takes_requests(endpoint));
            let ours = endpoints.filter(|endpoint| {
                let name = endpoint.target_ref.as_ref().and_then(|target| target.name.as_deref());
                let pod = name.and_then(|name| self.view.pods.get(&namespace, name));
                pod.is_some_and(|pod| carries(pod.labels(), &selector))
            });
            ours.flat_map(|endpoint| endpoint.addresses.iter())
                .filter_map(|address| Some(format!("{address}:{}", port?)))
                .collect::<Vec<_>>()
        });
        addresses.collect()
    }

    /// The UIDs of the pods that take a service's requests.
    fn leads_to(&self, namespace: &str, service: &str) -> BTreeSet<String> {
        let slices = self.slices(namespace, service);
        let endpoints = slices.iter().flat_map(|slice| &slice.endpoints).filter(|e| takes_requests(e));
        endpoints.filter_map(|endpoint| endpoint.target_ref.as_ref()?.uid.clone()).collect()
    }

    fn slices(&self, namespace: &str, service: &str) -> Vec<std::sync::Arc<EndpointSlice>> {
        let mut slices = self.view.slices.within(namespace);
        slices.retain(|slice| slice.labels().get(SERVICE).is_some_and(|name| name == service));
        slices
    }
}

fn takes_requests(endpoint: &Endpoint) -> bool {
    endpoint.conditions.as_ref().and_then(|conditions| conditions.ready) != Some(false)
}
