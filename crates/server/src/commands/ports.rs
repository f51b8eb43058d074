//! Ports that the platform is about to take: a taken one is named with its holder and the flag that moves it.

use std::net::{SocketAddr, TcpListener};

use super::{Failure, Outcome};
use crate::config::Config;
use crate::platform_containers::registry_address;
use panda_docker::platform::Component;

/// A port that a component needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) component: Component,
    pub(super) address: SocketAddr,
    pub(super) flag: &'static str,
}

/// Returns all ports that a configuration needs.
pub(super) fn wanted(config: &Config) -> Outcome<Vec<Wanted>> {
    let any = |port| SocketAddr::from(([0, 0, 0, 0], port));
    let registry = registry_address(config)
        .map_err(|error| Failure::of(error, "set it to 127.0.0.1:PORT, or use --registry-port"))?;
    let wanted = |component, address, flag| Wanted { component, address, flag };
    Ok(vec![
        wanted(Component::Registry, registry, "--registry-port"),
        wanted(Component::Edge, any(config.edge.http_port), "--http-port"),
        wanted(Component::Edge, any(config.edge.https_port), "--https-port"),
        wanted(Component::Server, config.listen.api, "--api-port"),
    ])
}

/// Fails if somebody holds one of the ports; those of `ours` are held by our own running containers.
pub(super) fn check(wanted: &[Wanted], ours: &[SocketAddr]) -> Outcome {
    let mut taken = Vec::new();
    for port in wanted {
        if ours.contains(&port.address) || is_free(port.address) {
            continue;
        }
        let holder = panda_edge::port_holder::holder_of(port.address)
            .unwrap_or_else(|| "a process that only root can see".to_owned());
        let what = port.component.word();
        taken.push((format!("port {} for the {what} is held by {holder}", port.address.port()), port.flag));
    }
    if taken.is_empty() {
        return Ok(());
    }
    let causes: Vec<_> = taken.iter().map(|(cause, _)| cause.as_str()).collect();
    let flags: Vec<_> = taken.iter().map(|(_, flag)| format!("{flag} PORT")).collect();
    Err(Failure::new(causes.join("; "), format!("stop the holder, or move ours: {}", flags.join(" "))))
}

fn is_free(address: SocketAddr) -> bool {
    TcpListener::bind(address).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_names_its_holder_and_the_flag() {
        let holder = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = holder.local_addr().unwrap();
        let port = Wanted { component: Component::Server, address, flag: "--api-port" };
        let said = check(&[port], &[]).unwrap_err().to_string();
        assert!(said.contains(&format!("port {}", address.port())), "{said}");
        assert!(said.contains(&format!("(pid {})", std::process::id())), "{said}");
        assert!(said.contains("--api-port"), "{said}");
        assert!(check(&[port], &[address]).is_ok(), "our own container may hold it");
        drop(holder);
        assert!(check(&[port], &[]).is_ok());
    }
}
