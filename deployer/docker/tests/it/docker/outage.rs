//! The engine goes away and comes back: killed, and after a power cut. Needs an engine of its own.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures_util::StreamExt;
use panda_domain::ids::JobId;
use panda_domain::instance::InstanceState;
use panda_test_support::process::Program;
use panda_test_support::runtime_conformance::{App, Harness, Place, run};
use panda_test_support::skip::skip;
use tokio::net::TcpStream;

use super::Bench;

/// An engine of this test's own, removed with its handle.
struct PrivateEngine {
    script: String,
    name: String,
}

impl PrivateEngine {
    fn start() -> Option<Self> {
        let Ok(script) = std::env::var("PANDA_TEST_PRIVATE_DOCKERD") else {
            skip("docker-outage", "PANDA_TEST_PRIVATE_DOCKERD names no script that starts engines");
            return None;
        };
        let ids = panda_domain::ids::IdSource::random(panda_domain::clock::Clock::system());
        let id: JobId = ids.next();
        let end = &id.as_str()[id.as_str().len() - 6..];
        let run = std::env::var("PANDA_TEST_RUN").unwrap_or("local".to_owned());
        let engine = Self { script, name: format!("{run}-{end}") };
        engine.told("start").expect("the private engine starts");
        Some(engine)
    }

    fn told(&self, verb: &str) -> Result<String> {
        let program = Program::new("bash").args([self.script.as_str(), verb, self.name.as_str()]);
        let finished = program.with_own_environment().run_blocking()?;
        ensure!(finished.code == Some(0), "{verb}: {}", finished.stderr);
        Ok(finished.stdout.trim().to_owned())
    }
}

impl Drop for PrivateEngine {
    fn drop(&mut self) {
        if let Err(error) = self.told("remove") {
            eprintln!("the private engine {} is left: {error:#}", self.name);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn instances_outlive_the_engine_and_are_found_again() {
    let Some(mut bench) = Bench::new() else { return };
    let Some(engine) = PrivateEngine::start() else { return };
    bench.config.socket = engine.told("socket").expect("it has a socket").into();
    let harness = bench.harness().await.expect("the driver connects");
    let engine = std::sync::Arc::new(engine);
    ENGINE.set(std::sync::Arc::downgrade(&engine)).map_err(|_| "set twice").expect("one test uses it");
    run(harness, |harness, place| Box::pin(outage(harness, place))).await.expect("the contract holds");
}

static ENGINE: std::sync::OnceLock<std::sync::Weak<PrivateEngine>> = std::sync::OnceLock::new();

async fn outage(harness: &mut Harness, place: &Place) -> Result<()> {
    let engine = ENGINE.get().and_then(std::sync::Weak::upgrade).context("the engine runs")?;
    let spec = harness.spec(place, App::Web, 2);
    let before = harness.serve(&spec).await?;
    let address = before[0].address.clone().context("it has an address")?;

    engine.told("kill")?;
    let away = harness.runtime.observe(&place.key).await;
    ensure!(away.is_err_and(|error| error.is_transient()), "a call says that the engine is away");
    TcpStream::connect(&address).await.context("the instance serves on")?;
    let mut hints = harness.runtime.watch();
    engine.told("start")?;
    let hint = tokio::time::timeout(Duration::from_secs(20), hints.next()).await;
    ensure!(hint.context("no hint after the engine came back")?.is_some());
    let after = harness.serve(&spec).await?;
    ensure!(after[0].id == before[0].id && after[0].started_at == before[0].started_at, "{after:?}");

    engine.told("crash")?;
    ensure!(TcpStream::connect(&address).await.is_err(), "a power cut ends everything");
    engine.told("start")?;
    let back = harness
        .until("both are ready again by themselves", || async {
            match harness.observed(&spec.key).await {
                Ok(Some(workload)) if workload.ready() == 2 => Ok(Some(workload)),
                _ => Ok(None),
            }
        })
        .await?;
    let addresses = |of: &[panda_deployer::runtime::ObservedInstance]| -> Vec<_> {
        of.iter().map(|i| (i.id.clone(), i.address.clone())).collect()
    };
    ensure!(addresses(&back.instances) == addresses(&before), "the same instances at the same addresses");
    ensure!(back.instances.iter().all(|i| i.state == InstanceState::Ready));
    Ok(())
}
