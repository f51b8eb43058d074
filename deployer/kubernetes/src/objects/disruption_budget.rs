//! How many instances of a workload may be away at once when nodes are emptied.

use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use panda_deployer::runtime::WorkloadSpec;

use super::{Place, selecting};
use crate::labels;

/// Makes the budget: one at a time. `None` for a single instance, which would keep its node from ever being emptied.
pub fn disruption_budget(place: &Place, spec: &WorkloadSpec) -> Option<PodDisruptionBudget> {
    // Where the number follows the load it is the most that counts: with the budget a single one may go as well.
    let most = spec.autoscale.map_or(spec.replicas, |bounds| bounds.max);
    (most > 1).then(|| PodDisruptionBudget {
        metadata: place.meta(),
        spec: Some(PodDisruptionBudgetSpec {
            max_unavailable: Some(IntOrString::Int(1)),
            selector: Some(selecting(labels::selector(&spec.key))),
            // What isn't ready serves nobody; it must not hold up a node.
            unhealthy_pod_eviction_policy: Some("AlwaysAllow".to_owned()),
            ..PodDisruptionBudgetSpec::default()
        }),
        status: None,
    })
}
