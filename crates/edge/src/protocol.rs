//! The words that the control plane and the edge exchange: what to serve, and what was observed.
//!
//! A [`Snapshot`] is everything the edge has to know; a [`Patch`] is the difference between two of
//! them, so that one change among thousands of routes costs what one change costs.

use std::collections::BTreeMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

mod observed;
mod outline;

pub use observed::{
    AppUsage, Applied, Ejected, LATENCY_BUCKETS_MICROS, ListenAddresses, Problem, Status, TcpPort, Usage,
};
pub use outline::Outline;

/// Everything the edge serves, numbered by a generation that only grows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Snapshot {
    /// Number of this snapshot; the edge refuses one that is older than what it serves.
    pub generation: u64,
    /// What answers at which host and path.
    #[serde(default)]
    pub routes: Vec<Route>,
    /// What the edge shows in a TLS handshake.
    #[serde(default)]
    pub certificates: Vec<Certificate>,
    /// ACME HTTP-01 challenges that the edge answers itself.
    #[serde(default)]
    pub challenges: Vec<Challenge>,
    /// Hosts that only point elsewhere.
    #[serde(default)]
    pub redirects: Vec<Redirect>,
}

/// One place where an app's process answers: hosts, a path prefix, and the instances behind it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// Identity of the route within the snapshot.
    pub id: String,
    /// App that is counted for requests on this route, as shown in metrics and logs.
    pub app: String,
    /// Process of the app that serves, `web` for most.
    #[serde(default)]
    pub process: String,
    /// Host names in lower case without a port; `*.example.com` covers one more label, `*` any host. None for a TCP port.
    pub hosts: Vec<String>,
    /// The port whose connections are carried to the instances as they are, whatever they speak; `None` for requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp_port: Option<u16>,
    /// Path below which the route answers; `/api` covers `/api` and `/api/x`, not `/apix`.
    #[serde(default = "root_path")]
    pub path_prefix: String,
    /// Who the route belongs to.
    #[serde(default)]
    pub kind: RouteKind,
    /// Instances that are ready; while it is empty, requests are held.
    #[serde(default)]
    pub upstreams: Vec<Upstream>,
    /// Limits and manners of this route.
    #[serde(default)]
    pub options: RouteOptions,
}

fn root_path() -> String {
    "/".to_owned()
}

/// Who a route belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RouteKind {
    /// A tenant's app.
    #[default]
    App,
    /// The platform itself: no app's route can take over a host that a platform route names.
    Platform,
}

/// One instance behind a route.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Upstream {
    /// Identity of the instance; an address that moves to another instance starts with a clean record.
    pub id: String,
    /// Where the instance listens, in plain HTTP/1.1.
    pub address: UpstreamAddress,
}

/// Where an upstream listens: `127.0.0.1:7080`, `[::1]:80` or `unix:/run/panda/api.sock`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum UpstreamAddress {
    /// A TCP address.
    Tcp(SocketAddr),
    /// A unix socket's path.
    Unix(PathBuf),
}

impl UpstreamAddress {
    /// Returns the path if this is a unix socket.
    pub fn unix_path(&self) -> Option<&Path> {
        match self {
            Self::Tcp(_) => None,
            Self::Unix(path) => Some(path),
        }
    }
}

impl From<SocketAddr> for UpstreamAddress {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(address)
    }
}

impl fmt::Display for UpstreamAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Says why a text is no upstream address.
#[derive(Debug, thiserror::Error)]
#[error("upstream address `{0}` is neither `ip:port` nor `unix:/path`")]
pub struct InvalidUpstreamAddress(String);

impl FromStr for UpstreamAddress {
    type Err = InvalidUpstreamAddress;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.strip_prefix("unix:") {
            Some(path) if path.starts_with('/') => Ok(Self::Unix(PathBuf::from(path))),
            Some(_) => Err(InvalidUpstreamAddress(text.to_owned())),
            None => text.parse().map(Self::Tcp).map_err(|_| InvalidUpstreamAddress(text.to_owned())),
        }
    }
}

impl Serialize for UpstreamAddress {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for UpstreamAddress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Limits and manners of one route; every field has the default that [`RouteOptions::default`] shows.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RouteOptions {
    /// Answers plain HTTP with a 308 to HTTPS.
    pub force_https: bool,
    /// Largest request body, in bytes; a larger one is answered 413.
    pub body_limit_bytes: u64,
    /// How long connecting to an instance may take, in milliseconds.
    pub connect_timeout_ms: u64,
    /// How long an instance may take to the first byte of its answer, in milliseconds.
    pub response_timeout_ms: u64,
    /// How long a body or an upgraded connection may stand still, in milliseconds.
    pub idle_timeout_ms: u64,
    /// How long a request waits for a ready instance before it is answered 503, in milliseconds.
    pub hold_ms: u64,
    /// How many requests of the app may wait at the same time.
    pub hold_limit: u32,
    /// How requests are spread over the instances.
    pub balance: Balance,
}

impl Default for RouteOptions {
    fn default() -> Self {
        Self {
            force_https: false,
            body_limit_bytes: 1 << 30,
            connect_timeout_ms: 2_000,
            response_timeout_ms: 60_000,
            idle_timeout_ms: 600_000,
            hold_ms: 10_000,
            hold_limit: 1_000,
            balance: Balance::RoundRobin,
        }
    }
}

/// How requests are spread over a route's instances.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Balance {
    /// One after the other.
    #[default]
    RoundRobin,
    /// The one with the fewest requests in flight.
    LeastRequests,
}

/// A certificate with its key and the hosts it is shown for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// Identity of the certificate within the snapshot.
    pub id: String,
    /// Hosts it is shown for; `*.example.com` covers one more label.
    pub hosts: Vec<String>,
    /// The certificate and its intermediates, leaf first, in PEM.
    pub chain_pem: String,
    /// The private key in PEM.
    pub key_pem: KeyPem,
}

/// A private key in PEM: redacted in `Debug`, wiped when dropped; serialised, because the edge needs it.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyPem(Zeroizing<String>);

impl KeyPem {
    /// Wraps a key.
    pub fn new(pem: impl Into<String>) -> Self {
        Self(Zeroizing::new(pem.into()))
    }

    /// Returns the key itself; the name makes each use visible in review.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl Hash for KeyPem {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.as_str().hash(state);
    }
}

impl fmt::Debug for KeyPem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyPem(…)")
    }
}

impl Serialize for KeyPem {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for KeyPem {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::new)
    }
}

/// An ACME HTTP-01 challenge, answered by the edge at `/.well-known/acme-challenge/<token>`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Challenge {
    /// Host that is being proven.
    pub host: String,
    /// The challenge's token, the last part of the path.
    pub token: String,
    /// The whole text of the answer.
    pub key_authorization: String,
}

/// A host whose every request is sent elsewhere, such as `www.example.com` to `example.com`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Redirect {
    /// Identity of the redirect within the snapshot.
    pub id: String,
    /// App that is counted for its requests.
    pub app: String,
    /// Hosts in lower case without a port.
    pub hosts: Vec<String>,
    /// Where to: scheme and authority without a path, such as `https://example.com`; path and query are kept.
    pub to: String,
    /// Status of the answer: 301, 302, 307 or 308.
    #[serde(default = "permanent")]
    pub status: u16,
}

fn permanent() -> u16 {
    308
}

/// What differs between two snapshots. Absent lists change nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Patch {
    /// Generation that the edge has to be at.
    pub from: u64,
    /// Generation that it is at afterwards.
    pub to: u64,
    /// Routes that are new or replaced.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<Route>,
    /// Ids of routes that are gone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub removed_routes: Vec<String>,
    /// Certificates that are new or replaced.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub certificates: Vec<Certificate>,
    /// Ids of certificates that are gone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub removed_certificates: Vec<String>,
    /// The whole list of challenges, if it changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub challenges: Option<Vec<Challenge>>,
    /// The whole list of redirects, if it changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redirects: Option<Vec<Redirect>>,
}

impl Patch {
    /// Returns what has to change for an edge that serves what `old` outlines to serve `new`.
    pub fn between(old: &Outline, new: &Snapshot) -> Self {
        let (routes, removed_routes) = old.difference(&old.routes, &new.routes, |route| &route.id);
        let (certificates, removed_certificates) =
            old.difference(&old.certificates, &new.certificates, |certificate| &certificate.id);
        Self {
            from: old.generation,
            to: new.generation,
            routes,
            removed_routes,
            certificates,
            removed_certificates,
            challenges: (old.challenges != old.digest(&new.challenges)).then(|| new.challenges.clone()),
            redirects: (old.redirects != old.digest(&new.redirects)).then(|| new.redirects.clone()),
        }
    }

    /// Returns whether it changes nothing but the generation.
    pub fn is_empty(&self) -> bool {
        let Self {
            from: _,
            to: _,
            routes,
            removed_routes,
            certificates,
            removed_certificates,
            challenges,
            redirects,
        } = self;
        routes.is_empty()
            && removed_routes.is_empty()
            && certificates.is_empty()
            && removed_certificates.is_empty()
            && challenges.is_none()
            && redirects.is_none()
    }

    /// Applies the patch to a snapshot. Says nothing about generations: that is the caller's check.
    pub fn apply_to(self, snapshot: &mut Snapshot) {
        merge(&mut snapshot.routes, self.routes, &self.removed_routes, |route| &route.id);
        merge(&mut snapshot.certificates, self.certificates, &self.removed_certificates, |c| &c.id);
        if let Some(challenges) = self.challenges {
            snapshot.challenges = challenges;
        }
        if let Some(redirects) = self.redirects {
            snapshot.redirects = redirects;
        }
        snapshot.generation = self.to;
    }
}

fn merge<T>(items: &mut Vec<T>, changed: Vec<T>, removed: &[String], id: fn(&T) -> &String) {
    if changed.is_empty() && removed.is_empty() {
        return;
    }
    let mut by_id: BTreeMap<String, T> = items.drain(..).map(|item| (id(&item).clone(), item)).collect();
    for gone in removed {
        by_id.remove(gone);
    }
    for item in changed {
        by_id.insert(id(&item).clone(), item);
    }
    items.extend(by_id.into_values());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(id: &str, port: u16) -> Route {
        Route {
            id: id.to_owned(),
            app: id.to_owned(),
            process: "web".to_owned(),
            hosts: vec![format!("{id}.localhost")],
            tcp_port: None,
            path_prefix: root_path(),
            kind: RouteKind::App,
            upstreams: vec![Upstream {
                id: format!("{id}-1"),
                address: SocketAddr::from(([127, 0, 0, 1], port)).into(),
            }],
            options: RouteOptions::default(),
        }
    }

    #[test]
    fn patch_between_two_snapshots_leads_from_one_to_the_other() {
        let mut old = Snapshot { generation: 1, ..Snapshot::default() };
        old.routes = vec![route("a", 1), route("b", 2), route("c", 3)];
        let mut new = Snapshot { generation: 2, ..Snapshot::default() };
        new.routes = vec![route("a", 1), route("b", 9), route("d", 4)];
        new.challenges =
            vec![Challenge { host: "a".into(), token: "t".into(), key_authorization: "t.k".into() }];

        let patch = Patch::between(&Outline::of(&old), &new);
        assert_eq!(patch.routes.len(), 2, "the unchanged route isn't sent");
        assert_eq!(patch.removed_routes, ["c"]);
        patch.apply_to(&mut old);
        assert_eq!(old, new);
    }

    #[test]
    fn private_key_is_not_printed() {
        let certificate = Certificate {
            id: "c".into(),
            hosts: vec!["a.test".into()],
            chain_pem: String::new(),
            key_pem: KeyPem::new("very secret"),
        };
        assert!(!format!("{certificate:?}").contains("very secret"));
    }

    #[test]
    fn upstream_address_reads_back_as_it_was_written() {
        for text in ["127.0.0.1:80", "[::1]:8080", "unix:/run/a.sock"] {
            assert_eq!(text.parse::<UpstreamAddress>().unwrap().to_string(), text);
        }
        assert!("unix:relative".parse::<UpstreamAddress>().is_err());
        assert!("example.com:80".parse::<UpstreamAddress>().is_err(), "names would need a resolver");
    }
}
