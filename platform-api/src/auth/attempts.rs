//! Counts wrong secrets by address, in memory: a flood of guesses must not become a flood of writes.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Mutex;

use panda_domain::clock::Clock;

use super::Peer;
use crate::error::{Error, Result};

const WINDOW_MS: i64 = 60_000;
const LIMIT: u32 = 60;
const MAX_ADDRESSES: usize = 10_000;

/// Wrong tokens and sessions of the last minute, by address.
#[derive(Debug)]
pub struct Attempts {
    clock: Clock,
    windows: Mutex<HashMap<Option<IpAddr>, (i64, u32)>>,
}

impl Attempts {
    /// Returns a counter at zero.
    pub fn new(clock: Clock) -> Self {
        Self { clock, windows: Mutex::default() }
    }

    /// Notes one wrong secret.
    pub fn failed(&self, peer: &Peer) {
        let now = self.clock.now_ms();
        let mut windows = self.windows.lock().expect("nobody panics while counting");
        if windows.len() >= MAX_ADDRESSES {
            windows.retain(|_, (started, _)| now - *started < WINDOW_MS);
            if windows.len() >= MAX_ADDRESSES {
                windows.clear();
            }
        }
        let window = windows.entry(peer.ip()).or_insert((now, 0));
        if now - window.0 >= WINDOW_MS {
            *window = (now, 0);
        }
        window.1 = window.1.saturating_add(1);
    }

    /// Refuses an address that sent too many wrong secrets.
    pub fn allow(&self, peer: &Peer) -> Result<()> {
        let now = self.clock.now_ms();
        let windows = self.windows.lock().expect("nobody panics while counting");
        match windows.get(&peer.ip()) {
            Some((started, count)) if *count >= LIMIT && now - started < WINDOW_MS => {
                let left_s = (WINDOW_MS - (now - started)) / 1000 + 1;
                Err(Error::rate_limited(
                    "too many wrong logins came from this address",
                    u32::try_from(left_s).unwrap_or(60),
                ))
            }
            _ => Ok(()),
        }
    }
}
