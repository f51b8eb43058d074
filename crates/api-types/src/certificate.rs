//! Certificates that people give.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Gives the app a certificate. Has no `Debug`, because of the key.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CertificateRequest {
    /// A proven domain of the app, or a wildcard over some, such as `*.example.com`.
    pub host: String,
    /// The chain, leaf first, PEM.
    pub chain_pem: String,
    /// The leaf's private key, PEM. Write-only.
    #[schema(write_only)]
    pub key_pem: String,
}

/// A certificate that was given, without its key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OwnCertificate {
    /// What it was given for.
    pub host: String,
    /// The app's domains that it is shown for.
    pub domains: Vec<String>,
    /// The names in it.
    pub names: Vec<String>,
    /// Who signed it.
    pub issuer: String,
    /// From when it is valid.
    pub not_before: String,
    /// Until when.
    pub not_after: String,
    /// Its key's kind, such as `RSA 2048` or `P-256`.
    pub key_kind: String,
    /// The leaf's SHA-256, as hexadecimal digits.
    pub fingerprint: String,
    /// How many certificates the chain has.
    pub chain_length: u32,
}
