//! What Panda puts into a cluster: pure functions from its words to Kubernetes' objects, one file an object.
//!
//! Every field that these set belongs to Panda: it is applied by the server under the field manager [`MANAGER`], and set again
//! when somebody else changes it. Fields that they leave out are the cluster's, or other people's.

pub mod autoscaler;
pub mod certificate;
pub mod challenge;
pub mod cluster_issuer;
pub mod config_map;
pub mod container;
pub mod cron_job;
pub mod deployment;
pub mod disruption_budget;
pub mod files;
pub mod ingress;
pub mod job;
pub mod limit_range;
pub mod namespace;
pub mod network_policy;
pub mod pod;
pub mod published;
pub mod quota;
pub mod secret;
pub mod service;
pub mod service_account;
pub mod volume_claim;

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};

pub use crate::labels::{Labels, Owner};
pub use crate::names::{
    namespace as namespace_name, published as published_name, service as service_name,
    workload as workload_name,
};

/// Under which name fields are owned.
pub const MANAGER: &str = "panda";

/// Where an object lies, what it is called, whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The environment's namespace.
    pub namespace: String,
    /// The object's name.
    pub name: String,
    /// Its labels.
    pub labels: Labels,
}

impl Place {
    /// Returns the same place under another name.
    #[must_use]
    pub fn named(&self, name: impl Into<String>) -> Self {
        Self { name: name.into(), ..self.clone() }
    }

    pub(crate) fn meta(&self) -> ObjectMeta {
        ObjectMeta {
            name: Some(self.name.clone()),
            namespace: Some(self.namespace.clone()),
            labels: Some(self.labels.clone()),
            ..ObjectMeta::default()
        }
    }
}

pub(crate) fn selecting(labels: Labels) -> LabelSelector {
    LabelSelector { match_labels: Some(labels), match_expressions: None }
}

/// Returns thousandths of a core as Kubernetes writes them.
pub(crate) fn millis(millis: u64) -> Quantity {
    Quantity(if millis.is_multiple_of(1000) { (millis / 1000).to_string() } else { format!("{millis}m") })
}

/// Returns bytes as Kubernetes writes them: in the largest unit that is exact.
pub(crate) fn bytes(bytes: u64) -> Quantity {
    let units = [(30, "Gi"), (20, "Mi"), (10, "Ki")];
    let unit = units.into_iter().find(|(shift, _)| bytes > 0 && bytes.is_multiple_of(1 << shift));
    Quantity(unit.map_or_else(|| bytes.to_string(), |(shift, unit)| format!("{}{unit}", bytes >> shift)))
}

pub(crate) fn map<const N: usize>(entries: [(&str, &str); N]) -> BTreeMap<String, String> {
    entries.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_written_as_the_server_writes_them_so_that_they_compare() {
        let written = [millis(500), millis(2000), bytes(96 << 20), bytes(1 << 30), bytes(1500), bytes(0)];
        assert_eq!(written.map(|q| q.0), ["500m", "2", "96Mi", "1Gi", "1500", "0"]);
    }
}
