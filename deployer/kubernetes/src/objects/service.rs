//! The name by which a process is found inside of its environment, and to which the ingress sends its requests. Which release
//! answers is the selector's affair: a new release goes live when it is switched.

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use panda_deployer::runtime::WorkloadKey;

use super::Place;
use super::deployment::PORT;
use crate::labels;

/// Makes the service that leads to the ready instances of a workload.
pub fn service(place: &Place, to: &WorkloadKey, port: u16) -> Service {
    let mut metadata = place.meta();
    metadata.labels.get_or_insert_default().insert(labels::PROCESS.to_owned(), to.process.to_string());
    Service {
        metadata,
        spec: Some(ServiceSpec {
            type_: Some("ClusterIP".to_owned()),
            selector: Some(labels::selector(to)),
            ports: Some(vec![ServicePort {
                name: Some(PORT.to_owned()),
                port: port.into(),
                target_port: Some(IntOrString::Int(port.into())),
                protocol: Some("TCP".to_owned()),
                ..ServicePort::default()
            }]),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}
