//! One kind of object as last seen, by namespace and name.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kube::{Resource, ResourceExt};

/// How many objects that we removed are remembered, so that a late word of them doesn't bring them back.
const REMEMBERED: usize = 1024;

/// The objects of one kind; cheap to clone.
pub(crate) struct Kind<K> {
    what: &'static str,
    inner: Arc<Mutex<Inner<K>>>,
}

struct Inner<K> {
    objects: HashMap<String, BTreeMap<String, Arc<K>>>,
    /// What a listing that isn't finished yet has brought.
    listing: Option<Vec<Arc<K>>>,
    /// What was written since that listing began, which it may have missed.
    written: Vec<Arc<K>>,
    /// UIDs of what we removed.
    removed: Vec<String>,
    /// Why it isn't known what is so now.
    broken: Option<String>,
}

impl<K> Clone for Kind<K> {
    fn clone(&self) -> Self {
        Self { what: self.what, inner: Arc::clone(&self.inner) }
    }
}

/// What became of an object.
pub(crate) struct Change<K> {
    pub(crate) before: Option<Arc<K>>,
    pub(crate) after: Option<Arc<K>>,
}

impl<K> Change<K> {
    /// Returns the object, the newest that is known of it.
    pub(crate) fn object(&self) -> Option<&Arc<K>> {
        self.after.as_ref().or(self.before.as_ref())
    }
}

impl<K: Resource<DynamicType = ()>> Kind<K> {
    /// Makes a kind that nothing is known of.
    pub(crate) fn new(what: &'static str) -> Self {
        let inner = Inner {
            objects: HashMap::new(),
            listing: None,
            written: Vec::new(),
            removed: Vec::new(),
            broken: Some(format!("{what} weren't listed yet")),
        };
        Self { what, inner: Arc::new(Mutex::new(inner)) }
    }

    /// Returns why it isn't known what is so now.
    pub(crate) fn broken(&self) -> Option<String> {
        self.lock().broken.clone()
    }

    /// Returns one object.
    pub(crate) fn get(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        self.lock().objects.get(namespace)?.get(name).cloned()
    }

    /// Returns the objects of a namespace, by name.
    pub(crate) fn within(&self, namespace: &str) -> Vec<Arc<K>> {
        self.lock().objects.get(namespace).into_iter().flat_map(BTreeMap::values).cloned().collect()
    }

    /// Returns every object.
    pub(crate) fn all(&self) -> Vec<Arc<K>> {
        self.lock().objects.values().flat_map(BTreeMap::values).cloned().collect()
    }

    /// Notes what the server answered to a write, so that who looks next sees it.
    pub(crate) fn wrote(&self, object: K) -> Arc<K> {
        let object = Arc::new(object);
        let mut inner = self.lock();
        if inner.listing.is_some() {
            inner.written.push(Arc::clone(&object));
        }
        inner.put(Arc::clone(&object));
        object
    }

    /// Notes that an object was removed by us, whole.
    pub(crate) fn removed(&self, object: &K) {
        let mut inner = self.lock();
        if let Some(uid) = object.uid() {
            if inner.removed.len() >= REMEMBERED {
                inner.removed.remove(0);
            }
            inner.removed.push(uid);
        }
        inner.take(object);
    }

    /// Notes that watching broke off: what is known may be out of date.
    pub(super) fn broke(&self, why: &str) {
        let mut inner = self.lock();
        inner.listing = None;
        inner.broken = Some(format!("watching {} broke off: {why}", self.what));
    }

    /// A listing begins.
    pub(super) fn begins(&self) {
        let mut inner = self.lock();
        inner.listing = Some(Vec::new());
        inner.written.clear();
    }

    /// The listing brought an object.
    pub(super) fn listed(&self, object: K) {
        if let Some(listing) = &mut self.lock().listing {
            listing.push(Arc::new(object));
        }
    }

    /// The listing is whole; returns all that changed by it.
    pub(super) fn ends(&self) -> Vec<Change<K>> {
        let mut inner = self.lock();
        let Some(listing) = inner.listing.take() else { return Vec::new() };
        let mut before = std::mem::take(&mut inner.objects);
        let written = std::mem::take(&mut inner.written);
        for object in listing.into_iter().chain(written) {
            inner.put(object);
        }
        inner.broken = None;
        let mut changes: Vec<Change<K>> = Vec::new();
        for object in inner.objects.values().flat_map(BTreeMap::values) {
            let (namespace, name) = place(&**object);
            let before = before.get_mut(&namespace).and_then(|objects| objects.remove(&name));
            if before.as_ref().is_none_or(|before| before.resource_version() != object.resource_version()) {
                changes.push(Change { before, after: Some(Arc::clone(object)) });
            }
        }
        let gone = before.into_values().flat_map(BTreeMap::into_values);
        changes.extend(gone.map(|object| Change { before: Some(object), after: None }));
        changes
    }

    /// An object came or changed.
    pub(super) fn applied(&self, object: K) -> Option<Change<K>> {
        let object = Arc::new(object);
        let mut inner = self.lock();
        let before = inner.find(&*object);
        inner.put(Arc::clone(&object)).then(|| Change { before, after: Some(object) })
    }

    /// An object went.
    pub(super) fn deleted(&self, object: &K) -> Option<Change<K>> {
        let mut inner = self.lock();
        let known = inner.find(object).filter(|known| known.uid() == object.uid())?;
        inner.take(object);
        Some(Change { before: Some(known), after: None })
    }

    fn lock(&self) -> MutexGuard<'_, Inner<K>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Resource<DynamicType = ()>> Inner<K> {
    fn find(&self, object: &K) -> Option<Arc<K>> {
        let (namespace, name) = place(object);
        self.objects.get(&namespace)?.get(&name).cloned()
    }

    /// Puts an object unless a newer state of it is known, or it was removed.
    fn put(&mut self, object: Arc<K>) -> bool {
        if object.uid().is_some_and(|uid| self.removed.contains(&uid)) {
            return false;
        }
        let newer = self.find(&object).is_some_and(|known| {
            known.uid() == object.uid() && version(&*known) >= version(&*object) && version(&*object) > 0
        });
        if newer {
            return false;
        }
        let (namespace, name) = place(&*object);
        self.objects.entry(namespace).or_default().insert(name, object);
        true
    }

    fn take(&mut self, object: &K) {
        let (namespace, name) = place(object);
        if let Some(objects) = self.objects.get_mut(&namespace) {
            objects.remove(&name);
            if objects.is_empty() {
                self.objects.remove(&namespace);
            }
        }
    }
}

fn place<K: Resource<DynamicType = ()>>(object: &K) -> (String, String) {
    (object.namespace().unwrap_or_default(), object.name_any())
}

/// Versions of the same object can be compared; 0 when the server's isn't a number.
fn version<K: Resource<DynamicType = ()>>(object: &K) -> u64 {
    object.resource_version().and_then(|version| version.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Pod;
    use kube::core::ObjectMeta;

    use super::*;

    fn pod(name: &str, uid: &str, version: u32) -> Pod {
        let metadata = ObjectMeta {
            name: Some(name.into()),
            namespace: Some("n".into()),
            uid: Some(uid.into()),
            resource_version: Some(version.to_string()),
            ..ObjectMeta::default()
        };
        Pod { metadata, ..Pod::default() }
    }

    fn versions(kind: &Kind<Pod>) -> Vec<String> {
        kind.within("n").iter().map(|pod| pod.resource_version().unwrap()).collect()
    }

    fn listed(kind: &Kind<Pod>, pods: &[Pod]) -> usize {
        kind.begins();
        for pod in pods {
            kind.listed(pod.clone());
        }
        kind.ends().len()
    }

    #[test]
    fn nothing_is_certain_before_the_first_listing_and_after_watching_broke_off() {
        let kind = Kind::new("pods");
        assert!(kind.broken().is_some());
        assert_eq!(listed(&kind, &[pod("a", "1", 5)]), 1);
        assert!(kind.broken().is_none());
        kind.broke("connection reset");
        assert!(kind.broken().unwrap().contains("connection reset"));
        assert_eq!(listed(&kind, &[]), 1, "it went while nobody watched");
        assert!(kind.broken().is_none() && versions(&kind).is_empty());
    }

    #[test]
    fn a_late_word_changes_nothing_that_is_known_better() {
        let kind = Kind::new("pods");
        listed(&kind, &[pod("a", "1", 5)]);
        kind.wrote(pod("a", "1", 9));
        assert!(kind.applied(pod("a", "1", 7)).is_none());
        assert_eq!(versions(&kind), ["9"]);
        kind.removed(&pod("a", "1", 9));
        assert!(kind.applied(pod("a", "1", 10)).is_none(), "it was removed");
        assert!(kind.applied(pod("a", "2", 11)).is_some(), "another one of that name");
        assert!(kind.deleted(&pod("a", "1", 12)).is_none());
        assert_eq!(versions(&kind), ["11"]);
    }

    #[test]
    fn what_was_written_while_a_listing_ran_is_kept() {
        let kind = Kind::new("pods");
        kind.begins();
        kind.listed(pod("a", "1", 5));
        kind.wrote(pod("b", "2", 9));
        kind.ends();
        assert_eq!(versions(&kind), ["5", "9"]);
    }
}
