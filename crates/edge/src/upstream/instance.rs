//! One instance as the edge sees it: how busy it is, and whether it is left out for a moment.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::protocol::{Upstream, UpstreamAddress};

/// First pause after a refused connection; it doubles up to [`LONGEST_PAUSE_MS`].
const FIRST_PAUSE_MS: u64 = 500;
const LONGEST_PAUSE_MS: u64 = 8_000;
/// While one request tries an instance whose pause is over, the others still leave it out for this long.
const PROBE_MS: u64 = 300;

static NEXT_UID: AtomicU64 = AtomicU64::new(1);

/// An instance behind a route, shared by all workers.
#[derive(Debug)]
pub(crate) struct Instance {
    /// Number of this record within the process; a key for pools, never reused.
    pub(crate) uid: u64,
    pub(crate) id: Box<str>,
    pub(crate) address: UpstreamAddress,
    active: AtomicU32,
    /// Milliseconds of the process's clock until which it is left out; 0 if it isn't.
    ejected_until: AtomicU64,
    failures: AtomicU32,
    retired: AtomicBool,
}

impl Instance {
    pub(crate) fn new(upstream: &Upstream) -> Self {
        Self {
            uid: NEXT_UID.fetch_add(1, Relaxed),
            id: upstream.id.as_str().into(),
            address: upstream.address.clone(),
            active: AtomicU32::new(0),
            ejected_until: AtomicU64::new(0),
            failures: AtomicU32::new(0),
            retired: AtomicBool::new(false),
        }
    }

    /// Returns whether a request may be sent here now. After a pause only one caller gets `true`, to try it.
    pub(crate) fn admit(&self, now_ms: u64) -> bool {
        let until = self.ejected_until.load(Relaxed);
        if until == 0 {
            return true;
        }
        until <= now_ms
            && self.ejected_until.compare_exchange(until, now_ms + PROBE_MS, Relaxed, Relaxed).is_ok()
    }

    /// Leaves the instance out for a moment, longer each time in a row.
    pub(crate) fn eject(&self, now_ms: u64) {
        let failures = self.failures.fetch_add(1, Relaxed).min(8);
        let pause = (FIRST_PAUSE_MS << failures).min(LONGEST_PAUSE_MS);
        self.ejected_until.store(now_ms + pause, Relaxed);
    }

    /// Notes that it accepted a connection; returns whether it had been left out before.
    pub(crate) fn accepted(&self) -> bool {
        if self.failures.load(Relaxed) == 0 {
            return false;
        }
        self.failures.store(0, Relaxed);
        self.ejected_until.store(0, Relaxed);
        true
    }

    /// Returns how long it is still left out, if it is.
    pub(crate) fn ejected_for(&self, now_ms: u64) -> Option<Duration> {
        match self.ejected_until.load(Relaxed) {
            0 => None,
            until => Some(Duration::from_millis(until.saturating_sub(now_ms))),
        }
    }

    /// Returns how many requests it is serving.
    pub(crate) fn active(&self) -> u32 {
        self.active.load(Relaxed)
    }

    pub(crate) fn begin(&self) {
        self.active.fetch_add(1, Relaxed);
    }

    pub(crate) fn end(&self) {
        self.active.fetch_sub(1, Relaxed);
    }

    /// Notes that no route names it any more: its idle connections are closed and none is kept.
    pub(crate) fn retire(&self) {
        self.retired.store(true, Relaxed);
    }

    pub(crate) fn is_retired(&self) -> bool {
        self.retired.load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instance() -> Instance {
        Instance::new(&Upstream { id: "a".into(), address: "127.0.0.1:1".parse().unwrap() })
    }

    #[test]
    fn a_refusing_instance_is_left_out_and_then_tried_by_one_request_alone() {
        let instance = instance();
        assert!(instance.admit(1_000));
        instance.eject(1_000);
        assert!(!instance.admit(1_000 + FIRST_PAUSE_MS - 1));
        assert!(instance.admit(1_000 + FIRST_PAUSE_MS));
        assert!(!instance.admit(1_000 + FIRST_PAUSE_MS), "the first one is still trying");
        assert!(instance.accepted());
        assert!(instance.admit(1_000 + FIRST_PAUSE_MS) && instance.admit(1_000 + FIRST_PAUSE_MS));
    }

    #[test]
    fn the_pause_grows_up_to_a_bound() {
        let instance = instance();
        let mut last = 0;
        for _ in 0..12 {
            instance.eject(0);
            let pause = u64::try_from(instance.ejected_for(0).unwrap().as_millis()).unwrap();
            assert!(pause >= last && pause <= LONGEST_PAUSE_MS);
            last = pause;
        }
        assert_eq!(last, LONGEST_PAUSE_MS);
    }
}
