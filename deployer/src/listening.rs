//! Which TCP ports a process really listens on, read from the kernel's tables of its network namespace (`/proc/net/tcp`,
//! `/proc/net/tcp6`).

use std::collections::BTreeMap;

/// The address of the Docker engine's own name server inside each container: 127.0.0.11.
const ENGINES_DNS: &str = "0B00007F";

/// Returns the ports that something listens on, and whether on localhost only. A port counts as local only if no socket serves
/// it beyond localhost.
pub fn ports<'a>(tables: impl IntoIterator<Item = &'a str>) -> Vec<(u16, bool)> {
    let mut found = BTreeMap::new();
    for (port, local) in tables.into_iter().flat_map(str::lines).filter_map(listener) {
        found.entry(port).and_modify(|only| *only &= local).or_insert(local);
    }
    found.into_iter().collect()
}

fn listener(line: &str) -> Option<(u16, bool)> {
    let mut columns = line.split_whitespace().skip(1);
    let (address, port) = columns.next()?.split_once(':')?;
    let listens = columns.nth(1)? == "0A";
    if !listens || address == ENGINES_DNS {
        return None;
    }
    Some((u16::from_str_radix(port, 16).ok()?, is_localhost(address)))
}

/// Addresses are words of the machine's byte order in hexadecimal.
fn is_localhost(address: &str) -> bool {
    match address.len() {
        8 => address.ends_with("7F"),
        32 => {
            address == "00000000000000000000000001000000"
                || (address.starts_with("0000000000000000FFFF0000") && address.ends_with("7F"))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_are_told_from_connections_and_localhost_from_the_world() {
        let table = "  sl  local_address rem_address   st\n\
            0: 0B00007F:A3B1 00000000:0000 0A 0\n\
            1: 0100007F:1F90 00000000:0000 0A 0\n\
            2: 00000000:0BB8 00000000:0000 0A 0\n\
            3: 0500D50A:9C40 0600D50A:1538 01 0\n";
        assert_eq!(ports([table, "  sl  local_address\n"]), [(3000, false), (8080, true)]);
    }
}
