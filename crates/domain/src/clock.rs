//! The only source of time. Tests hold a [`Clock::manual`] and move it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use jiff::Timestamp;

/// Tells the time, to the millisecond, because that is what the store keeps.
#[derive(Clone, Debug)]
pub struct Clock(Kind);

#[derive(Clone, Debug)]
enum Kind {
    System,
    Manual(Arc<AtomicI64>),
}

impl Clock {
    /// Returns the machine's clock.
    pub fn system() -> Self {
        Self(Kind::System)
    }

    /// Returns a clock that stands at `start` until [`Clock::advance`] moves it.
    pub fn manual(start: Timestamp) -> Self {
        Self(Kind::Manual(Arc::new(AtomicI64::new(start.as_millisecond()))))
    }

    /// Returns now, cut to whole milliseconds.
    pub fn now(&self) -> Timestamp {
        Timestamp::from_millisecond(self.now_ms()).expect("a clock's milliseconds are within jiff's range")
    }

    /// Returns now as milliseconds since the Unix epoch.
    pub fn now_ms(&self) -> i64 {
        match &self.0 {
            #[expect(clippy::disallowed_methods, reason = "this is the one place that asks the machine")]
            Kind::System => Timestamp::now().as_millisecond(),
            Kind::Manual(at) => at.load(Ordering::SeqCst),
        }
    }

    /// Moves a manual clock forward.
    ///
    /// # Panics
    /// On the system clock, which nobody can move.
    pub fn advance(&self, by: Duration) {
        match &self.0 {
            Kind::System => panic!("the system clock can't be moved"),
            Kind::Manual(at) => {
                let ms = i64::try_from(by.as_millis()).expect("a test moves time by less than ages");
                at.fetch_add(ms, Ordering::SeqCst);
            }
        }
    }
}
