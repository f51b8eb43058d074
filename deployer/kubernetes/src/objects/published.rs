//! A port of the world that leads to a port of a process: on every node, or at a balancer of the cloud. Which release answers is
//! the selector's affair, as with the process's own service.

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use panda_deployer::runtime::PortSpec;

use super::Place;
use crate::config::PortService;
use crate::labels;

/// Makes the service that publishes a port.
pub fn published(place: &Place, spec: &PortSpec, service: PortService) -> Service {
    let mut metadata = place.meta();
    let process = spec.target.process.to_string();
    metadata.labels.get_or_insert_default().insert(labels::PROCESS.to_owned(), process);
    // A balancer listens on the published port; which one of the nodes it comes by is the cluster's to choose.
    let (kind, port, node_port) = match service {
        PortService::NodePort => ("NodePort", spec.port, Some(spec.published.into())),
        PortService::LoadBalancer => ("LoadBalancer", spec.published, None),
    };
    Service {
        metadata,
        spec: Some(ServiceSpec {
            type_: Some(kind.to_owned()),
            selector: Some(labels::selector(&spec.target)),
            ports: Some(vec![ServicePort {
                name: Some("tcp".to_owned()),
                port: port.into(),
                target_port: Some(IntOrString::Int(spec.port.into())),
                node_port,
                protocol: Some("TCP".to_owned()),
                ..ServicePort::default()
            }]),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}
