//! cert-manager's ClusterIssuer for an ACME server, as much of it as Panda uses.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::certificate::Condition;
use crate::config::Acme;
use crate::labels::Labels;

/// Who issues.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, CustomResource)]
#[kube(group = "cert-manager.io", version = "v1", kind = "ClusterIssuer", status = "ClusterIssuerStatus")]
pub struct ClusterIssuerSpec {
    /// The ACME server, and how challenges are solved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acme: Option<AcmeSpec>,
}

/// An ACME server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AcmeSpec {
    /// The directory's URL.
    pub server: String,
    /// Whom it writes to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// What its TLS is checked by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_bundle: Option<String>,
    /// The secret that keeps the account's key.
    pub private_key_secret_ref: SecretRef,
    /// How challenges are solved.
    pub solvers: Vec<Solver>,
}

/// Names a secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SecretRef {
    /// Its name.
    pub name: String,
}

/// A way to solve challenges.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Solver {
    /// By a file at port 80.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http01: Option<Http01>,
}

/// By a file at port 80.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Http01 {
    /// Through this ingress class.
    pub ingress: SolverIngress,
}

/// Through which ingress.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SolverIngress {
    /// Its class.
    pub ingress_class_name: String,
    /// The kind of the solver's Service. cert-manager's default takes a port of the nodes, which environments may not.
    pub service_type: String,
}

/// What became of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ClusterIssuerStatus {
    /// `Ready`.
    #[serde(default)]
    pub conditions: Vec<Condition>,
}

/// Makes the issuer.
pub fn cluster_issuer(labels: &Labels, name: &str, acme: &Acme, ingress_class: &str) -> ClusterIssuer {
    let solver = Http01 {
        ingress: SolverIngress {
            ingress_class_name: ingress_class.to_owned(),
            service_type: "ClusterIP".to_owned(),
        },
    };
    let spec = AcmeSpec {
        server: acme.server.clone(),
        email: acme.email.clone(),
        ca_bundle: acme.ca_bundle.clone(),
        private_key_secret_ref: SecretRef { name: format!("{name}-account") },
        solvers: vec![Solver { http01: Some(solver) }],
    };
    let mut issuer = ClusterIssuer::new(name, ClusterIssuerSpec { acme: Some(spec) });
    issuer.metadata =
        ObjectMeta { name: Some(name.to_owned()), labels: Some(labels.clone()), ..ObjectMeta::default() };
    issuer
}
