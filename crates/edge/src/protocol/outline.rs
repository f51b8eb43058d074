//! What a snapshot held, without holding it: enough to say what the next one changes.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, Hash, RandomState};

use super::Snapshot;

/// Ids and digests of a snapshot: what who sends snapshots keeps in memory of the last one, instead of all certificates.
#[derive(Debug, Clone)]
pub struct Outline {
    /// The snapshot's number.
    pub generation: u64,
    /// Keys of the digests: nobody outside can look for two contents with the same one.
    keys: RandomState,
    pub(super) routes: Digests,
    pub(super) certificates: Digests,
    pub(super) challenges: u64,
    pub(super) redirects: u64,
}

/// The digest of each item by its id.
type Digests = HashMap<Box<str>, u64>;

impl Outline {
    /// Returns the outline of a snapshot.
    pub fn of(snapshot: &Snapshot) -> Self {
        let keys = RandomState::new();
        Self {
            generation: snapshot.generation,
            routes: digests(&keys, &snapshot.routes, |route| &route.id),
            certificates: digests(&keys, &snapshot.certificates, |certificate| &certificate.id),
            challenges: keys.hash_one(&snapshot.challenges),
            redirects: keys.hash_one(&snapshot.redirects),
            keys,
        }
    }

    pub(super) fn digest(&self, item: &impl Hash) -> u64 {
        self.keys.hash_one(item)
    }

    /// Returns the items that are new or differ from `old`, and the ids of those that are gone.
    pub(super) fn difference<T: Clone + Hash>(
        &self,
        old: &Digests,
        new: &[T],
        id: fn(&T) -> &String,
    ) -> (Vec<T>, Vec<String>) {
        let mut before: HashMap<&str, u64> = old.iter().map(|(id, digest)| (&**id, *digest)).collect();
        let mut changed = Vec::new();
        for item in new {
            if before.remove(id(item).as_str()) != Some(self.digest(item)) {
                changed.push(item.clone());
            }
        }
        let mut removed: Vec<String> = before.into_keys().map(str::to_owned).collect();
        removed.sort_unstable();
        (changed, removed)
    }
}

fn digests<T: Hash>(keys: &RandomState, items: &[T], id: fn(&T) -> &String) -> Digests {
    items.iter().map(|item| (id(item).as_str().into(), keys.hash_one(item))).collect()
}
