//! Subnets of IPv4 addresses.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A block of addresses, `10.213.4.0/24`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Subnet {
    base: u32,
    prefix: u8,
}

impl Subnet {
    /// Makes the block of `prefix` bits that holds `address`.
    pub(crate) fn new(address: Ipv4Addr, prefix: u8) -> Self {
        let prefix = prefix.min(32);
        Self { base: u32::from(address) & mask(prefix), prefix }
    }

    pub(crate) fn prefix(self) -> u8 {
        self.prefix
    }

    /// Returns whether the two have an address in common.
    pub(crate) fn overlaps(self, other: Self) -> bool {
        let mask = mask(self.prefix.min(other.prefix));
        self.base & mask == other.base & mask
    }

    /// Returns whether the address lies within.
    pub(crate) fn contains(self, address: Ipv4Addr) -> bool {
        u32::from(address) & mask(self.prefix) == self.base
    }

    /// Returns the first usable address, which the host has.
    pub(crate) fn gateway(self) -> Ipv4Addr {
        Ipv4Addr::from(self.base + 1)
    }

    /// Returns the addresses that instances may have.
    pub(crate) fn hosts(self) -> impl Iterator<Item = Ipv4Addr> {
        let last = self.base | !mask(self.prefix);
        (self.base + 2..last).map(Ipv4Addr::from)
    }

    /// Returns the blocks of `prefix` bits within this one.
    pub(crate) fn parts(self, prefix: u8) -> impl Iterator<Item = Self> {
        let count = 1_u32 << u32::from(prefix.saturating_sub(self.prefix)).min(24);
        let step = 1_u32 << (32 - u32::from(prefix.clamp(1, 32)));
        (0..count).map(move |n| Self { base: self.base + n * step, prefix })
    }
}

fn mask(prefix: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0)
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", Ipv4Addr::from(self.base), self.prefix)
    }
}

impl FromStr for Subnet {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` isn't a network such as 10.213.0.0/16");
        let (address, prefix) = text.split_once('/').ok_or_else(wrong)?;
        let prefix: u8 = prefix.parse().map_err(|_| wrong())?;
        if !(1..=32).contains(&prefix) {
            return Err(wrong());
        }
        Ok(Self::new(address.parse().map_err(|_| wrong())?, prefix))
    }
}

impl TryFrom<String> for Subnet {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Subnet> for String {
    fn from(subnet: Subnet) -> Self {
        subnet.to_string()
    }
}
