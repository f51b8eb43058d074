//! What only the Docker driver promises.

use std::collections::HashSet;

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use panda_deployer::runtime::{Inventory, Progress, PullImage, WorkloadSpec, Workloads};
use panda_domain::formation::Size;
use panda_domain::instance::InstanceState;
use panda_test_support::process::Program;
use panda_test_support::runtime_conformance::{App, Harness, Place, run};

use super::{Bench, harness};

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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_installation_has_on_the_engine_is_in_nobody_elses_inventory() {
    if let Some(harness) = harness().await {
        run(harness, |harness, place| Box::pin(apart(harness, place))).await.expect("the contract holds");
    }
}

async fn apart(harness: &mut Harness, place: &Place) -> Result<()> {
    let other = Bench::new().context("there is an engine")?.connect().await?;
    harness.serve(&harness.spec(place, App::Web, 1)).await?;
    let task = harness.task(place, "exit 0");
    harness.runtime.start_task(&task).await?;
    let held = harness.runtime.inventory().await?;
    ensure!((held.workloads.len(), held.tasks.len(), held.environments.len()) == (1, 1, 1), "{held:?}");
    ensure!(other.inventory().await? == Inventory::default());
    harness.runtime.remove_task(&task.key).await?;
    Ok(())
}

/// Runs `docker` on the engine under test.
fn docker(arguments: &[&str]) -> Result<String> {
    let socket = std::env::var("PANDA_TEST_DOCKER")?;
    Program::new("docker").env("DOCKER_HOST", socket).args(arguments.iter().copied()).output()
}

/// Whether the engine has an image under this name.
fn has(name: &str) -> bool {
    docker(&["image", "inspect", "--format", "{{.Id}}", name]).is_ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_images_that_the_driver_pulled_are_removed_and_none_that_is_kept_or_runs() {
    if let Some(harness) = harness().await {
        let pushed = Pushed::new().expect("the test images can be pushed");
        let pulled = pushed.reference("pulled");
        let known = pushed.reference("known");
        docker(&["pull", "-q", &known]).expect("a person pulls one");
        let outcome = images(&harness, &pulled, &known).await;
        drop(pushed);
        outcome.expect("the promise holds");
    }
}

async fn images(harness: &Harness, pulled: &str, known: &str) -> Result<()> {
    let digest = harness.runtime.resolve_image(pulled, None).await?.digest;
    harness.runtime.resolve_image(known, None).await?;
    let (nothing, always) = (HashSet::new(), Timestamp::MAX);
    ensure!(harness.runtime.remove_old_images(&nothing, Timestamp::MIN).await? == 0, "all were used lately");
    ensure!(harness.runtime.remove_old_images(&[digest.clone()].into(), always).await? == 0, "it is kept");

    let place = harness.place().await?;
    let repository = pulled.rsplit_once(':').context("it has a tag")?.0.to_owned();
    let image = PullImage { repository, digest, login: None };
    let spec = WorkloadSpec { image: image.clone(), ..harness.spec(&place, App::Web, 1) };
    harness.serve(&spec).await?;
    harness.runtime.remove_old_images(&nothing, always).await?;
    ensure!(has(&image.reference()) || has(pulled), "it runs");
    ensure!(harness.serve(&spec).await?.len() == 1);
    harness.clear(&place).await?;

    harness
        .until("the images that were pulled are gone", || async {
            harness.runtime.remove_old_images(&nothing, always).await?;
            Ok((!has(pulled) && !has(&image.reference())).then_some(()))
        })
        .await?;
    ensure!(has(known), "a person pulled it before");
    Ok(())
}

/// Two images in the registry of the test apps that the engine doesn't have; their names go with the handle.
struct Pushed {
    repository: String,
}

impl Pushed {
    /// Pushes to the registry of the test apps: the platform's own takes nothing from `docker push`.
    fn new() -> Result<Self> {
        let images = std::env::var("PANDA_TEST_IMAGES").unwrap_or("127.0.0.1:5000/panda-test".to_owned());
        let bench = Bench::new().context("there is an engine")?;
        let pushed = Self { repository: format!("{images}/{}", bench.config.installation) };
        for (name, tag) in [("pulled", "v1"), ("known", "v2")] {
            let (from, to) = (format!("{images}/web:{tag}"), pushed.reference(name));
            docker(&["pull", "-q", &from])?;
            // An image of its own: containers of other tests run the one that it is made from, and would keep it.
            let container = docker(&["create", &from])?.trim().to_owned();
            let label = format!("LABEL panda.test.image={to}");
            let committed = docker(&["commit", "--change", &label, &container, &to]);
            docker(&["rm", &container])?;
            committed?;
            docker(&["push", "-q", &to])?;
            docker(&["rmi", &to])?;
        }
        Ok(pushed)
    }

    fn reference(&self, name: &str) -> String {
        format!("{}/{name}:v1", self.repository)
    }
}

impl Drop for Pushed {
    fn drop(&mut self) {
        for name in ["pulled", "known"] {
            let _ = docker(&["rmi", &self.reference(name)]);
        }
    }
}
