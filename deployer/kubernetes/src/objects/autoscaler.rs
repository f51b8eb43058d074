//! Changes replicas by load.

use k8s_openapi::api::autoscaling::v2::{
    CrossVersionObjectReference, HorizontalPodAutoscaler, HorizontalPodAutoscalerSpec, MetricSpec,
    MetricTarget, ResourceMetricSource,
};
use panda_domain::autoscale::Autoscale;
use panda_domain::formation::Size;

use super::{Place, bytes, millis};

/// Makes the autoscaler of the Deployment of the same name. Targets are absolute: the cluster's own percentages are of what is
/// kept free, which is less than an instance's size.
pub fn autoscaler(place: &Place, autoscale: Autoscale, size: Size) -> HorizontalPodAutoscaler {
    let cpu = autoscale
        .cpu_percent
        .map(|percent| metric("cpu", millis((u64::from(size.cpu_millis) * u64::from(percent) / 100).max(1))));
    let memory = autoscale
        .memory_percent
        .map(|percent| metric("memory", bytes((size.memory_bytes / 100 * u64::from(percent)) >> 10 << 10)));
    let replicas = |figure: u32| i32::try_from(figure).unwrap_or(i32::MAX);
    HorizontalPodAutoscaler {
        metadata: place.meta(),
        spec: Some(HorizontalPodAutoscalerSpec {
            scale_target_ref: CrossVersionObjectReference {
                api_version: Some("apps/v1".to_owned()),
                kind: "Deployment".to_owned(),
                name: place.name.clone(),
            },
            min_replicas: Some(replicas(autoscale.min)),
            max_replicas: replicas(autoscale.max),
            metrics: Some(cpu.into_iter().chain(memory).collect()),
            behavior: None,
        }),
        status: None,
    }
}

fn metric(resource: &str, each: k8s_openapi::apimachinery::pkg::api::resource::Quantity) -> MetricSpec {
    let target = MetricTarget {
        type_: "AverageValue".to_owned(),
        average_value: Some(each),
        ..MetricTarget::default()
    };
    MetricSpec {
        type_: "Resource".to_owned(),
        resource: Some(ResourceMetricSource { name: resource.to_owned(), target }),
        ..MetricSpec::default()
    }
}
