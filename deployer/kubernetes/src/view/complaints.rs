//! What nodes complain of about our pods: failing probes, mounts, images. The cluster keeps such events for an hour; here only
//! the last of each kind is kept, for as long as the pod is there.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Event;

/// What a node said last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Complaint {
    /// In the node's words.
    pub(crate) message: String,
    /// When.
    pub(crate) at: Timestamp,
}

/// The last complaint of each reason, by the pod's UID; cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Complaints(Arc<Mutex<HashMap<String, HashMap<String, Complaint>>>>);

impl Complaints {
    /// Returns what was said about a pod for one reason.
    pub(crate) fn of(&self, uid: &str, reason: &str) -> Option<Complaint> {
        self.lock().get(uid)?.get(reason).cloned()
    }

    /// Notes an event; returns whether it says something new.
    pub(super) fn note(&self, event: &Event) -> bool {
        let (Some(uid), Some(reason)) = (event.involved_object.uid.clone(), event.reason.clone()) else {
            return false;
        };
        let Some(at) = time(event) else { return false };
        let complaint = Complaint { message: event.message.clone().unwrap_or_default(), at };
        let mut all = self.lock();
        let known = all.entry(uid).or_default();
        let newer = known.get(&reason).is_none_or(|known| known.at < at);
        if newer {
            known.insert(reason, complaint);
        }
        newer
    }

    /// Forgets a pod that is gone.
    pub(super) fn forget(&self, uid: &str) {
        self.lock().remove(uid);
    }

    /// Forgets all pods but these.
    pub(super) fn retain(&self, alive: impl Fn(&str) -> bool) {
        self.lock().retain(|uid, _| alive(uid));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, HashMap<String, Complaint>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// When it was last so; old and new senders put it into different fields.
fn time(event: &Event) -> Option<Timestamp> {
    let series = event.series.as_ref().and_then(|series| series.last_observed_time.as_ref()).map(|t| t.0);
    let last = event.last_timestamp.as_ref().map(|t| t.0);
    series.max(last).or_else(|| event.event_time.as_ref().map(|t| t.0))
}
