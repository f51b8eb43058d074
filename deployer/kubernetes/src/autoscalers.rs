//! Autoscalers beside their Deployments: put there and taken away, and what they say of themselves.
//!
//! While one rules, the number of replicas is its own. We write it when the Deployment is made, and when it lies outside of the
//! bounds; in what is applied later it is left out.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::{
    HorizontalPodAutoscaler, HorizontalPodAutoscalerCondition, HorizontalPodAutoscalerStatus, MetricStatus,
};
use kube::ResourceExt;
use kube::api::{Patch, PatchParams};
use panda_deployer::runtime::{
    EnvironmentKey, ObservedAutoscaler, RuntimeError, RuntimeResult, WorkloadKey, WorkloadSpec,
};
use panda_domain::ids::PlacementId;
use serde_json::json;

use crate::cluster::doing;
use crate::covers::covers;
use crate::labels;
use crate::objects::autoscaler::autoscaler;
use crate::quantity;
use crate::runtime::Driver;
use crate::workloads::replicas;

/// Who owns the number of replicas between our last word on it and the autoscaler's first.
const KEEPER: &str = "panda-replicas";

impl Driver {
    /// Makes the autoscaler of a Deployment be as the spec says, or not be there. What is so already costs no call. Returns
    /// whether anything was changed.
    pub(crate) async fn ensure_autoscaler(
        &self,
        namespace: &str,
        spec: &WorkloadSpec,
        name: &str,
    ) -> RuntimeResult<bool> {
        let Some(bounds) = spec.autoscale else { return self.remove_autoscaler(namespace, name).await };
        let wanted = autoscaler(&self.place(namespace, spec, name), bounds, spec.size);
        let present = self.view.autoscalers.get(namespace, name);
        if present.is_some_and(|present| covers(&*present, &wanted, &[])) {
            return Ok(false);
        }
        let api = self.cluster.within::<HorizontalPodAutoscaler>(namespace);
        self.view.autoscalers.wrote(self.cluster.apply(&api, &wanted).await?);
        Ok(true)
    }

    /// Takes the autoscaler of a Deployment away, so that the number stays as it is. Absent is fine.
    pub(crate) async fn remove_autoscaler(&self, namespace: &str, name: &str) -> RuntimeResult<bool> {
        let Some(present) = self.view.autoscalers.get(namespace, name) else { return Ok(false) };
        let api = self.cluster.within::<HorizontalPodAutoscaler>(namespace);
        self.cluster.remove(&api, &*present).await?;
        self.view.autoscalers.removed(&present);
        Ok(true)
    }

    /// Makes somebody else own the number of replicas as it is, before it is left out of what we apply: a field that its last
    /// owner leaves out would fall back to 1. Where the autoscaler owns it already the server says conflict, and all is well.
    pub(crate) async fn give_up_replicas(&self, namespace: &str, present: &Deployment) -> RuntimeResult<()> {
        let name = present.name_any();
        let kept = json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": &name },
            "spec": { "replicas": replicas(present) },
        });
        let api = self.cluster.within::<Deployment>(namespace);
        let (params, patch) = (PatchParams::apply(KEEPER), Patch::Apply(kept));
        let given =
            self.cluster.call(doing::<Deployment>("hand over", &name), api.patch(&name, &params, &patch));
        match given.await {
            Ok(_) | Err(RuntimeError::Conflict { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Returns how many instances a Deployment's autoscaler wants; `None` where there is none.
    pub(crate) fn autoscaled(&self, namespace: &str, deployment: &Deployment) -> Option<u32> {
        self.view.autoscalers.get(namespace, &deployment.name_any()).map(|_| replicas(deployment))
    }

    /// Tells what the autoscalers of a placement see.
    pub(crate) fn autoscalers(
        &self,
        environment: &EnvironmentKey,
        placement: &PlacementId,
    ) -> RuntimeResult<Vec<ObservedAutoscaler>> {
        self.view.fresh()?;
        let mut told = Vec::new();
        for namespace in self.view.namespaces_of(environment) {
            for found in self.view.autoscalers.within(&namespace) {
                let Some((key, _)) = labels::workload(found.labels()) else { continue };
                if key.placement == *placement {
                    let deployment = self.view.deployments.get(&namespace, &found.name_any());
                    told.push(observe(key, &found, deployment.as_deref().map(replicas)));
                }
            }
        }
        Ok(told)
    }
}

fn observe(key: WorkloadKey, found: &HorizontalPodAutoscaler, wanted: Option<u32>) -> ObservedAutoscaler {
    let status = found.status.clone().unwrap_or_default();
    let most = found.spec.as_ref().map_or(0, |spec| spec.max_replicas);
    let figure = |name: &str| status.current_metrics.iter().flatten().find_map(|one| average(one, name));
    ObservedAutoscaler {
        key,
        wanted,
        cpu_millis: figure("cpu").and_then(|cpu| quantity::millis(&cpu)),
        memory_bytes: figure("memory").and_then(|memory| quantity::bytes(&memory)),
        trouble: trouble(&status, most),
    }
}

fn average(metric: &MetricStatus, name: &str) -> Option<String> {
    let resource = metric.resource.as_ref().filter(|resource| resource.name == name)?;
    Some(resource.current.average_value.as_ref()?.0.clone())
}

/// Says what keeps the number from following the load, from the autoscaler's own conditions.
fn trouble(status: &HorizontalPodAutoscalerStatus, most: i32) -> Option<String> {
    let conditions: &[_] = status.conditions.as_deref().unwrap_or_default();
    if conditions.is_empty() {
        return Some("the cluster's autoscaler hasn't looked at it yet".to_owned());
    }
    let is = |kind: &str, value: &str| conditions.iter().find(|one| one.type_ == kind && one.status == value);
    if let Some(unable) = is("AbleToScale", "False") {
        return Some(format!("the number can't be changed: {}", message(unable)));
    }
    if let Some(inactive) = is("ScalingActive", "False") {
        return Some(no_figures(inactive));
    }
    let limited = is("ScalingLimited", "True").filter(|one| one.reason.as_deref() == Some("TooManyReplicas"));
    limited.map(|_| format!("the load asks for more than {most}"))
}

/// Says why there are no figures. A cluster without metrics is the usual reason, and told so.
fn no_figures(condition: &HorizontalPodAutoscalerCondition) -> String {
    let said = message(condition);
    if said.contains("could not find the requested resource") || said.contains("unable to handle the request")
    {
        return "this cluster tells no loads: its metrics API (metrics-server) isn't there or doesn't answer; the number stays as it is"
            .to_owned();
    }
    if said.contains("no metrics returned") || said.contains("did not receive metrics") {
        return "there are no figures of its instances yet; they come about half a minute after their start"
            .to_owned();
    }
    format!("the load isn't known: {said}")
}

fn message(condition: &HorizontalPodAutoscalerCondition) -> &str {
    condition.message.as_deref().or(condition.reason.as_deref()).unwrap_or("it doesn't say why")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says(kind: &str, value: &str, reason: &str, message: &str) -> Option<String> {
        let condition = HorizontalPodAutoscalerCondition {
            type_: kind.to_owned(),
            status: value.to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message.to_owned()),
            last_transition_time: None,
        };
        let status =
            HorizontalPodAutoscalerStatus { conditions: Some(vec![condition]), ..Default::default() };
        trouble(&status, 10)
    }

    #[test]
    fn conditions_become_reasons_that_people_understand() {
        // As Kubernetes 1.36 says it without metrics-server: when it isn't installed, when it doesn't run, when it has just begun.
        let begins = "the HPA was unable to compute the replica count: failed to get cpu usage: unable to get metrics for resource cpu: ";
        for end in [
            "unable to fetch metrics from resource metrics API: the server could not find the requested resource (get pods.metrics.k8s.io)",
            "unable to fetch metrics from resource metrics API: the server is currently unable to handle the request (get pods.metrics.k8s.io)",
        ] {
            let told =
                says("ScalingActive", "False", "FailedGetResourceMetric", &format!("{begins}{end}")).unwrap();
            assert!(told.contains("metrics-server"), "{told}");
        }
        let early = format!("{begins}no metrics returned from resource metrics API");
        let told = says("ScalingActive", "False", "FailedGetResourceMetric", &early).unwrap();
        assert!(told.contains("half a minute"), "{told}");
        let told = says("ScalingActive", "False", "Odd", "who knows").unwrap();
        assert!(told.contains("who knows"), "{told}");
        let told = says("ScalingLimited", "True", "TooManyReplicas", "").unwrap();
        assert!(told.contains("more than 10"), "{told}");
        assert_eq!(says("ScalingLimited", "True", "TooFewReplicas", ""), None);
        assert_eq!(says("ScalingActive", "True", "ValidMetricFound", ""), None);
        assert!(trouble(&HorizontalPodAutoscalerStatus::default(), 10).is_some());
    }
}
