//! What instances and tasks have in common beside their container.

use k8s_openapi::api::core::v1::{LocalObjectReference, PodSpec};

use super::{container, service_account};

/// Makes a pod that knows nothing of the cluster.
pub fn pod(container: container::Container, login: Option<&str>) -> PodSpec {
    PodSpec {
        containers: vec![container],
        service_account_name: Some(service_account::NAME.to_owned()),
        automount_service_account_token: Some(false),
        // The addresses of every service as variables: nobody asked for them, and they outgrow the kernel's limit.
        enable_service_links: Some(false),
        image_pull_secrets: login.map(|name| vec![LocalObjectReference { name: name.to_owned() }]),
        ..PodSpec::default()
    }
}
