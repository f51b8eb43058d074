//! From the seam's route table to the edge's snapshot.

use std::collections::{BTreeSet, HashMap};

use panda_deployer::runtime::{PortSpec, RouteSpec, RouteTable, RouteTarget, WorkloadKey};
use panda_domain::ids::InstanceId;
use panda_edge::protocol::{
    Certificate, Challenge, KeyPem, Route, RouteKind, RouteOptions, Snapshot, Upstream,
};

use crate::instances::Instances;

/// How long a connection of a TCP port may stand still.
const TCP_IDLE_MS: u64 = 4 * 3600 * 1000;

/// Makes the snapshot that serves the table with the instances that are ready now. Its generation is left at 0.
pub(super) fn of(table: &RouteTable, instances: &Instances) -> Snapshot {
    let ready = instances.upstreams();
    let routes = table.routes.iter().map(|spec| route(spec, &ready));
    let ports = table.ports.iter().map(|spec| port(spec, instances));
    Snapshot {
        generation: 0,
        routes: routes.chain(ports).collect(),
        certificates: certificates(table),
        challenges: challenges(table),
        redirects: Vec::new(),
    }
}

fn route(spec: &RouteSpec, ready: &HashMap<WorkloadKey, Vec<(InstanceId, String)>>) -> Route {
    let (process, upstreams) = match &spec.target {
        RouteTarget::Platform(address) => {
            let id = format!("platform-{address}");
            (String::new(), vec![Upstream { id, address: (*address).into() }])
        }
        RouteTarget::Workloads(keys) => {
            let found = keys.iter().filter_map(|key| ready.get(key)).flatten();
            let upstreams = found.filter_map(|(instance, address)| {
                Some(Upstream { id: instance.to_string(), address: address.parse().ok()? })
            });
            let process = keys.first().map(|key| key.process.to_string()).unwrap_or_default();
            (process, upstreams.collect())
        }
    };
    Route {
        id: spec.id.to_string(),
        app: spec.app.clone(),
        process,
        hosts: vec![spec.host.clone()],
        tcp_port: None,
        path_prefix: spec.path.clone(),
        kind: if spec.placement.is_some() { RouteKind::App } else { RouteKind::Platform },
        upstreams,
        options: RouteOptions {
            force_https: spec.http.force_https,
            body_limit_bytes: spec.http.body_limit_bytes,
            response_timeout_ms: u64::from(spec.http.timeout_s.max(1)) * 1000,
            ..RouteOptions::default()
        },
    }
}

/// What is spoken there may be silent for long: only a connection that nobody used for hours is taken for dead.
fn port(spec: &PortSpec, instances: &Instances) -> Route {
    let upstreams = instances
        .at_port(&spec.target, spec.port)
        .into_iter()
        .filter_map(|(id, address)| Some(Upstream { id: id.to_string(), address: address.parse().ok()? }));
    Route {
        id: format!("tcp-{}", spec.published),
        app: spec.app.clone(),
        process: spec.target.process.to_string(),
        hosts: Vec::new(),
        tcp_port: Some(spec.published),
        path_prefix: "/".to_owned(),
        kind: RouteKind::App,
        upstreams: upstreams.collect(),
        options: RouteOptions { idle_timeout_ms: TCP_IDLE_MS, ..RouteOptions::default() },
    }
}

fn certificates(table: &RouteTable) -> Vec<Certificate> {
    let certificates = table.certificates.iter().map(|spec| Certificate {
        id: spec.hosts.join(","),
        hosts: spec.hosts.clone(),
        chain_pem: spec.chain_pem.clone(),
        key_pem: KeyPem::new(spec.key_pem.reveal()),
    });
    certificates.collect()
}

/// The seam's challenges name no host, the edge's do; a token can't be guessed, so it may be answered at every host.
fn challenges(table: &RouteTable) -> Vec<Challenge> {
    if table.challenges.is_empty() {
        return Vec::new();
    }
    let hosts: BTreeSet<&str> = table.routes.iter().map(|route| route.host.as_str()).collect();
    let answers = table.challenges.iter().flat_map(|spec| {
        hosts.iter().map(|host| Challenge {
            host: (*host).to_owned(),
            token: spec.token.clone(),
            key_authorization: spec.key_authorization.clone(),
        })
    });
    answers.collect()
}
