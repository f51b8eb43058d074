//! Idle connections of one worker, by instance. Made for one thread: no lock, no sharing.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::time::{Duration, Instant};

use super::connection::Connection;
use super::instance::Instance;

/// Shorter than the five seconds after which common application servers close an idle connection.
const IDLE_LIMIT: Duration = Duration::from_secs(4);
const IDLE_PER_INSTANCE: usize = 256;

/// Keys are numbers that we count up ourselves, so that nobody can choose colliding ones.
#[derive(Default)]
pub(crate) struct CountedKey(u64);

impl Hasher for CountedKey {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("only u64 keys are hashed");
    }

    fn write_u64(&mut self, key: u64) {
        self.0 = key.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

/// Connections that wait for their next exchange.
#[expect(
    clippy::vec_box,
    reason = "a connection keeps its box through every exchange; moving it would copy it"
)]
#[derive(Default)]
pub(crate) struct Pool {
    idle: RefCell<HashMap<u64, Vec<Box<Connection>>, BuildHasherDefault<CountedKey>>>,
}

impl Pool {
    /// Takes the connection that was used last, if a usable one is there.
    pub(crate) fn take(&self, instance: &Instance) -> Option<Box<Connection>> {
        let mut idle = self.idle.borrow_mut();
        let connections = idle.get_mut(&instance.uid)?;
        while let Some(mut connection) = connections.pop() {
            if connection.is_quiet() {
                connection.reused = true;
                return Some(connection);
            }
        }
        None
    }

    /// Keeps a connection whose exchange ended well, unless its instance is gone.
    pub(crate) fn put(&self, mut connection: Box<Connection>) {
        if connection.instance.is_retired() || !connection.read.is_empty() {
            return;
        }
        connection.idle_since = Instant::now();
        let mut idle = self.idle.borrow_mut();
        let connections = idle.entry(connection.instance.uid).or_default();
        if connections.len() < IDLE_PER_INSTANCE {
            connections.push(connection);
        }
    }

    /// Closes connections that were idle for too long or whose instance is gone.
    pub(crate) fn sweep(&self, now: Instant) {
        self.idle.borrow_mut().retain(|_, connections| {
            connections.retain(|connection| {
                !connection.instance.is_retired()
                    && now.saturating_duration_since(connection.idle_since) < IDLE_LIMIT
            });
            !connections.is_empty()
        });
    }

    /// Closes every idle connection.
    pub(crate) fn clear(&self) {
        self.idle.borrow_mut().clear();
    }
}
