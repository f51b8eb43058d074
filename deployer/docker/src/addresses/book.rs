//! The book itself: pure, so that its promises can be tried without an engine.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use panda_deployer::runtime::EnvironmentKey;
use serde::{Deserialize, Serialize};

use super::subnet::Subnet;

/// How long nobody gets what somebody else had, milliseconds.
const DAY_MS: i64 = 24 * 60 * 60 * 1000;
/// How long at least when an environment has used up all it has: long enough for every route and name to be forgotten.
const LEAST_MS: i64 = 10 * 60 * 1000;

/// An address that an object at the engine holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) owner: String,
    pub(crate) address: Ipv4Addr,
}

/// Every subnet and address that is in use or was within the last day.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Book {
    networks: Vec<Network>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Network {
    key: EnvironmentKey,
    subnet: Subnet,
    released_ms: Option<i64>,
    hosts: BTreeMap<Ipv4Addr, Host>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Host {
    owner: String,
    released_ms: Option<i64>,
}

impl Book {
    /// Corrects the book by what the engine holds: what it holds is in use, what it doesn't is released now.
    pub(crate) fn adopt(&mut self, networks: &[(EnvironmentKey, Subnet)], held: &[Held], now: i64) {
        for (key, subnet) in networks {
            if !self.networks.iter().any(|n| n.released_ms.is_none() && n.subnet == *subnet) {
                self.networks.retain(|n| n.subnet != *subnet);
                self.networks.push(Network::new(key.clone(), *subnet));
            }
        }
        for network in &mut self.networks {
            if !networks.iter().any(|(_, subnet)| *subnet == network.subnet) {
                network.released_ms.get_or_insert(now);
            }
            for (address, host) in &mut network.hosts {
                if !held.iter().any(|h| h.address == *address && h.owner == host.owner) {
                    host.released_ms.get_or_insert(now);
                }
            }
            for h in held.iter().filter(|h| network.subnet.contains(h.address)) {
                network.hosts.insert(h.address, Host { owner: h.owner.clone(), released_ms: None });
            }
        }
    }

    /// Returns the environment's subnet or chooses one that nobody had for a day.
    pub(crate) fn subnet(
        &mut self,
        key: &EnvironmentKey,
        pool: Subnet,
        prefix: u8,
        taken: &[Subnet],
        now: i64,
    ) -> Option<Subnet> {
        if let Some(network) = self.network(key) {
            let subnet = network.subnet;
            if !taken.iter().any(|t| t.overlaps(subnet)) {
                return Some(subnet);
            }
            // Somebody else has it now, such as a VPN that came up while we were down.
            network.released_ms = Some(now);
        }
        self.networks.retain(|n| n.released_ms.is_none_or(|at| now - at < DAY_MS));
        let free = pool.parts(prefix).find(|part| {
            !taken.iter().any(|t| t.overlaps(*part))
                && !self.networks.iter().any(|n| n.subnet.overlaps(*part))
        })?;
        self.networks.push(Network::new(key.clone(), free));
        Some(free)
    }

    /// Notes that the environment has this subnet now.
    pub(crate) fn know(&mut self, key: &EnvironmentKey, subnet: Subnet) {
        if let Some(network) = self.networks.iter_mut().find(|n| n.subnet == subnet && n.key == *key) {
            network.released_ms = None;
        } else {
            self.networks.retain(|n| n.subnet != subnet);
            self.networks.push(Network::new(key.clone(), subnet));
        }
    }

    /// Starts the subnet's day of rest.
    pub(crate) fn release_subnet(&mut self, key: &EnvironmentKey, now: i64) {
        if let Some(network) = self.network(key) {
            network.released_ms = Some(now);
        }
    }

    /// Gives an address of the environment that nobody had for a day. When there is none, the one that rests longest:
    /// within an environment it can only have been the same team's.
    pub(crate) fn give(&mut self, key: &EnvironmentKey, owner: &str, now: i64) -> Option<Ipv4Addr> {
        let network = self.network(key)?;
        let mine = network.hosts.iter().find(|(_, h)| h.owner == owner && h.released_ms.is_none());
        if let Some((address, _)) = mine {
            return Some(*address);
        }
        network.hosts.retain(|_, h| h.released_ms.is_none_or(|at| now - at < DAY_MS));
        let unused = network.subnet.hosts().find(|address| !network.hosts.contains_key(address));
        let rested = || {
            let (address, host) =
                network.hosts.iter().min_by_key(|(_, h)| h.released_ms.unwrap_or(i64::MAX))?;
            host.released_ms.filter(|at| now - at >= LEAST_MS).map(|_| *address)
        };
        let address = unused.or_else(rested)?;
        network.hosts.insert(address, Host { owner: owner.to_owned(), released_ms: None });
        Some(address)
    }

    /// Starts the day of rest of an owner's addresses.
    pub(crate) fn release(&mut self, owner: &str, now: i64) {
        for host in self.networks.iter_mut().flat_map(|n| n.hosts.values_mut()) {
            if host.owner == owner {
                host.released_ms.get_or_insert(now);
            }
        }
    }

    /// Tells whether the environment has a subnet now.
    pub(crate) fn knows(&self, key: &EnvironmentKey) -> bool {
        self.networks.iter().any(|n| n.key == *key && n.released_ms.is_none())
    }

    fn network(&mut self, key: &EnvironmentKey) -> Option<&mut Network> {
        self.networks.iter_mut().find(|n| n.key == *key && n.released_ms.is_none())
    }
}

impl Network {
    fn new(key: EnvironmentKey, subnet: Subnet) -> Self {
        Self { key, subnet, released_ms: None, hosts: BTreeMap::new() }
    }
}

#[cfg(test)]
mod tests {
    use panda_domain::ids::IdSource;

    use super::*;

    fn keys() -> (EnvironmentKey, EnvironmentKey) {
        let ids = IdSource::counted();
        let team: panda_domain::ids::TeamId = ids.next();
        (
            EnvironmentKey { team: team.clone(), environment: ids.next() },
            EnvironmentKey { team, environment: ids.next() },
        )
    }

    fn pool() -> Subnet {
        "10.213.0.0/16".parse().unwrap()
    }

    #[test]
    fn an_address_is_given_again_only_after_a_day() {
        let (a, _) = keys();
        let mut book = Book::default();
        book.subnet(&a, pool(), 29, &[], 0).unwrap();
        let first = book.give(&a, "one", 0).unwrap();
        book.release("one", 0);
        let others: Vec<_> = (0..4).map(|n| book.give(&a, &format!("n{n}"), 1).unwrap()).collect();
        assert!(!others.contains(&first));
        assert_eq!(book.give(&a, "late", LEAST_MS - 1), None, "the network is full and nothing has rested");
        book.release("n0", 0);
        assert_eq!(book.give(&a, "later", DAY_MS), Some(first));
    }

    #[test]
    fn a_released_subnet_rests_and_others_networks_are_avoided() {
        let (a, b) = keys();
        let mut book = Book::default();
        let taken = ["10.213.0.0/23".parse().unwrap()];
        let first = book.subnet(&a, pool(), 24, &taken, 0).unwrap();
        assert_eq!(first.to_string(), "10.213.2.0/24");
        assert_eq!(book.subnet(&a, pool(), 24, &taken, 5).unwrap(), first, "twice is once");
        book.release_subnet(&a, 10);
        assert_ne!(book.subnet(&b, pool(), 24, &taken, 11).unwrap(), first);
        assert_eq!(book.subnet(&a, pool(), 24, &taken, DAY_MS + 11).unwrap(), first);
    }

    #[test]
    fn an_environment_whose_network_is_gone_is_told_from_one_that_is_full() {
        let (a, b) = keys();
        let mut book = Book::default();
        book.subnet(&a, pool(), 29, &[], 0).unwrap();
        assert!(book.knows(&a) && !book.knows(&b));
        book.release_subnet(&a, 1);
        assert!(!book.knows(&a));
    }

    #[test]
    fn a_lost_file_is_recovered_from_the_containers() {
        let (a, _) = keys();
        let mut book = Book::default();
        let subnet: Subnet = "10.213.7.0/24".parse().unwrap();
        let address: Ipv4Addr = "10.213.7.2".parse().unwrap();
        book.adopt(&[(a.clone(), subnet)], &[Held { owner: "x".into(), address }], 0);
        assert_eq!(book.subnet(&a, pool(), 24, &[], 0), Some(subnet));
        assert_ne!(book.give(&a, "y", 0).unwrap(), address);
        assert_eq!(book.give(&a, "x", 0), Some(address));
    }
}
