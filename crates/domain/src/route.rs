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

/// Tells whether a name in a certificate is for a host or a wildcard; a wildcard is for one label and no more.
pub fn certificate_covers(name: &str, host: &str) -> bool {
    let one_label =
        |zone: &str| host.split_once('.').is_some_and(|(first, rest)| first != "*" && rest == zone);
    name == host || name.strip_prefix("*.").is_some_and(one_label)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_is_for_one_label_and_for_itself() {
        for (name, host) in [
            ("www.ann.example", "www.ann.example"),
            ("*.ann.example", "www.ann.example"),
            ("*.ann.example", "*.ann.example"),
        ] {
            assert!(certificate_covers(name, host), "{name} {host}");
        }
        for (name, host) in [
            ("*.ann.example", "ann.example"),
            ("*.ann.example", "a.b.ann.example"),
            ("www.ann.example", "*.ann.example"),
            ("*.example", "*.ann.example"),
            ("*.example", "*.example.org"),
        ] {
            assert!(!certificate_covers(name, host), "{name} {host}");
        }
        assert!(!certificate_covers("*.ann.example", "*.*.ann.example"));
    }
}
