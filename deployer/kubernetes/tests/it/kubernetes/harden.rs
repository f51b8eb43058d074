//! What an instance may not do, seen from inside.

use anyhow::{Result, ensure};
use futures_util::TryStreamExt;
use panda_deployer::runtime::{ExecRequest, ImageUser};
use panda_domain::ids::InstanceId;
use panda_test_support::runtime_conformance::{App, Harness, Place};

use super::own;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_has_no_capability_no_way_to_get_one_and_no_token_of_the_cluster() {
    own(|harness, place| Box::pin(closed(harness, place))).await;
}

async fn closed(harness: &mut Harness, place: &Place) -> Result<()> {
    let mut spec = harness.spec(place, App::Shell, 1);
    spec.user = ImageUser::Built;
    spec.command = Some(["sleep", "300"].map(str::to_owned).to_vec());
    spec.port = None;
    let instance = harness.serve(&spec).await?[0].id.clone();
    let status = sh(harness, place, &instance, "cat /proc/1/status").await?;
    let figure = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.unwrap_or_default().trim().to_owned()
    };
    ensure!(figure("CapBnd") == "0000000000000000", "{status}");
    ensure!(figure("NoNewPrivs") == "1" && figure("Seccomp") == "2", "{status}");
    let found = sh(harness, place, &instance, "ls /var/run/secrets 2>&1; env | grep -c SERVICE_HOST").await?;
    // The API server's own address is in every pod; of services none is.
    ensure!(found.contains("No such file") && found.trim_end().ends_with('1'), "{found}");
    Ok(())
}

async fn sh(harness: &Harness, place: &Place, instance: &InstanceId, script: &str) -> Result<String> {
    let command = ["sh", "-c", script].map(str::to_owned).to_vec();
    let request = ExecRequest { command, tty: false, size: None };
    let session = harness.runtime.exec(&place.key, instance, &request).await?;
    let printed: Vec<_> = session.output.map_ok(|(_, bytes)| bytes).try_collect().await?;
    session.exit.await?;
    Ok(String::from_utf8_lossy(&printed.concat()).into_owned())
}
