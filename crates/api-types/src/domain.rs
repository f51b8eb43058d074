//! Domains.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Adds a domain to an app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DomainRequest {
    /// The host name.
    pub host: String,
    /// The path's beginning; `/` unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

/// A DNS record that has to be there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DnsRecord {
    /// `A`, `AAAA`, `CNAME`, `TXT`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// What it should say.
    pub expected: String,
    /// What it says now.
    pub seen: Vec<String>,
    /// Whether that is right.
    pub ok: bool,
}

/// A domain of an app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Domain {
    /// The host name.
    pub host: String,
    /// The path's beginning.
    pub path: String,
    /// `given` by the platform or added as a `domain`.
    pub kind: String,
    /// Whether ownership is proven; routes only then.
    pub verified: bool,
    /// `local`, `pending`, `ordering`, `issued`, `failed`, `own`.
    pub certificate: String,
    /// Why, or until when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_detail: Option<String>,
    /// What DNS should say; filled by `verify` and `add`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub records: Vec<DnsRecord>,
    /// Where it answers.
    pub url: String,
}
