//! Environments: one bridge network each.

use std::collections::HashMap;
use std::fs;

use bollard::models::{Ipam, IpamConfig, Network, NetworkCreateRequest};
use bollard::query_parameters::ListNetworksOptions;
use panda_deployer::runtime::{EnvironmentKey, EnvironmentSpec, RuntimeError, RuntimeResult};

use crate::addresses::{Addresses, Subnet};
use crate::create::Host;
use crate::engine::Engine;
use crate::labels;

/// How many subnets are tried when the engine refuses one.
const ATTEMPTS: usize = 8;

/// Returns the name of an environment's network: the id, because names are looked up and must not collide.
pub(crate) fn network_name(key: &EnvironmentKey) -> String {
    format!("panda-{}", key.environment)
}

/// Makes the environment's network be there. Never at the same time as [`remove`]: the engine's network and the book's entry
/// go and come as one.
pub(crate) async fn ensure(
    engine: &Engine,
    addresses: &Addresses,
    host: &Host,
    spec: &EnvironmentSpec,
) -> RuntimeResult<()> {
    let name = network_name(&spec.key);
    let mut refused = Vec::new();
    for _ in 0..ATTEMPTS {
        let networks = all(engine).await?;
        if let Some(network) = networks.iter().find(|network| network.name.as_deref() == Some(&name)) {
            return match subnet_of(network) {
                Some(subnet) => addresses.know(&spec.key, subnet).await,
                None => Ok(()),
            };
        }
        let mut taken: Vec<Subnet> = networks.iter().filter_map(subnet_of).collect();
        taken.extend(host_routes());
        taken.extend(&refused);
        let subnet = addresses.subnet(&spec.key, taken).await?;
        let request = request(host, spec, &name, subnet);
        let created = engine.call(format!("create network `{name}`"), engine.docker.create_network(request));
        match created.await {
            Ok(_) | Err(RuntimeError::Conflict { .. }) => return Ok(()),
            Err(RuntimeError::Rejected { reason, .. }) if reason.contains("overlaps") => refused.push(subnet),
            Err(error) => return Err(error),
        }
    }
    Err(RuntimeError::Rejected {
        doing: format!("create network `{name}`"),
        reason: format!("the engine refused {ATTEMPTS} networks of the pool as overlapping with others"),
    })
}

fn request(host: &Host, spec: &EnvironmentSpec, name: &str, subnet: Subnet) -> NetworkCreateRequest {
    let mut labels = labels::of_environment(host, &spec.key);
    labels.insert("dev.panda.environment-name".to_owned(), spec.name.to_string());
    let pool = IpamConfig {
        subnet: Some(subnet.to_string()),
        gateway: Some(subnet.gateway().to_string()),
        ..IpamConfig::default()
    };
    NetworkCreateRequest {
        name: name.to_owned(),
        driver: Some("bridge".to_owned()),
        ipam: Some(Ipam { config: Some(vec![pool]), ..Ipam::default() }),
        labels: Some(labels),
        options: Some(HashMap::from([(
            "com.docker.network.bridge.enable_icc".to_owned(),
            "true".to_owned(),
        )])),
        ..NetworkCreateRequest::default()
    }
}

/// Removes the environment's network; absent is fine.
pub(crate) async fn remove(
    engine: &Engine,
    addresses: &Addresses,
    key: &EnvironmentKey,
) -> RuntimeResult<()> {
    let name = network_name(key);
    let removed = engine.call(format!("remove network `{name}`"), engine.docker.remove_network(&name)).await;
    match removed {
        Ok(()) | Err(RuntimeError::NotFound { .. }) => addresses.release_subnet(key).await,
        Err(RuntimeError::Rejected { reason, .. }) if reason.contains("active endpoints") => {
            Err(RuntimeError::Conflict { what: format!("network `{name}` (instances still run in it)") })
        }
        Err(error) => Err(error),
    }
}

/// Returns this installation's environments with their subnets.
pub(crate) async fn ours(
    engine: &Engine,
    installation: &str,
) -> RuntimeResult<Vec<(EnvironmentKey, Subnet)>> {
    let label = labels::select_kind(installation, labels::KIND_ENVIRONMENT);
    let filters = HashMap::from([("label".to_owned(), label)]);
    let networks = list(engine, Some(filters)).await?;
    let ours = networks
        .iter()
        .filter_map(|network| Some((labels::environment(network.labels.as_ref()?)?, subnet_of(network)?)));
    Ok(ours.collect())
}

async fn all(engine: &Engine) -> RuntimeResult<Vec<Network>> {
    list(engine, None).await
}

async fn list(engine: &Engine, filters: Option<HashMap<String, Vec<String>>>) -> RuntimeResult<Vec<Network>> {
    let options = ListNetworksOptions { filters };
    engine.call("list networks", engine.docker.list_networks(Some(options))).await
}

fn subnet_of(network: &Network) -> Option<Subnet> {
    let configs = network.ipam.as_ref()?.config.as_ref()?;
    configs.iter().find_map(|config| config.subnet.as_deref()?.parse().ok())
}

/// Returns the host's own routes, which an environment must not shadow. The default route shadows nothing.
fn host_routes() -> Vec<Subnet> {
    // A short read of a kernel table: it doesn't block on a disk.
    let table = fs::read_to_string("/proc/net/route").unwrap_or_default();
    table.lines().skip(1).filter_map(route).collect()
}

fn route(line: &str) -> Option<Subnet> {
    let mut columns = line.split_whitespace().skip(1);
    let hex = |text: &str| u32::from_str_radix(text, 16).ok().map(u32::swap_bytes);
    let destination = hex(columns.next()?)?;
    let mask = hex(columns.nth(5)?)?;
    let prefix = u8::try_from(mask.count_ones()).ok()?;
    (prefix > 0).then(|| Subnet::new(destination.into(), prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_kernels_routing_table_gives_its_network() {
        let line = "eth0\t0001A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0";
        assert_eq!(route(line).unwrap().to_string(), "192.168.1.0/24");
        assert!(route("eth0\t00000000\t0101A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0").is_none());
    }
}
