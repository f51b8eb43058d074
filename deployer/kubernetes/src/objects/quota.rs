//! What an environment may hold.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ResourceQuota, ResourceQuotaSpec};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::{Place, bytes, millis};
use crate::config::{PortService, Quota};

/// Makes the quota of an environment. Services that take a port of the nodes or an address of the cloud are Panda's to give: as
/// many as its apps publish `ports`. A balancer takes a port of the nodes too.
pub fn quota(place: &Place, quota: &Quota, service: PortService, ports: usize) -> ResourceQuota {
    let balancers = if service == PortService::LoadBalancer { ports } else { 0 };
    let mut hard = BTreeMap::from([
        ("pods".to_owned(), Quantity(quota.pods.to_string())),
        ("services.loadbalancers".to_owned(), Quantity(balancers.to_string())),
        ("services.nodeports".to_owned(), Quantity(ports.to_string())),
    ]);
    let figures = [
        ("requests.cpu", quota.cpu_millis.map(millis)),
        ("requests.memory", quota.memory_bytes.map(bytes)),
        ("requests.storage", quota.storage_bytes.map(bytes)),
    ];
    hard.extend(figures.into_iter().filter_map(|(name, figure)| Some((name.to_owned(), figure?))));
    ResourceQuota {
        metadata: place.meta(),
        spec: Some(ResourceQuotaSpec { hard: Some(hard), ..ResourceQuotaSpec::default() }),
        ..ResourceQuota::default()
    }
}
