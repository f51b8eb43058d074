//! What server and edge hold while nothing happens, with more and more apps that are deployed and scaled to 0.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use panda_api_types::{DeployRequest, Deployment, DeploymentAccepted, DeploymentOverrides};
use panda_e2e::{Ground, Installation, image};
use serde::Serialize;

/// How long nothing happens before it is looked.
const REST: Duration = Duration::from_secs(5);
/// Apps that are made at the same time.
const AT_ONCE: usize = 4;

/// One look, in KiB.
#[derive(Debug, Serialize)]
pub(crate) struct Look {
    pub(crate) apps: usize,
    pub(crate) server_kib: u64,
    pub(crate) edge_kib: u64,
}

pub(crate) async fn run(ground: &Ground, counts: &[usize]) -> anyhow::Result<Vec<Look>> {
    let panda = Installation::start(ground).await?;
    let (mut made, mut looks) = (0, Vec::new());
    for &count in counts {
        let begun = Instant::now();
        stream::iter(made..count)
            .map(|number| make(&panda, number))
            .buffer_unordered(AT_ONCE)
            .try_collect::<Vec<()>>()
            .await?;
        made = made.max(count);
        eprintln!("memory: {count} apps after {} s", begun.elapsed().as_secs());
        // Restarted, so that what making them took isn't counted; what stays is what apps cost.
        panda.terminate_server().await?;
        panda.kill9_edge();
        panda.start_edge().await?;
        panda.start_server().await?;
        tokio::time::sleep(REST).await;
        let look = Look {
            apps: count,
            server_kib: resident(&panda, "panda-server")?,
            edge_kib: resident(&panda, "panda-edge")?,
        };
        eprintln!("memory: {look:?}");
        looks.push(look);
    }
    Ok(looks)
}

/// Makes an app with a release that serves, and no instance.
async fn make(panda: &Installation, number: usize) -> anyhow::Result<()> {
    let name = format!("idle-{number}");
    let api = panda.api();
    let _: serde_json::Value = api.post("/apps", &serde_json::json!({ "name": name })).await?;
    let overrides = DeploymentOverrides { replicas: Some(0), ..DeploymentOverrides::default() };
    let request = DeployRequest { overrides, ..image(panda, "v1") };
    let accepted: DeploymentAccepted = api.post(&format!("/apps/{name}/deployments"), &request).await?;
    let id = accepted.deployment.context("nothing was deployed")?.id;
    let begun = Instant::now();
    loop {
        let deployment: Deployment = api.get(&format!("/apps/{name}/deployments/{id}")).await?;
        if !deployment.active {
            anyhow::ensure!(deployment.state == "live", "`{name}` ended as {deployment:?}");
            return Ok(());
        }
        anyhow::ensure!(begun.elapsed() < Duration::from_mins(2), "`{name}` isn't live: {deployment:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The resident memory of this installation's process of a name.
fn resident(panda: &Installation, name: &str) -> anyhow::Result<u64> {
    let folder = panda.folder.display().to_string();
    for entry in fs::read_dir("/proc")? {
        let path = entry?.path();
        let command = fs::read(path.join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).into_owned();
        let program = command.split('\0').next().unwrap_or_default();
        if program.ends_with(name) && command.contains(&folder) {
            let status = fs::read_to_string(path.join("status"))?;
            let line = status
                .lines()
                .find(|line| line.starts_with("VmRSS:"))
                .context("the process has no memory")?;
            return Ok(line.split_whitespace().nth(1).context("no figure")?.parse()?);
        }
    }
    anyhow::bail!("`{name}` doesn't run")
}
