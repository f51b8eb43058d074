//! Which hosts and paths of the world lead to an app.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::networking::v1::{
    HTTPIngressPath, HTTPIngressRuleValue, Ingress, IngressBackend, IngressRule, IngressServiceBackend,
    IngressSpec, IngressTLS, ServiceBackendPort,
};
use panda_domain::release::HttpConfig;

use super::Place;
use super::deployment::PORT;

/// The controller of an ingress class whose annotations are known.
pub(crate) const NGINX: &str = "k8s.io/ingress-nginx";

/// One host and path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// The host.
    pub host: String,
    /// The path's beginning.
    pub path: String,
    /// The service that answers.
    pub service: String,
}

/// Everything that an Ingress is made of.
#[derive(Debug, Clone)]
pub struct Routed<'a> {
    /// Where it lies.
    pub place: Place,
    /// The hosts and paths.
    pub rules: &'a [Rule],
    /// Secrets with certificates, and the hosts that each is for.
    pub certificates: &'a BTreeMap<String, BTreeSet<String>>,
    /// The class.
    pub class: Option<&'a str>,
    /// The class's controller.
    pub controller: &'a str,
    /// How requests are treated.
    pub http: &'a HttpConfig,
}

/// Makes the Ingress.
pub fn ingress(routed: &Routed<'_>) -> Ingress {
    let mut hosts: BTreeMap<&str, Vec<&Rule>> = BTreeMap::new();
    for rule in routed.rules {
        hosts.entry(&rule.host).or_default().push(rule);
    }
    let rules = hosts.into_iter().map(|(host, rules)| IngressRule {
        host: Some(host.to_owned()),
        http: Some(HTTPIngressRuleValue { paths: rules.into_iter().map(path).collect() }),
    });
    let tls = routed.certificates.iter().map(|(secret, hosts)| IngressTLS {
        hosts: Some(hosts.iter().cloned().collect()),
        secret_name: Some(secret.clone()),
    });
    let mut metadata = routed.place.meta();
    metadata.annotations = Some(annotations(routed)).filter(|annotations| !annotations.is_empty());
    Ingress {
        metadata,
        spec: Some(IngressSpec {
            ingress_class_name: routed.class.map(str::to_owned),
            rules: Some(rules.collect()),
            tls: Some(tls.collect::<Vec<_>>()).filter(|tls| !tls.is_empty()),
            default_backend: None,
        }),
        status: None,
    }
}

fn path(rule: &Rule) -> HTTPIngressPath {
    let service = IngressServiceBackend {
        name: rule.service.clone(),
        port: Some(ServiceBackendPort { name: Some(PORT.to_owned()), number: None }),
    };
    HTTPIngressPath {
        path: Some(rule.path.clone()),
        path_type: "Prefix".to_owned(),
        backend: IngressBackend { service: Some(service), resource: None },
    }
}

/// What the standard has no words for, in the words of a controller that is known. Others treat requests as they are set up to.
fn annotations(routed: &Routed<'_>) -> BTreeMap<String, String> {
    if routed.controller != NGINX {
        return BTreeMap::new();
    }
    let http = routed.http;
    let force_https = http.force_https && !routed.certificates.is_empty();
    [
        ("ssl-redirect", force_https.to_string()),
        ("proxy-body-size", http.body_limit_bytes.to_string()),
        ("proxy-read-timeout", http.timeout_s.to_string()),
    ]
    .map(|(name, value)| (format!("nginx.ingress.kubernetes.io/{name}"), value))
    .into()
}
