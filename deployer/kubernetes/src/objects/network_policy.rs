//! Who may talk to whom. Without a network plugin that enforces policies none of this holds; `doctor` can't see that.

use k8s_openapi::api::networking::v1::{
    IPBlock, NetworkPolicy, NetworkPolicyEgressRule, NetworkPolicyIngressRule, NetworkPolicyPeer,
    NetworkPolicyPort, NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{
    LabelSelector, LabelSelectorRequirement, OwnerReference,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use panda_deployer::runtime::WorkloadKey;

use super::{Place, map, selecting};
use crate::config::EgressRules;
use crate::labels;

/// Makes the policies of an environment: nothing goes in or out, but for what the others allow.
pub fn network_policies(place: &Place, egress: &EgressRules) -> Vec<NetworkPolicy> {
    vec![deny(place), within(place), ingress(place), dns(place), internet(place, egress)]
}

fn deny(place: &Place) -> NetworkPolicy {
    let types = ["Ingress", "Egress"].map(str::to_owned).to_vec();
    policy(place, "panda-deny", NetworkPolicySpec { policy_types: Some(types), ..everyone() })
}

/// Apps of one environment find each other.
fn within(place: &Place) -> NetworkPolicy {
    let spec = NetworkPolicySpec {
        policy_types: Some(["Ingress", "Egress"].map(str::to_owned).to_vec()),
        ingress: Some(vec![NetworkPolicyIngressRule { from: Some(vec![own_pods()]), ports: None }]),
        egress: Some(vec![NetworkPolicyEgressRule { to: Some(vec![own_pods()]), ports: None }]),
        ..everyone()
    };
    policy(place, "panda-within", spec)
}

/// Whatever isn't another environment may send requests: the ingress controller, wherever it runs, and the cluster's own parts.
fn ingress(place: &Place) -> NetworkPolicy {
    let no_environment = LabelSelectorRequirement {
        key: labels::ENVIRONMENT.to_owned(),
        operator: "DoesNotExist".to_owned(),
        values: None,
    };
    let namespaces = LabelSelector { match_labels: None, match_expressions: Some(vec![no_environment]) };
    let from = NetworkPolicyPeer { namespace_selector: Some(namespaces), ..NetworkPolicyPeer::default() };
    let spec = NetworkPolicySpec {
        policy_types: Some(vec!["Ingress".to_owned()]),
        ingress: Some(vec![NetworkPolicyIngressRule { from: Some(vec![from]), ports: None }]),
        ..everyone()
    };
    policy(place, "panda-ingress", spec)
}

/// Lets the world in to one port of a process. It goes with the service that publishes the port.
pub fn published(place: &Place, to: &WorkloadKey, port: u16, service: OwnerReference) -> NetworkPolicy {
    let pods = map([(labels::PLACEMENT, to.placement.as_str()), (labels::PROCESS, to.process.as_str())]);
    let port = NetworkPolicyPort {
        protocol: Some("TCP".to_owned()),
        port: Some(IntOrString::Int(port.into())),
        end_port: None,
    };
    let spec = NetworkPolicySpec {
        pod_selector: Some(selecting(pods)),
        policy_types: Some(vec!["Ingress".to_owned()]),
        ingress: Some(vec![NetworkPolicyIngressRule { from: None, ports: Some(vec![port]) }]),
        ..NetworkPolicySpec::default()
    };
    let mut metadata = place.meta();
    metadata.owner_references = Some(vec![service]);
    NetworkPolicy { metadata, spec: Some(spec) }
}

fn dns(place: &Place) -> NetworkPolicy {
    let namespace = selecting(map([("kubernetes.io/metadata.name", "kube-system")]));
    let to = NetworkPolicyPeer { namespace_selector: Some(namespace), ..NetworkPolicyPeer::default() };
    // Where a cache of names runs on each node, it answers at this address.
    let on_the_node = block("169.254.20.10/32", None);
    let ports = ["UDP", "TCP"].map(|protocol| NetworkPolicyPort {
        protocol: Some(protocol.to_owned()),
        port: Some(IntOrString::Int(53)),
        end_port: None,
    });
    let rule = NetworkPolicyEgressRule { to: Some(vec![to, on_the_node]), ports: Some(ports.to_vec()) };
    policy(place, "panda-dns", outwards(vec![rule]))
}

fn internet(place: &Place, egress: &EgressRules) -> NetworkPolicy {
    let of =
        |v6: bool| egress.closed.iter().filter(move |range| range.contains(':') == v6).cloned().collect();
    let all = [("0.0.0.0/0", of(false)), ("::/0", of(true))];
    let all = all.map(|(cidr, except): (_, Vec<String>)| block(cidr, Some(except).filter(|e| !e.is_empty())));
    let open = egress.open.iter().map(|range| block(range, None));
    let to = all.into_iter().chain(open).collect();
    policy(place, "panda-internet", outwards(vec![NetworkPolicyEgressRule { to: Some(to), ports: None }]))
}

fn outwards(rules: Vec<NetworkPolicyEgressRule>) -> NetworkPolicySpec {
    let policy_types = Some(vec!["Egress".to_owned()]);
    NetworkPolicySpec { policy_types, egress: Some(rules), ..everyone() }
}

fn block(cidr: &str, except: Option<Vec<String>>) -> NetworkPolicyPeer {
    let block = IPBlock { cidr: cidr.to_owned(), except };
    NetworkPolicyPeer { ip_block: Some(block), ..NetworkPolicyPeer::default() }
}

fn own_pods() -> NetworkPolicyPeer {
    NetworkPolicyPeer { pod_selector: Some(LabelSelector::default()), ..NetworkPolicyPeer::default() }
}

fn everyone() -> NetworkPolicySpec {
    NetworkPolicySpec { pod_selector: Some(LabelSelector::default()), ..NetworkPolicySpec::default() }
}

fn policy(place: &Place, name: &str, spec: NetworkPolicySpec) -> NetworkPolicy {
    NetworkPolicy { metadata: place.named(name).meta(), spec: Some(spec) }
}
