//! The number of instances follows a real load, and a release in between keeps it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::ResourceExt;
use kube::api::{Api, ListParams};
use panda_deployer::autoscale::Standing;
use panda_deployer::plan::Attempt;
use panda_deployer::runtime::{Progress, WorkloadSpec};
use panda_domain::autoscale::Autoscale;
use panda_domain::formation::{Scale, Size};
use panda_test_support::runtime_conformance::{App, Harness, Place};

use super::{cluster, own};

/// Figures come every ten seconds, and an autoscaler looks every fifteen.
const PATIENCE: Duration = Duration::from_mins(4);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_number_follows_the_load_and_a_release_keeps_it() {
    own(|harness, place| Box::pin(loaded(harness, place))).await;
}

async fn loaded(harness: &mut Harness, place: &Place) -> Result<()> {
    let mut old = burning(harness, place);
    old.autoscale = Some(Autoscale { min: 1, max: 3, cpu_percent: Some(50), memory_percent: None });
    harness.runtime.ensure_workload(&old).await?;
    grows(harness, &old, 3).await?;
    let told = harness.runtime.autoscalers(&place.key, &place.placement).await?;
    let used = told.first().and_then(|one| one.cpu_millis).context("the load is told")?;
    ensure!(used > 50, "{told:?}");
    let (client, namespace) = cluster(place).await?;
    let deployments = Api::<Deployment>::namespaced(client.clone(), &namespace);
    ensure!(owner(&deployments, &old).await? != "panda Apply", "the number is the autoscaler's");

    // A size that changes is applied, and the number isn't.
    old.size.memory_bytes += 1 << 20;
    ensure_some(harness, &old).await?;
    let now = of(&deployments, &old).await?;
    ensure!(now.spec.and_then(|spec| spec.replicas) == Some(3), "{:?}", now.metadata.managed_fields);

    // As the rollout does: the new one starts with what the old one has, and keeps it although nobody loads it.
    let observed = harness.runtime.observe(&place.key).await?;
    let attempt =
        |spec: &WorkloadSpec| Attempt { release: spec.key.release.clone(), revision: spec.key.revision };
    let mut new = harness.spec(place, App::Web, 1);
    new.size = old.size;
    let (target, serving) = (attempt(&new), attempt(&old));
    let standing =
        Standing { target: Some(&target), serving: Some(&serving), rolling: true, observed: &observed };
    let scale = Scale { replicas: 1, size: new.size, autoscale: old.autoscale };
    let scale = standing.scale(standing.wanted(&new.key.process, &scale), scale);
    (new.replicas, new.autoscale) = (scale.replicas, scale.autoscale);
    ensure!(new.replicas == 3, "{observed:?}");
    harness.serve(&new).await?;
    let at_once = panda_domain::release::Shutdown { drain_s: 0, grace_s: 0, ..old.shutdown.clone() };
    harness
        .until("the old one is gone", || async {
            let progress = harness.runtime.remove_workload(&old.key, &at_once).await?;
            Ok((progress == Progress::Converged).then_some(()))
        })
        .await?;
    let bounds = Autoscale { min: 1, ..new.autoscale.context("it has bounds")? };
    let steady = WorkloadSpec { autoscale: Some(bounds), ..new };
    ensure_some(harness, &steady).await?;
    ensure!(harness.observed(&steady.key).await?.context("it runs")?.ready() == 3, "nothing was shrunk");
    beside(&client, &namespace).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_that_is_applied_keeps_a_number_that_no_autoscaler_ever_wrote() {
    own(|harness, place| Box::pin(unwritten(harness, place))).await;
}

/// Here the number is still ours, and a field that its only owner leaves out would fall back to 1.
async fn unwritten(harness: &mut Harness, place: &Place) -> Result<()> {
    let mut spec = harness.spec(place, App::Web, 3);
    spec.autoscale = Some(Autoscale { min: 2, max: 4, cpu_percent: Some(90), memory_percent: None });
    harness.serve(&spec).await?;
    let (client, namespace) = cluster(place).await?;
    let deployments = Api::<Deployment>::namespaced(client, &namespace);
    ensure!(owner(&deployments, &spec).await? == "panda Apply", "it was set when the deployment was made");
    for step in [1, 2] {
        spec.size.memory_bytes += 1 << 20;
        let before = of(&deployments, &spec).await?.metadata.generation;
        harness.runtime.ensure_workload(&spec).await?;
        let after = of(&deployments, &spec).await?;
        ensure!(after.metadata.generation > before, "the size was applied");
        ensure!(after.spec.and_then(|spec| spec.replicas) == Some(3), "step {step}");
        ensure!(owner(&deployments, &spec).await? != "panda Apply", "we left it out");
    }
    Ok(())
}

/// An app that takes all of the processor that it may have.
fn burning(harness: &Harness, place: &Place) -> WorkloadSpec {
    let mut spec = harness.spec(place, App::Shell, 1);
    spec.command = Some(["sh", "-c", "while :; do :; done"].map(str::to_owned).to_vec());
    spec.port = None;
    spec.size = Size { cpu_millis: 100, memory_bytes: 64 << 20 };
    spec
}

async fn grows(harness: &Harness, spec: &WorkloadSpec, count: usize) -> Result<()> {
    let began = Instant::now();
    loop {
        harness.runtime.ensure_workload(spec).await?;
        let seen = harness.observed(&spec.key).await?.context("it runs")?;
        if seen.ready() == count && seen.wanted == u32::try_from(count).ok() {
            eprintln!("{count} instances after {} s", began.elapsed().as_secs());
            return Ok(());
        }
        if began.elapsed() > PATIENCE {
            let told = harness.runtime.autoscalers(&spec.key.environment, &spec.key.placement).await?;
            bail!("it never grew: {seen:?} {told:?}");
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// Ensures it again and again, as a reconciler does, until nothing is under way.
async fn ensure_some(harness: &Harness, spec: &WorkloadSpec) -> Result<()> {
    for _ in 0..3 {
        harness.runtime.ensure_workload(spec).await?;
    }
    harness.converge(spec).await
}

async fn of(deployments: &Api<Deployment>, spec: &WorkloadSpec) -> Result<Deployment> {
    let label = format!("dev.panda/release={}", spec.key.release);
    let found = deployments.list(&ListParams::default().labels(&label)).await?.items;
    found.into_iter().next().context("it has a deployment")
}

/// Who owns the number of replicas now, and by which kind of write.
async fn owner(deployments: &Api<Deployment>, spec: &WorkloadSpec) -> Result<String> {
    let deployment = of(deployments, spec).await?;
    let mut owners = deployment.managed_fields().iter().filter(|entry| {
        let fields = entry.fields_v1.as_ref().map(|fields| &fields.0);
        fields.is_some_and(|fields| !fields["f:spec"]["f:replicas"].is_null())
    });
    let owner = owners.next().context("somebody owns it")?;
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    Ok(format!("{} {}", text(&owner.manager), text(&owner.operation)))
}

/// One autoscaler and one budget are left: those of the release that is.
async fn beside(client: &kube::Client, namespace: &str) -> Result<()> {
    let scalers = Api::<HorizontalPodAutoscaler>::namespaced(client.clone(), namespace);
    let budgets = Api::<PodDisruptionBudget>::namespaced(client.clone(), namespace);
    let scalers = scalers.list(&ListParams::default()).await?.items;
    let names: Vec<_> =
        budgets.list(&ListParams::default()).await?.items.iter().map(ResourceExt::name_any).collect();
    ensure!(scalers.len() == 1 && names == [scalers[0].name_any()], "{scalers:?} {names:?}");
    ensure!(scalers[0].spec.as_ref().and_then(|spec| spec.min_replicas) == Some(1), "{scalers:?}");
    Ok(())
}
