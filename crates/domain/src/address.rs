//! Addresses: which are the internet's.

use std::net::{IpAddr, Ipv4Addr};

/// Tells whether an address is one of the internet's: not private, shared, local, reserved, for documentation or for many.
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(ip) => is_public_v4(ip),
        IpAddr::V6(ip) => match ip.to_ipv4_mapped() {
            Some(v4) => is_public_v4(v4),
            // Global unicast, without the range that leads into IPv4 networks.
            None => ip.segments()[0] & 0xe000 == 0x2000 && ip.segments()[0] != 0x2002,
        },
    }
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let [a, b, ..] = ip.octets();
    let shared = a == 100 && (64..128).contains(&b);
    let reserved = a == 0 || a >= 240 || ip.is_documentation() || (a == 198 && (18..20).contains(&b));
    !(ip.is_private() || ip.is_loopback() || ip.is_link_local() || ip.is_multicast() || shared || reserved)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_internet_s_addresses_are_public() {
        let private = "10.1.2.3 192.168.0.2 172.16.0.1 127.0.0.1 169.254.169.254 100.64.0.1 0.0.0.0 198.18.0.1 224.0.0.1 \
            255.255.255.255 192.0.2.1 ::1 fd00::1 fe80::1 ::ffff:10.0.0.1 2002:a00::1";
        for address in private.split_whitespace() {
            assert!(!is_public(address.parse().unwrap()), "{address}");
        }
        for address in ["8.8.8.8", "2001:4860:4860::8888"] {
            assert!(is_public(address.parse().unwrap()), "{address}");
        }
    }
}
