//! What a Docker host stands on: the engine, the platform's four containers, their ports.

use anyhow::{Result, bail};
use panda_deployer::runtime::{Check, CheckState};
use panda_docker::platform::{Component, PlatformHost};
use panda_domain::clock::Clock;
use panda_edge::client::EdgeClient;
use panda_registry_token::RegistryKey;

use super::super::{health, http, ports};
use super::{LIMIT, look, ok};
use crate::config::Config;
use crate::platform_containers::{Installation, registry_address};

/// Looks at all of it.
pub(super) async fn looks(config: &Config) -> Vec<Check> {
    let installation = Installation::load(&config.data_dir).ok().flatten().unwrap_or_default();
    let mut checks = engine(config, &installation).await;
    for component in Component::ALL {
        checks.push(component_check(config, component, &installation).await);
    }
    checks.extend(registry_login(config).await);
    checks.extend(taken_ports(config).await);
    checks
}

async fn engine(config: &Config, installation: &Installation) -> Vec<Check> {
    let looked = async {
        let host = PlatformHost::connect(&config.runtime.docker_socket, &installation.name).await?;
        host.check().await
    };
    looked.await.unwrap_or_else(|error| {
        let seen = format!("{:#}", anyhow::Error::from(error));
        vec![look(
            "Docker engine",
            CheckState::Failed,
            seen,
            "systemctl start docker; then journalctl -u docker",
        )]
    })
}

async fn component_check(config: &Config, component: Component, installation: &Installation) -> Check {
    match answers(config, component).await {
        Ok(seen) => ok(component.word(), seen),
        Err(error) => {
            let name = format!("{}-{}", installation.name, component.word());
            let fix = format!("docker logs {name}; `panda-server install` brings it up again");
            look(component.word(), CheckState::Failed, format!("{error:#}"), fix)
        }
    }
}

/// Asks a component for an answer of its own, and returns what it said.
pub(in crate::commands) async fn answers(config: &Config, component: Component) -> Result<String> {
    match component {
        Component::Registry => {
            let address = registry_address(config)?;
            let answer = match RegistryKey::load(&config.registry.key_file, Clock::system())? {
                Some(key) => http::get_as(&key.greeting_token(), address, "/v2/", LIMIT).await?,
                None => http::get(address, "/v2/", LIMIT).await?,
            };
            match answer {
                (200, _) => Ok(format!("answers on {address}")),
                (401, _) => bail!("{address} doesn't know this installation's key"),
                (status, _) => bail!("{address} answers {status}"),
            }
        }
        Component::Buildkitd => super::builder_version(config).await,
        Component::Edge => {
            let status = EdgeClient::new(&config.edge.control).with_deadline(LIMIT).status().await?;
            let warnings = status.warnings.join("; ");
            let warnings = if warnings.is_empty() { String::new() } else { format!(", but: {warnings}") };
            Ok(format!(
                "version {}, {} routes, {} certificates{warnings}",
                status.version, status.routes, status.certificates
            ))
        }
        Component::Server => {
            health::ready(config).await?;
            let info = health::server_info(config).await?;
            let version = info.get("version").and_then(|version| version.as_str()).unwrap_or("unknown");
            Ok(format!("version {version}, ready"))
        }
    }
}

/// Warns of a registry that serves everybody: build steps and all programs of this machine reach it.
async fn registry_login(config: &Config) -> Option<Check> {
    let answer = http::get(registry_address(config).ok()?, "/v2/", LIMIT).await.ok()?;
    let seen = "everybody who reaches it, every build step included, can read and replace all images";
    let fix = "panda-server install; it asks for a login from then on, and apps run on";
    match answer.0 {
        401 => Some(ok("registry login", "serves nobody without a token")),
        200 => Some(look("registry login", CheckState::Warning, seen, fix)),
        // What is wrong stands in the look at the registry itself.
        _ => None,
    }
}

/// Tells whether a registry listens there, whatever it thinks of us.
pub(in crate::commands) async fn registry_listens(config: &Config) -> bool {
    let Ok(address) = registry_address(config) else { return false };
    matches!(http::get(address, "/v2/", LIMIT).await, Ok((200 | 401, _)))
}

/// Names those who hold a port that one of ours needs.
async fn taken_ports(config: &Config) -> Vec<Check> {
    let wanted = match ports::wanted(config) {
        Ok(wanted) => wanted,
        Err(failure) => return vec![look("ports", CheckState::Failed, failure.to_string(), "")],
    };
    let mut checks = Vec::new();
    for port in &wanted {
        if answers(config, port.component).await.is_err()
            && let Err(failure) = ports::check(std::slice::from_ref(port), &[])
        {
            checks.push(look("ports", CheckState::Failed, failure.cause, failure.fix));
        }
    }
    if checks.is_empty() {
        let numbers: Vec<_> = wanted.iter().map(|port| port.address.port().to_string()).collect();
        checks.push(ok("ports", format!("{} are ours or free", numbers.join(", "))));
    }
    checks
}
