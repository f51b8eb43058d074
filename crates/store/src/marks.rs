//! Counters that move when what others keep in memory may have changed in the database.

use std::sync::atomic::{AtomicU64, Ordering};

/// The tables that routes and certificates are read from, and those whose rows take theirs along when they go.
const ROUTING: [&str; 9] = [
    "apps",
    "certificates",
    "domains",
    "environments",
    "placements",
    "ports",
    "projects",
    "releases",
    "teams",
];
/// The tables that say whom a token speaks for, and those whose rows take theirs along when they go.
const IDENTITY: [&str; 4] = ["memberships", "teams", "tokens", "users"];

/// One counter for each kind of copy; they only go up.
#[derive(Debug, Default)]
pub(crate) struct Marks {
    routing: AtomicU64,
    identity: AtomicU64,
}

/// What a transaction wrote to.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Touched {
    routing: bool,
    identity: bool,
}

impl Marks {
    pub(crate) fn routing(&self) -> u64 {
        self.routing.load(Ordering::Acquire)
    }

    pub(crate) fn identity(&self) -> u64 {
        self.identity.load(Ordering::Acquire)
    }

    pub(crate) fn move_on(&self, touched: Touched) {
        if touched.routing {
            self.routing.fetch_add(1, Ordering::AcqRel);
        }
        if touched.identity {
            self.identity.fetch_add(1, Ordering::AcqRel);
        }
    }
}

impl Touched {
    /// Everything: for what another server wrote, or may have.
    pub(crate) const ALL: Self = Self { routing: true, identity: true };

    pub(crate) fn note(&mut self, table: &str) {
        self.routing |= ROUTING.contains(&table);
        self.identity |= IDENTITY.contains(&table);
    }

    /// Returns how other servers are told, `None` if there is nothing to tell.
    pub(crate) fn payload(self) -> Option<&'static str> {
        match (self.routing, self.identity) {
            (false, false) => None,
            (true, false) => Some("routing"),
            (false, true) => Some("identity"),
            (true, true) => Some("both"),
        }
    }

    /// Understands [`Touched::payload`]. Anything else may mean everything: the words of another version, or a commit that
    /// wakes and says no more.
    pub(crate) fn of(payload: &str) -> Self {
        Self { routing: payload != "identity", identity: payload != "routing" }
    }
}
