//! cert-manager's Certificate, as much of it as Panda uses.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Place;

/// What is ordered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, CustomResource)]
#[kube(
    group = "cert-manager.io",
    version = "v1",
    kind = "Certificate",
    namespaced,
    status = "CertificateStatus"
)]
#[serde(rename_all = "camelCase")]
pub struct CertificateSpec {
    /// The secret that gets chain and key.
    pub secret_name: String,
    /// The hosts.
    pub dns_names: Vec<String>,
    /// Who issues it.
    pub issuer_ref: IssuerRef,
    /// The key's kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub private_key: Option<PrivateKey>,
}

/// Names an issuer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct IssuerRef {
    /// Its name.
    pub name: String,
    /// `ClusterIssuer` or `Issuer`.
    pub kind: String,
}

/// How a key is made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PrivateKey {
    /// `ECDSA` or `RSA`.
    pub algorithm: String,
    /// Bits.
    pub size: u32,
    /// Whether a renewal makes a new key.
    pub rotation_policy: String,
}

/// What became of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CertificateStatus {
    /// `Ready`, `Issuing`.
    #[serde(default)]
    pub conditions: Vec<Condition>,
    /// Its last day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_after: Option<String>,
    /// When it is renewed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renewal_time: Option<String>,
}

/// One of its conditions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Condition {
    /// Which.
    #[serde(rename = "type")]
    pub type_: String,
    /// `True`, `False`, `Unknown`.
    pub status: String,
    /// Why, a word.
    #[serde(default)]
    pub reason: String,
    /// Why, a sentence.
    #[serde(default)]
    pub message: String,
}

/// Orders a host's certificate from a ClusterIssuer.
pub fn certificate(place: &Place, host: &str, issuer: &str) -> Certificate {
    let mut certificate = Certificate::new(
        &place.name,
        CertificateSpec {
            secret_name: place.name.clone(),
            dns_names: vec![host.to_owned()],
            issuer_ref: IssuerRef { name: issuer.to_owned(), kind: "ClusterIssuer".to_owned() },
            private_key: Some(PrivateKey {
                algorithm: "ECDSA".to_owned(),
                size: 256,
                rotation_policy: "Always".to_owned(),
            }),
        },
    );
    certificate.metadata = place.meta();
    certificate
}
