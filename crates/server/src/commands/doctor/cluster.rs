//! What an installation on a cluster stands on: what the driver looks at, the builder, the registry.

use anyhow::{Context as _, Result, bail};
use panda_deployer::runtime::{Check, CheckState, Inspect as _};
use panda_domain::clock::Clock;
use panda_kubernetes::KubernetesRuntime;
use panda_registry_token::RegistryKey;

use super::super::{health, http, opening};
use super::{LIMIT, look, ok};
use crate::config::Config;
use crate::wiring;

/// Looks at all of it.
pub(super) async fn looks(config: &Config) -> Vec<Check> {
    let mut checks = cluster(config).await.unwrap_or_else(|error| {
        let fix = "check the kubeconfig or the service account, and that this machine reaches the API server";
        vec![look("Kubernetes", CheckState::Failed, format!("{error:#}"), fix)]
    });
    checks.push(told("buildkitd", super::builder_version(config).await, "kubectl logs of the builder's pod"));
    if !config.registry.own_url.is_empty() {
        let fix = "kubectl logs of the registry's pod; both have to have the same key";
        checks.push(told("registry", registry(config).await, fix));
    }
    let ready = health::ready(config).await.map(|()| "ready".to_owned());
    checks.push(told("server", ready, "kubectl logs of the server's pods"));
    checks
}

fn told(name: &str, seen: Result<String>, fix: &str) -> Check {
    match seen {
        Ok(seen) => ok(name, seen),
        Err(error) => look(name, CheckState::Failed, format!("{error:#}"), fix),
    }
}

async fn cluster(config: &Config) -> Result<Vec<Check>> {
    // Without a state there is no installation yet; the cluster can be looked at all the same.
    let installation = match opening::look(config).await {
        Ok(store) => store.installation().await.unwrap_or_default(),
        Err(_) => String::new(),
    };
    let installation = if installation.is_empty() { "doctor".to_owned() } else { installation };
    let settings = wiring::kubernetes(config, installation, &Clock::system())?;
    let driver = KubernetesRuntime::connect(settings).await?;
    let checks = driver.check().await;
    driver.shutdown().await;
    Ok(checks)
}

/// Asks the registry whether it is there and knows our key.
async fn registry(config: &Config) -> Result<String> {
    let url = config.registry_url();
    let Some(place) = url.strip_prefix("http://") else {
        return Ok(format!("{url}; not asked, it speaks TLS"));
    };
    let mut found = tokio::net::lookup_host(place).await.with_context(|| format!("look `{place}` up"))?;
    let address = found.next().with_context(|| format!("`{place}` has no address"))?;
    let key = RegistryKey::load(&config.registry.key_file, Clock::system())?;
    let key = key.with_context(|| format!("there is no key at `{}`", config.registry.key_file.display()))?;
    match http::get_as(&key.greeting_token(), address, "/v2/", LIMIT).await?.0 {
        200 => Ok(format!("answers on {place}")),
        401 => bail!("{place} doesn't know this installation's key"),
        status => bail!("{place} answers {status}"),
    }
}
