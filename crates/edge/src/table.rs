//! The compiled table that requests are looked up in: immutable, swapped as a whole.
//!
//! Its maps are cut into shards behind `Arc`s, so that the next table shares all but the shards that a
//! change touches; a change costs the same with ten routes and with ten thousand.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use crate::metrics::AppStats;
use crate::protocol::{Balance, Challenge, RouteKind, RouteOptions};
use crate::tls::LazyCertificate;
use crate::upstream::instance::Instance;

const SHARDS: usize = 128;

/// Everything that a request is answered from.
#[derive(Clone, Default)]
pub(crate) struct Table {
    pub(crate) generation: u64,
    pub(crate) sites: HostMap<Arc<Site>>,
    pub(crate) certificates: HostMap<Arc<LazyCertificate>>,
    pub(crate) challenges: Arc<[Challenge]>,
    /// The routes of TCP ports.
    pub(crate) ports: Arc<BTreeMap<u16, Arc<LiveRoute>>>,
}

/// What answers at a host.
pub(crate) enum Site {
    /// Routes, the longest prefix first.
    Routes(Box<[Arc<LiveRoute>]>),
    /// Another place to go to.
    Redirect { to: Box<str>, status: u16, stats: Arc<AppStats> },
}

/// A route with the instances that serve it.
pub(crate) struct LiveRoute {
    pub(crate) id: Box<str>,
    pub(crate) prefix: Box<str>,
    pub(crate) kind: RouteKind,
    pub(crate) options: Arc<RouteOptions>,
    pub(crate) stats: Arc<AppStats>,
    pub(crate) instances: Box<[Arc<Instance>]>,
    pub(crate) turn: AtomicUsize,
}

/// The outcome of choosing an instance.
pub(crate) enum Choice {
    Instance(Arc<Instance>),
    /// None can take a request now; one is tried again after the time, if there is any.
    Wait(Option<Duration>),
}

impl LiveRoute {
    /// Chooses an instance, leaving out those that refused a moment ago and the one just tried.
    pub(crate) fn choose(&self, now_ms: u64, tried: Option<u64>) -> Choice {
        let count = self.instances.len();
        if count == 0 {
            return Choice::Wait(None);
        }
        let first = match self.options.balance {
            Balance::RoundRobin if count == 1 => 0,
            Balance::RoundRobin => self.turn.fetch_add(1, Relaxed) % count,
            Balance::LeastRequests => self.least_busy(now_ms),
        };
        let order = (first..count).chain(0..first).map(|at| &self.instances[at]);
        for instance in order {
            if tried != Some(instance.uid) && instance.admit(now_ms) {
                return Choice::Instance(Arc::clone(instance));
            }
        }
        let soonest = self.instances.iter().filter_map(|instance| instance.ejected_for(now_ms)).min();
        Choice::Wait(soonest)
    }

    fn least_busy(&self, now_ms: u64) -> usize {
        let start = self.turn.fetch_add(1, Relaxed);
        let count = self.instances.len();
        (0..count)
            .map(|step| (start + step) % count)
            .filter(|at| self.instances[*at].ejected_for(now_ms).is_none())
            .min_by_key(|at| self.instances[*at].active())
            .unwrap_or(start % count)
    }

    fn covers(&self, path: &str) -> bool {
        let prefix = self.prefix.trim_end_matches('/');
        path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

impl Site {
    /// Returns the route with the longest prefix that covers the path.
    pub(crate) fn route(&self, path: &str) -> Option<&Arc<LiveRoute>> {
        match self {
            Self::Routes(routes) => routes.iter().find(|route| route.covers(path)),
            Self::Redirect { .. } => None,
        }
    }
}

impl Table {
    /// Returns the answer to a challenge for a host.
    pub(crate) fn challenge(&self, host: &str, token: &str) -> Option<&str> {
        self.challenges
            .iter()
            .find(|challenge| challenge.token == token && challenge.host == host)
            .map(|challenge| challenge.key_authorization.as_str())
    }
}

type Shard<T> = HashMap<Box<str>, T>;

/// A map from host names, wildcards included, that is cheap to clone and to change a little.
#[derive(Clone)]
pub(crate) struct HostMap<T> {
    shards: Arc<[Arc<Shard<T>>]>,
}

impl<T> Default for HostMap<T> {
    fn default() -> Self {
        let empty = Arc::new(HashMap::new());
        Self { shards: (0..SHARDS).map(|_| Arc::clone(&empty)).collect() }
    }
}

impl<T: Clone> HostMap<T> {
    /// Returns what is filed under exactly this name.
    pub(crate) fn get(&self, host: &str) -> Option<&T> {
        self.shards[shard_of(host)].get(host)
    }

    /// Returns what covers a host: itself, then the wildcard of its parent, then `*`.
    pub(crate) fn find(&self, host: &str) -> Option<&T> {
        self.get(host)
            .or_else(|| {
                let parent = host.find('.').map(|dot| &host[dot..])?;
                let mut wildcard = String::with_capacity(parent.len() + 1);
                wildcard.push('*');
                wildcard.push_str(parent);
                self.get(&wildcard)
            })
            .or_else(|| self.get("*"))
    }

    /// Files a value under a name, or removes the name.
    pub(crate) fn set(&mut self, host: &str, value: Option<T>) {
        let shards = Arc::make_mut(&mut self.shards);
        let shard = Arc::make_mut(&mut shards[shard_of(host)]);
        match value {
            Some(value) => {
                shard.insert(host.into(), value);
            }
            None => {
                shard.remove(host);
            }
        }
    }
}

/// Spreads names evenly; only the control plane adds names, so nobody gains from colliding ones.
fn shard_of(host: &str) -> usize {
    let hash = host.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    usize::try_from((hash ^ (hash >> 32)) % SHARDS as u64).expect("a shard's number is small")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Upstream;

    fn route(prefix: &str, instances: usize) -> LiveRoute {
        LiveRoute {
            id: prefix.into(),
            prefix: prefix.into(),
            kind: RouteKind::App,
            options: Arc::default(),
            stats: Arc::new(AppStats::new("app", 1)),
            instances: (0..instances)
                .map(|n| {
                    Arc::new(Instance::new(&Upstream {
                        id: n.to_string(),
                        address: "127.0.0.1:1".parse().unwrap(),
                    }))
                })
                .collect(),
            turn: AtomicUsize::new(0),
        }
    }

    #[test]
    fn a_prefix_ends_at_a_slash() {
        let api = route("/api", 0);
        assert!(api.covers("/api") && api.covers("/api/") && api.covers("/api/x"));
        assert!(!api.covers("/apix") && !api.covers("/ap") && !api.covers("/"));
        assert!(route("/", 0).covers("/x") && route("/api/", 0).covers("/api/x"));
    }

    #[test]
    fn requests_go_round_and_skip_an_instance_that_refused() {
        let route = route("/", 3);
        let pick = |tried| match route.choose(1_000, tried) {
            Choice::Instance(instance) => instance.id.to_string(),
            Choice::Wait(_) => "none".to_owned(),
        };
        assert_eq!([pick(None), pick(None), pick(None), pick(None)], ["0", "1", "2", "0"]);
        route.instances[1].eject(1_000);
        assert_eq!([pick(None), pick(None), pick(None)], ["2", "2", "0"]);
        for instance in &route.instances {
            instance.eject(1_000);
        }
        assert!(matches!(route.choose(1_000, None), Choice::Wait(Some(_))));
    }

    #[test]
    fn hosts_are_found_exactly_then_by_wildcard_then_by_the_catch_all() {
        let mut map = HostMap::default();
        map.set("a.example.com", Some("exact"));
        map.set("*.example.com", Some("wildcard"));
        let before = map.clone();
        map.set("*", Some("all"));
        assert_eq!(map.find("a.example.com"), Some(&"exact"));
        assert_eq!(map.find("b.example.com"), Some(&"wildcard"));
        assert_eq!(map.find("c.b.example.com"), Some(&"all"), "a wildcard covers one label");
        assert_eq!(before.find("c.b.example.com"), None, "the table before doesn't change");
    }
}
