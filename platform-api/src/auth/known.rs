//! Tokens that were looked up a moment ago, so that a client's next request needn't ask the database for the same row.
//!
//! What is kept is never older than the last commit to the tables that it was read from: a token that this server revokes, a
//! member that it takes out, is refused from the next request on. On PostgreSQL another server's commit arrives as a
//! notification a moment later, and should none arrive, after [`KEPT_FOR`].

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};
use panda_store::Store;

use super::Principal;

/// How long another server's commit may stay unseen while notifications don't arrive.
const KEPT_FOR: SignedDuration = SignedDuration::from_secs(1);
/// How many are kept; one more, and all are looked up anew.
const MOST: usize = 1024;

/// Principals by the hash of their token.
#[derive(Debug, Default)]
pub struct KnownTokens {
    by_hash: Mutex<HashMap<String, Known>>,
}

#[derive(Debug)]
struct Known {
    principal: Principal,
    /// The store's mark from before it was read.
    mark: u64,
    from: Timestamp,
    until: Timestamp,
}

impl KnownTokens {
    /// Returns the principal of the token with this hash, if nothing can have changed since it was looked up.
    pub fn get(&self, store: &Store, hash: &str) -> Option<Principal> {
        let (mark, now) = (store.identity_mark(), store.clock().now());
        let by_hash = self.by_hash.lock().unwrap_or_else(PoisonError::into_inner);
        let known = by_hash.get(hash)?;
        // A clock that was set back makes nothing last longer.
        (known.mark == mark && known.from <= now && now < known.until).then(|| known.principal.clone())
    }

    /// Keeps what was read after `mark` was taken, until the token expires at the latest.
    pub fn keep(&self, store: &Store, mark: u64, principal: &Principal, expires_at: Timestamp) {
        let from = store.clock().now();
        let known =
            Known { principal: principal.clone(), mark, from, until: expires_at.min(from + KEPT_FOR) };
        let mut by_hash = self.by_hash.lock().unwrap_or_else(PoisonError::into_inner);
        if by_hash.len() >= MOST {
            by_hash.clear();
        }
        by_hash.insert(principal.secret_hash().to_owned(), known);
    }
}
