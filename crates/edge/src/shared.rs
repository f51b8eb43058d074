//! What all workers share: the table, the limits, and the little that is counted for the whole process.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::access_log::AccessLog;
use crate::handover::Predecessor;
use crate::ports::Ports;
use crate::table::Table;

/// Limits of the process; those of a route come with the route.
#[derive(Clone, Debug)]
pub struct Limits {
    /// How long a client may take for a request's head or a TLS handshake.
    pub header_timeout: Duration,
    /// How long a client's connection may stay open between requests.
    pub keep_alive: Duration,
    /// How long a client may take nothing of an answer.
    pub write_timeout: Duration,
    /// Largest head of a request, in bytes.
    pub head_bytes: usize,
    /// Open connections of all workers together; beyond it new ones wait in the kernel's queue.
    pub connections: u64,
    /// Requests of all apps together that may wait for an instance.
    pub held: u32,
    /// After a stop was asked for: how long idle connections still get an answer and a `Connection: close`.
    pub drain_grace: Duration,
    /// After a stop was asked for: when what still runs, WebSockets included, is cut.
    pub drain_limit: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            header_timeout: Duration::from_secs(10),
            keep_alive: Duration::from_secs(75),
            write_timeout: Duration::from_mins(1),
            head_bytes: 32 << 10,
            connections: 50_000,
            held: 10_000,
            drain_grace: Duration::from_secs(3),
            drain_limit: Duration::from_mins(1),
        }
    }
}

/// A range of addresses such as `10.0.0.0/8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

/// Says why a text is no range of addresses.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is neither an IP address nor a range such as `10.0.0.0/8`")]
pub struct InvalidNetwork(String);

impl std::str::FromStr for Network {
    type Err = InvalidNetwork;

    fn from_str(text: &str) -> Result<Self, InvalidNetwork> {
        let invalid = || InvalidNetwork(text.to_owned());
        let (address, bits) =
            text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let address: IpAddr = address.parse().map_err(|_| invalid())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(most), |bits| bits.parse().map_err(|_| invalid()))?;
        (bits <= most).then_some(Self { address, bits }).ok_or_else(invalid)
    }
}

impl Network {
    /// Returns whether the address is in the range.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(a), IpAddr::V4(b)) => {
                let shift = 32 - u32::from(self.bits);
                a.to_bits().checked_shr(shift) == b.to_bits().checked_shr(shift)
            }
            (IpAddr::V6(a), IpAddr::V6(b)) => {
                let shift = 128 - u32::from(self.bits);
                a.to_bits().checked_shr(shift) == b.to_bits().checked_shr(shift)
            }
            _ => false,
        }
    }
}

/// The process as its workers see it.
pub(crate) struct Shared {
    pub(crate) table: Arc<ArcSwap<Table>>,
    /// What is listened on for routes that name a TCP port.
    pub(crate) ports: Ports,
    /// Moves when held requests should look again.
    pub(crate) changed: watch::Sender<()>,
    pub(crate) limits: Limits,
    pub(crate) trusted: Vec<Network>,
    pub(crate) log: Option<AccessLog>,
    pub(crate) started: Instant,
    pub(crate) connections: AtomicU64,
    pub(crate) held: AtomicU32,
    /// Requests for hosts and paths that no route claims, and refused ones.
    pub(crate) unrouted: AtomicU64,
    pub(crate) https_port: Option<u16>,
    /// Set while the process only ends what it began.
    pub(crate) draining: AtomicBool,
    pub(crate) stop: CancellationToken,
}

impl Shared {
    /// Returns milliseconds since the process started, plus one: 0 means never.
    pub(crate) fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX - 1) + 1
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Relaxed)
    }

    /// Makes every held request look again.
    pub(crate) fn wake_held(&self) {
        self.changed.send_replace(());
    }

    /// Listens on just the TCP ports that the table names.
    pub(crate) fn follow_ports(&self, predecessor: &mut Predecessor) {
        let wanted: Vec<u16> = self.table.load().ports.keys().copied().collect();
        self.ports.follow(&wanted, predecessor);
    }

    pub(crate) fn trusts(&self, peer: IpAddr) -> bool {
        self.trusted.iter().any(|network| network.contains(peer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_contain_what_they_say() {
        let contains =
            |range: &str, address: &str| range.parse::<Network>().unwrap().contains(address.parse().unwrap());
        assert!(contains("10.0.0.0/8", "10.255.0.1") && !contains("10.0.0.0/8", "11.0.0.1"));
        assert!(contains("0.0.0.0/0", "1.2.3.4") && contains("10.1.1.1", "::ffff:10.1.1.1"));
        assert!(contains("fd00::/8", "fd12::1") && !contains("fd00::/8", "10.0.0.1"));
        assert!("10.0.0.0/33".parse::<Network>().is_err() && "host/8".parse::<Network>().is_err());
    }
}
