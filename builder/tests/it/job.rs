//! The job on two servers: who lost it writes nothing.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use panda_builder::build::Builder;
use panda_builder::buildkit::BuildkitConfig;
use panda_builder::job::{BuildJob, BuildPlaces};
use panda_builder::registry::{Registry, RegistryLogin};
use panda_domain::clock::Clock;
use panda_domain::deployment::Trigger;
use panda_domain::event::Actor;
use panda_domain::ids::DeploymentId;
use panda_domain::job::{JobPayload, deployment_key};
use panda_domain::request::FrozenRequest;
use panda_domain::source::Source;
use panda_jobs::{Handler, JobContext, JobOutcome, Runner};
use panda_store::testing::TestStore;
use panda_store::{BlobDir, NewDeployment, Store};

/// How long a lease holds, and a little.
const LEASE_OVER: Duration = Duration::from_secs(31);

/// A handler that is so slow that another server takes its job before it has written anything.
struct Late {
    inner: BuildJob,
    store: Store,
    clock: Clock,
}

#[async_trait]
impl Handler for Late {
    async fn run(&self, context: &JobContext) -> JobOutcome {
        self.clock.advance(LEASE_OVER);
        let mut tx = self.store.begin().await.unwrap();
        let taken = tx.claim_job("another", &["build"], LEASE_OVER).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(taken.map(|job| job.id), Some(context.job().id.clone()));
        self.inner.run(context).await
    }
}

/// The job with a builder that isn't there: nothing here comes so far.
async fn job(test: &TestStore) -> BuildJob {
    let folder = test.folder();
    let config = BuildkitConfig { address: format!("unix://{}/nobody.sock", folder.display()), tls: None };
    let registry = Registry {
        host: "127.0.0.1:9".to_owned(),
        insecure: true,
        login: RegistryLogin::Open,
        check_url: None,
    };
    let blobs = BlobDir::open(folder.join("blobs")).await.unwrap();
    let places = BuildPlaces { work: folder.join("work"), logs: folder.to_owned() };
    BuildJob::new(test.store.clone(), blobs, Builder::new(&config, None).unwrap(), registry, places)
}

async fn ask(test: &TestStore, manifest: Option<&str>) -> DeploymentId {
    let mut tx = test.store.begin().await.unwrap();
    let team = tx.insert_team(&"acme".parse().unwrap()).await.unwrap();
    let project = tx.ensure_project(&team.id, &"default".parse().unwrap()).await.unwrap();
    let production =
        tx.ensure_environment(&team.id, &project.id, &"production".parse().unwrap()).await.unwrap();
    let app = tx.insert_app(&team.id, &project.id, &"shop".parse().unwrap()).await.unwrap();
    let placement = tx.insert_placement(&app, &production, "shop.localhost").await.unwrap();
    let frozen = FrozenRequest { manifest: manifest.map(str::to_owned), ..FrozenRequest::default() };
    let new = NewDeployment {
        team: team.id.clone(),
        placement: placement.id,
        trigger: Trigger::Deploy,
        source: Source::Upload { tree: format!("sha256:{}", "a".repeat(64)), git_sha: None },
        request_json: serde_json::to_string(&frozen).unwrap(),
        env_version: 0,
        revision: 0,
        idempotency_key: None,
        actor: Actor::Platform,
    };
    let made = tx.insert_deployment(&new).await.unwrap();
    let payload = JobPayload::Build { team: team.id, deployment: made.id.clone() };
    tx.enqueue(&payload, &deployment_key(&made.id), test.clock.now()).await.unwrap();
    tx.commit().await.unwrap();
    made.id
}

async fn state(test: &TestStore, id: &DeploymentId) -> String {
    let row = test.store.read().await.unwrap().deployment_by_id(id).await.unwrap().unwrap();
    row.state.failure().map_or(row.state.word().to_owned(), |failure| format!("{:?}", failure.code))
}

#[tokio::test]
async fn a_builder_that_lost_its_job_neither_begins_nor_fails_a_build() {
    // One whose source is gone, and one whose request can't be read any more: the second fails before anything is begun.
    for (manifest, end) in [(None, "P112"), (Some("[deploy\n"), "P501")] {
        for test in TestStore::each().await {
            let test = &test;
            let id = ask(test, manifest).await;
            let late = Late { inner: job(test).await, store: test.store.clone(), clock: test.clock.clone() };
            let late = Runner::new(test.store.clone(), "late").handle("build", 1, Arc::new(late));
            late.run_until_idle().await;
            let said = test.store.read().await.unwrap().progress_after(&id, 0, 100).await.unwrap();
            assert_eq!((state(test, &id).await.as_str(), said.len()), ("queued", 1), "{said:?}");

            // Who has the job fails it.
            test.clock.advance(LEASE_OVER);
            let next = Runner::new(test.store.clone(), "next").handle("build", 1, Arc::new(job(test).await));
            next.run_until_idle().await;
            assert_eq!(state(test, &id).await, end);
        }
    }
}
