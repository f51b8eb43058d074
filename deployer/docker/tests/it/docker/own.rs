//! What only the Docker driver promises.

use anyhow::{Context, Result, ensure};
use panda_deployer::runtime::{Progress, WorkloadSpec};
use panda_domain::formation::Size;
use panda_domain::instance::InstanceState;
use panda_test_support::runtime_conformance::{App, Harness, Place, run};

use super::harness;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_size_is_taken_by_running_instances() {
    if let Some(harness) = harness().await {
        run(harness, |harness, place| Box::pin(resized(harness, place))).await.expect("the contract holds");
    }
}

async fn resized(harness: &mut Harness, place: &Place) -> Result<()> {
    let spec = harness.spec(place, App::Web, 1);
    let before = harness.serve(&spec).await?;
    let size = Size { cpu_millis: 250, memory_bytes: 128 << 20 };
    let after = harness.serve(&WorkloadSpec { size, ..spec }).await?;
    ensure!(before[0].id == after[0].id && before[0].started_at == after[0].started_at);
    let manifest = harness.runtime.manifest(&place.key, &place.placement).await?;
    ensure!(manifest.contains("\"Memory\": 134217728") && manifest.contains("\"NanoCpus\": 250000000"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_that_a_dead_driver_began_is_finished_by_the_next() {
    if let Some(harness) = harness().await {
        run(harness, |harness, place| Box::pin(resumed(harness, place))).await.expect("the contract holds");
    }
}

async fn resumed(harness: &mut Harness, place: &Place) -> Result<()> {
    let spec = harness.spec(place, App::Web, 1);
    harness.serve(&spec).await?;
    ensure!(harness.runtime.remove_workload(&spec.key, &spec.shutdown).await? == Progress::Working);
    harness.runtime = (harness.reconnect)().await?;
    let now = harness.observed(&spec.key).await?.context("it isn't gone yet")?;
    ensure!(now.instances[0].state == InstanceState::Draining, "{now:?}");
    harness
        .until("it is gone without being asked again", || async {
            Ok(harness.observed(&spec.key).await?.is_none().then_some(()))
        })
        .await
}
