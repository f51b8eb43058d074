//! Routes and domains: host + path → process.

use serde::{Deserialize, Serialize};

/// Where a domain's certificate stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum CertificateState {
    /// Served by the platform's own certificate authority: browsers don't trust it unless told to.
    Local,
    /// Nothing was ordered yet.
    Pending,
    /// An order is under way.
    Ordering,
    /// Served, until this time (Unix seconds).
    Issued {
        /// End of validity, Unix seconds.
        not_after: i64,
    },
    /// Given by people, who also replace it; nothing is ordered while it is there.
    Own {
        /// End of validity, Unix seconds.
        not_after: i64,
        /// What it was given for: the host, or the wildcard over it.
        name: String,
    },
    /// The last order failed; the next try is planned.
    Failed {
        /// What went wrong and what to do, for people.
        reason: String,
    },
}

/// Why a route exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RouteKind {
    /// The host that the platform gave the app.
    Given,
    /// A domain that a person added.
    Domain,
}
