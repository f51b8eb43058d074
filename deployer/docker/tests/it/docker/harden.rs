//! What a container may not do, asserted on what the engine really made.

use anyhow::{Context, Result};
use panda_deployer::runtime::ImageUser;
use panda_test_support::runtime_conformance::{App, Harness, Place, run};
use serde_json::{Value, json};

use super::harness;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_built_image_has_no_capability_and_no_way_to_get_one() {
    if let Some(harness) = harness().await {
        run(harness, |harness, place| Box::pin(built(harness, place))).await.expect("the contract holds");
    }
}

async fn built(harness: &mut Harness, place: &Place) -> Result<()> {
    let mut spec = harness.spec(place, App::Web, 1);
    spec.user = ImageUser::Built;
    harness.serve(&spec).await?;
    let container = container(harness, place).await?;
    let host = &container["HostConfig"];
    assert_eq!(host["CapDrop"], json!(["ALL"]));
    assert_eq!(host["CapAdd"], Value::Null);
    assert_eq!(host["SecurityOpt"], json!(["no-new-privileges"]), "seccomp stays the engine's default");
    assert_ne!(host["Privileged"], json!(true));
    assert_eq!(host["PidsLimit"], json!(512));
    assert_eq!(host["Memory"], json!(96 << 20));
    assert_eq!(host["MemorySwap"], host["Memory"], "no swap on top");
    assert_eq!(host["NanoCpus"], json!(500_000_000));
    assert_eq!(host["RestartPolicy"]["Name"], json!("unless-stopped"));
    assert_eq!(
        (&host["Binds"], &host["Mounts"], &host["PortBindings"]),
        (&Value::Null, &Value::Null, &Value::Null)
    );
    assert_eq!(host["LogConfig"]["Config"], json!({"max-file": "5", "max-size": "10m"}));
    assert_eq!(container["Config"]["User"], json!("10001:10001"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_root_image_keeps_only_what_stepping_down_needs() {
    if let Some(harness) = harness().await {
        run(harness, |harness, place| Box::pin(root(harness, place))).await.expect("the contract holds");
    }
}

async fn root(harness: &mut Harness, place: &Place) -> Result<()> {
    harness.serve(&harness.spec(place, App::Root, 1)).await?;
    let host = container(harness, place).await?["HostConfig"].clone();
    let keeps = ["CHOWN", "DAC_OVERRIDE", "FOWNER", "SETGID", "SETUID", "KILL", "NET_BIND_SERVICE"];
    assert_eq!((&host["CapDrop"], &host["CapAdd"]), (&json!(["ALL"]), &json!(keeps)));
    Ok(())
}

/// Returns the only container of the place, as the manifest shows it.
async fn container(harness: &Harness, place: &Place) -> Result<Value> {
    let manifest = harness.runtime.manifest(&place.key, &place.placement).await?;
    let manifest: Value = serde_json::from_str(&manifest)?;
    manifest["Containers"].get(0).cloned().context("there is a container")
}
