//! Whom a request really comes from. Headers that anybody can send are believed from our own edge only.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use axum::extract::ConnectInfo;
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderMap};
use ipnet::IpNet;
use secrecy::{ExposeSecret, SecretString};

use super::secret;

/// The header by which the edge proves that it is ours.
pub const EDGE_HEADER: &str = "x-panda-edge";

/// Who may say whom a request comes from.
#[derive(Debug, Clone, Default)]
pub struct Forwarders {
    /// What the edge on this machine sends as `x-panda-edge`; without one it is known by its place.
    pub edge_secret: Option<SecretString>,
    /// Where the ingress controllers of a cluster have their addresses.
    pub proxies: Vec<IpNet>,
}

impl Forwarders {
    /// Tells whether the `X-Forwarded-For` of a connection from there may be believed.
    fn believes(&self, connection: Option<IpAddr>, headers: &HeaderMap) -> bool {
        let Some(ip) = connection else { return proves_edge(headers, self.edge_secret.as_ref()) };
        if self.proxies.iter().any(|range| range.contains(&ip)) {
            return headers.contains_key("x-forwarded-for");
        }
        ip.is_loopback() && proves_edge(headers, self.edge_secret.as_ref())
    }
}

/// The other end of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Peer {
    ip: Option<IpAddr>,
    through_edge: bool,
}

impl Peer {
    /// Finds the peer: the connection's address, or the last hop that our own edge names.
    pub fn of(headers: &HeaderMap, extensions: &Extensions, forwarders: &Forwarders) -> Self {
        let connection = extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip().to_canonical());
        if !forwarders.believes(connection, headers) {
            return Self { ip: connection, through_edge: false };
        }
        let last_hop = headers
            .get_all("x-forwarded-for")
            .iter()
            .next_back()
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.rsplit(',').next())
            .and_then(|hop| hop.trim().parse::<IpAddr>().ok());
        Self { ip: last_hop.map(|ip| ip.to_canonical()).or(connection), through_edge: true }
    }

    /// Finds the peer of a request that is being taken apart.
    pub fn of_parts(parts: &Parts, forwarders: &Forwarders) -> Self {
        Self::of(&parts.headers, &parts.extensions, forwarders)
    }

    /// Returns the address; `None` for the unix socket.
    pub fn ip(&self) -> Option<IpAddr> {
        self.ip
    }

    /// Tells whether the request came through our own edge, so that its headers may be believed.
    pub fn through_edge(&self) -> bool {
        self.through_edge
    }

    /// Tells whether the request comes from this machine and through no proxy.
    pub fn is_operator(&self, headers: &HeaderMap) -> bool {
        let forwarded =
            ["x-forwarded-for", "forwarded", EDGE_HEADER].iter().any(|h| headers.contains_key(*h));
        !forwarded && self.ip.is_none_or(|ip| ip.is_loopback())
    }

    /// Returns the key of rate limits: an IPv6 peer counts with its whole /64.
    pub fn rate_key(&self) -> String {
        match self.ip {
            None => "local".to_owned(),
            Some(IpAddr::V4(ip)) => ip.to_string(),
            Some(IpAddr::V6(ip)) => {
                let s = ip.segments();
                format!("{:x}:{:x}:{:x}:{:x}::/64", s[0], s[1], s[2], s[3])
            }
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.ip {
            Some(ip) => write!(f, "{ip}"),
            None => f.write_str("local"),
        }
    }
}

fn proves_edge(headers: &HeaderMap, edge_secret: Option<&SecretString>) -> bool {
    match (headers.get(EDGE_HEADER).and_then(|v| v.to_str().ok()), edge_secret) {
        (Some(given), Some(wanted)) => {
            secret::same(&secret::hash(given), &secret::hash(wanted.expose_secret()))
        }
        // Without a secret the edge is known by its place: the API listens on loopback only, and the edge drops what clients
        // forward. Somebody on the host itself could claim an address, and gains a fresh count of tries by it.
        (_, None) => headers.contains_key("x-forwarded-for"),
        (None, Some(_)) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(from: &str, headers: &[(&'static str, &'static str)]) -> Peer {
        let mut extensions = Extensions::new();
        extensions.insert(ConnectInfo(from.parse::<SocketAddr>().unwrap()));
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        let secret = Some(SecretString::from("s3cret"));
        Peer::of(&map, &extensions, &Forwarders { edge_secret: secret, ..Forwarders::default() })
    }

    #[test]
    fn forwarded_addresses_are_believed_from_the_edge_alone() {
        let forged = peer("203.0.113.9:1", &[("x-forwarded-for", "1.1.1.1"), ("x-panda-edge", "s3cret")]);
        assert_eq!(forged.rate_key(), "203.0.113.9");
        let unproven = peer("127.0.0.1:1", &[("x-forwarded-for", "1.1.1.1"), ("x-panda-edge", "guess")]);
        assert_eq!(unproven.rate_key(), "127.0.0.1");
        let edge =
            peer("127.0.0.1:1", &[("x-forwarded-for", "6.6.6.6, 1.1.1.1"), ("x-panda-edge", "s3cret")]);
        assert_eq!(edge.rate_key(), "1.1.1.1");
        assert!(edge.through_edge() && !forged.through_edge());
    }

    #[test]
    fn without_a_secret_a_forwarded_address_is_believed_from_loopback_alone() {
        let mut map = HeaderMap::new();
        map.append("x-forwarded-for", "1.1.1.1".parse().unwrap());
        let from = |address: &str| {
            let mut extensions = Extensions::new();
            extensions.insert(ConnectInfo(address.parse::<SocketAddr>().unwrap()));
            Peer::of(&map, &extensions, &Forwarders::default()).rate_key()
        };
        assert_eq!(from("127.0.0.1:1"), "1.1.1.1");
        assert_eq!(from("203.0.113.9:1"), "203.0.113.9");
    }

    #[test]
    fn the_ingress_of_a_cluster_is_believed_by_its_range_and_for_its_own_hop_alone() {
        let mut map = HeaderMap::new();
        map.append("x-forwarded-for", "6.6.6.6, 1.1.1.1".parse().unwrap());
        let forwarders =
            Forwarders { proxies: vec!["10.1.0.0/16".parse().unwrap()], ..Forwarders::default() };
        let from = |address: &str| {
            let mut extensions = Extensions::new();
            extensions.insert(ConnectInfo(address.parse::<SocketAddr>().unwrap()));
            Peer::of(&map, &extensions, &forwarders).rate_key()
        };
        assert_eq!(from("10.1.2.3:1"), "1.1.1.1");
        assert_eq!(from("10.2.2.3:1"), "10.2.2.3");
    }
}
