//! The id of one request: in every answer, every problem, every log line.

use std::fmt;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use panda_domain::ids::{Id, IdSource};

use crate::auth::Peer;

/// The header that carries it.
pub(super) const HEADER: HeaderName = HeaderName::from_static("x-request-id");

/// Names one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestId(String);

impl Id for RequestId {
    const PREFIX: &'static str = "req";

    fn from_bits(bits: u128) -> Self {
        Self(format!("req_{bits:032x}"))
    }

    fn as_str(&self) -> &str {
        &self.0
    }
}

impl RequestId {
    /// Takes the id that our own edge gave, or makes one; nobody else chooses what stands in the log.
    pub(super) fn of(headers: &HeaderMap, peer: &Peer, ids: &IdSource) -> Self {
        let given = headers.get(HEADER).and_then(|value| value.to_str().ok());
        match given {
            Some(id) if peer.through_edge() && plain(id) => Self(id.to_owned()),
            _ => ids.next(),
        }
    }

    /// Returns it as a header's value.
    pub(super) fn header(&self) -> HeaderValue {
        HeaderValue::from_str(&self.0).expect("an id is letters, digits and dashes")
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn plain(id: &str) -> bool {
    (8..=64).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}
