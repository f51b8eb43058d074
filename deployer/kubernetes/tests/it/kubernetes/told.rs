//! What the cluster can't do is told with its reason.

use anyhow::{Context, Result, bail, ensure};
use panda_deployer::runtime::{CheckState, Inspect, RuntimeError};
use panda_domain::formation::Size;
use panda_domain::instance::InstanceState;
use panda_domain::release::Shutdown;
use panda_test_support::runtime_conformance::{App, Harness, Place, run};

use super::{Bench, own};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_that_no_node_has_room_for_names_what_is_short() {
    own(|harness, place| Box::pin(unschedulable(harness, place))).await;
}

async fn unschedulable(harness: &mut Harness, place: &Place) -> Result<()> {
    let mut spec = harness.spec(place, App::Web, 1);
    spec.size = Size { cpu_millis: 500, memory_bytes: 64 << 40 };
    harness.converge(&spec).await?;
    let seen = harness.first(&spec.key, "the scheduler has said so", |i| i.held_up.is_some()).await?;
    ensure!(seen.held_up.is_some_and(|words| words.contains("not enough memory is free")));
    ensure!(seen.waiting.is_none() && seen.state == InstanceState::Starting, "a node may come");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quota_that_is_used_up_is_told_as_that() {
    let Some(mut bench) = Bench::new() else { return };
    bench.config.quota.pods = 1;
    let harness = bench.harness().await.expect("the driver connects");
    run(harness, |harness, place| Box::pin(exceeded(harness, place))).await.expect("it holds");
}

async fn exceeded(harness: &mut Harness, place: &Place) -> Result<()> {
    let spec = harness.spec(place, App::Web, 2);
    let reason = harness
        .until("the second is refused", || async {
            match harness.runtime.ensure_workload(&spec).await {
                Ok(_) => Ok(None),
                Err(RuntimeError::Rejected { reason, .. }) => Ok(Some(reason)),
                Err(error) => bail!("another error: {error}"),
            }
        })
        .await?;
    ensure!(reason.contains("quota is used up"), "{reason}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_status_that_the_cluster_cant_take_for_healthy_is_refused() {
    own(|harness, place| Box::pin(unhealthy(harness, place))).await;
}

async fn unhealthy(harness: &mut Harness, place: &Place) -> Result<()> {
    let mut spec = harness.spec(place, App::Web, 1);
    spec.health.path = Some("/healthz".to_owned());
    spec.health.ok_to = 299;
    let refused = harness.runtime.ensure_workload(&spec).await;
    ensure!(matches!(&refused, Err(RuntimeError::Rejected { reason, .. }) if reason.contains("200 to 399")));
    ensure!(harness.observed(&spec.key).await?.is_none(), "nothing was started");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_app_is_ended_by_its_own_signal_or_that_is_refused() {
    own(|harness, place| Box::pin(signalled(harness, place))).await;
}

async fn signalled(harness: &mut Harness, place: &Place) -> Result<()> {
    let mut spec = harness.spec(place, App::Web, 1);
    spec.shutdown = Shutdown { signal: "SIGINT".to_owned(), ..spec.shutdown };
    match harness.runtime.ensure_workload(&spec).await {
        Ok(_) => drop(harness.serve(&spec).await?),
        Err(RuntimeError::Rejected { reason, .. }) => ensure!(reason.contains("SIGINT"), "{reason}"),
        Err(error) => bail!("another error: {error}"),
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn doctor_looks_at_all_that_apps_need_of_a_cluster() {
    let Some(bench) = Bench::new() else { return };
    let runtime = bench.connect().await.expect("the driver connects");
    let checks = runtime.check().await;
    let state = |name: &str| {
        let check = checks.iter().find(|check| check.name == name);
        check.with_context(|| format!("{name} isn't looked at: {checks:#?}")).expect("it is").state
    };
    for name in
        ["Kubernetes", "watching", "rights", "nodes", "ingress class", "storage class", "DNS", "clock"]
    {
        assert_eq!(state(name), CheckState::Ok, "{name}: {checks:#?}");
    }
    assert!(checks.iter().all(|check| (check.state == CheckState::Ok) == check.fix.is_empty()));
}
