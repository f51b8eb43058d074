//! Ports of processes that the world reaches over plain TCP.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::names::ProcessName;

/// The lowest port that may be published: those below are the machine's own services'.
pub const LOWEST_PUBLISHED: u16 = 1024;
/// The most ports of one app in one environment.
pub const MAX_PORTS: usize = 20;
/// The most ports that a server may publish: each one is a listening socket, or an object of the cluster.
pub const MAX_RANGE: u16 = 1000;

/// A port that an app wants to be reached at.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TcpPort {
    /// Which process listens.
    pub process: ProcessName,
    /// The port that it listens on.
    pub port: u16,
    /// The port that the world connects to; `None` takes the one that the platform gives and keeps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published: Option<u16>,
}

/// A published port that an app in an environment has, and what for it was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldPort {
    /// The port that the world connects to.
    pub published: u16,
    /// The process that it was given for.
    pub process: ProcessName,
    /// The port of that process.
    pub port: u16,
}

/// Returns for each wish the published port that fulfils it, of those that are held; `None` where one has to be got. What a wish
/// names is nobody else's; the rest keep what they were given.
pub fn fulfilled(wishes: &[TcpPort], held: &[HeldPort]) -> Vec<Option<u16>> {
    let named: Vec<u16> = wishes.iter().filter_map(|wish| wish.published).collect();
    let mut used = Vec::new();
    let of = |wish: &TcpPort| {
        let found = held.iter().find(|held| {
            let given = held.process == wish.process && held.port == wish.port;
            let free = !named.contains(&held.published) && !used.contains(&held.published);
            wish.published.map_or(given && free, |published| held.published == published)
        });
        let published = found.map(|held| held.published);
        used.extend(published);
        published
    };
    wishes.iter().map(of).collect()
}

/// The ports that a server may publish: `20000-20099`, a single one, or none when empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PortRange(Option<RangeInclusive<u16>>);

/// A text is no range of ports that may be published.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` {problem}")]
pub struct InvalidPortRange {
    /// The text.
    pub text: String,
    /// What is wrong with it, continuing the sentence.
    pub problem: String,
}

impl PortRange {
    /// Tells whether no port may be published.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Tells whether a port may be published.
    pub fn contains(&self, port: u16) -> bool {
        self.0.as_ref().is_some_and(|range| range.contains(&port))
    }

    /// Returns the ports, the lowest first.
    pub fn iter(&self) -> impl Iterator<Item = u16> + use<> {
        self.0.clone().into_iter().flatten()
    }
}

impl FromStr for PortRange {
    type Err = InvalidPortRange;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = |problem: String| InvalidPortRange { text: text.to_owned(), problem };
        let text = text.trim();
        if text.is_empty() {
            return Ok(Self::default());
        }
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let ends = first.trim().parse::<u16>().ok().zip(last.trim().parse::<u16>().ok());
        let (first, last) = ends
            .filter(|(first, last)| first <= last)
            .ok_or_else(|| invalid("is no range of ports such as 20000-20099".to_owned()))?;
        if first < LOWEST_PUBLISHED {
            return Err(invalid(format!("begins below {LOWEST_PUBLISHED}")));
        }
        if last - first >= MAX_RANGE {
            return Err(invalid(format!("has more than {MAX_RANGE} ports")));
        }
        Ok(Self(Some(first..=last)))
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            None => f.write_str("none"),
            Some(range) if range.start() == range.end() => write!(f, "{}", range.start()),
            Some(range) => write!(f, "{}-{}", range.start(), range.end()),
        }
    }
}

/// What was seen of a published port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum PortState {
    /// Connections are taken and carried to the instances.
    Open {
        /// At which host; `None`: wherever the app's own host leads to.
        host: Option<String>,
    },
    /// Not yet, and why.
    Waiting {
        /// For people.
        reason: String,
    },
    /// The runtime can't have it, and why.
    Failed {
        /// For people.
        reason: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(port: u16, published: Option<u16>) -> TcpPort {
        TcpPort { process: ProcessName::web(), port, published }
    }

    fn held(published: u16, port: u16) -> HeldPort {
        HeldPort { published, process: ProcessName::web(), port }
    }

    #[test]
    fn a_wish_keeps_what_it_was_given_and_a_named_port_is_its_own() {
        let all = [held(20_000, 9000), held(20_001, 9001), held(20_005, 9000)];
        assert_eq!(fulfilled(&[wish(9000, None)], &all), [Some(20_000)]);
        assert_eq!(fulfilled(&[wish(9000, Some(20_005))], &all), [Some(20_005)]);
        assert_eq!(fulfilled(&[wish(9002, Some(20_001))], &all), [Some(20_001)], "what is behind it changed");
        let both = [wish(9001, Some(20_000)), wish(9000, None)];
        assert_eq!(fulfilled(&both, &all), [Some(20_000), Some(20_005)], "the other one was named away");
        assert_eq!(fulfilled(&[wish(9003, None), wish(9000, Some(1))], &all), [None, None]);
    }

    #[test]
    fn a_range_is_read_and_shown_and_bounded() {
        let range: PortRange = "20000-20002".parse().unwrap();
        assert_eq!(range.iter().collect::<Vec<_>>(), [20_000, 20_001, 20_002]);
        assert!(range.contains(20_002) && !range.contains(20_003));
        assert_eq!(
            ("".parse::<PortRange>().unwrap().is_empty(), range.to_string().as_str()),
            (true, "20000-20002")
        );
        assert_eq!("30000".parse::<PortRange>().unwrap().iter().count(), 1);
        for wrong in ["22", "20000-1", "x", "20000-99999", "20000-40000", "80-90", "-"] {
            assert!(wrong.parse::<PortRange>().is_err(), "{wrong}");
        }
    }
}
