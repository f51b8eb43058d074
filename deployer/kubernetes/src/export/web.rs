//! How an exported app is reached.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::api::networking::v1::Ingress;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use panda_deployer::export::{ExportedApp, ExportedPort, ExportedProcess};

use super::workloads::{plain_meta, selector};
use super::{named, place};
use crate::objects::Place;
use crate::objects::deployment::PORT;
use crate::objects::ingress::{self, NGINX, Routed, Rule};

/// Returns the name by which a process is found, the same as with Panda: the app's own for `web`.
pub(super) fn service_name(app: &ExportedApp, process: &ExportedProcess) -> String {
    if process.name.is_web() { app.name.to_string() } else { named(app, process.name.as_str()) }
}

/// Makes the service of a process that listens.
pub(super) fn service(app: &ExportedApp, process: &ExportedProcess) -> Option<Service> {
    let port = process.port?;
    let place = Place { labels: selector(app, process), ..place(app, service_name(app, process)) };
    Some(Service {
        metadata: plain_meta(&place),
        spec: Some(ServiceSpec {
            selector: Some(selector(app, process)),
            ports: Some(vec![ServicePort {
                name: Some(PORT.to_owned()),
                port: port.into(),
                target_port: Some(IntOrString::String(PORT.to_owned())),
                protocol: Some("TCP".to_owned()),
                ..ServicePort::default()
            }]),
            ..ServiceSpec::default()
        }),
        status: None,
    })
}

/// Makes the service that lets the world reach a port: at a balancer, which every cloud and many small clusters have. Which port of
/// the nodes it takes is the cluster's to choose.
pub(super) fn published(app: &ExportedApp, process: &ExportedProcess, port: &ExportedPort) -> Service {
    let name = named(app, &format!("tcp-{}", port.published));
    let place = Place { labels: selector(app, process), ..place(app, name) };
    Service {
        metadata: plain_meta(&place),
        spec: Some(ServiceSpec {
            type_: Some("LoadBalancer".to_owned()),
            selector: Some(selector(app, process)),
            ports: Some(vec![ServicePort {
                name: Some("tcp".to_owned()),
                port: port.published.into(),
                target_port: Some(IntOrString::Int(port.port.into())),
                protocol: Some("TCP".to_owned()),
                ..ServicePort::default()
            }]),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}

/// Makes the Ingress of the app's hosts, `None` when it takes no requests. Its class is the cluster's default; ingress-nginx is
/// told what it has words for, others leave its annotations alone.
pub(super) fn ingress(app: &ExportedApp) -> Option<Ingress> {
    let (web, _) = app.web()?;
    let place = place(app, app.name.to_string());
    let rules = app.hosts.iter().map(|(host, path)| Rule {
        host: host.clone(),
        path: path.clone(),
        service: service_name(app, web),
    });
    let rules: Vec<Rule> = rules.collect();
    let hosts: BTreeSet<String> = app.hosts.iter().map(|(host, _)| host.clone()).collect();
    let certificates = BTreeMap::from([(named(app, "tls"), hosts)]);
    let routed = Routed {
        place: place.clone(),
        rules: &rules,
        certificates: &certificates,
        class: None,
        controller: NGINX,
        http: &app.http,
    };
    let mut ingress = ingress::ingress(&routed);
    ingress.metadata.namespace = None;
    Some(ingress)
}
