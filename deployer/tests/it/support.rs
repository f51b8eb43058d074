//! One installation without a server: the store, the runtime in memory, the parts that a server would activate.

use std::sync::Arc;
use std::time::Duration;

use panda_deployer::deadlines::Deadlines;
use panda_deployer::desired::environment_of;
use panda_deployer::destroy::DestroyApp;
use panda_deployer::resolve::ResolveImage;
use panda_deployer::rollout::Rollouts;
use panda_deployer::routes::RoutePublisher;
use panda_deployer::runtime::fake::{Behaviour, FakeRuntime};
use panda_deployer::runtime::{
    ObservedWorkload, ResolvedImage, RouteTarget, Runtime, WorkloadKey, Workloads,
};
use panda_deployer::settings::DeploySettings;
use panda_deployer::tasks::TaskRuns;
use panda_domain::app::App;
use panda_domain::deployment::{CancelReason, DeploymentState, PhaseDeadlines, Trigger};
use panda_domain::event::Actor;
use panda_domain::formation::Scale;
use panda_domain::ids::{DeploymentId, PlacementId, TaskId};
use panda_domain::image::Digest;
use panda_domain::job::{JobPayload, deployment_key};
use panda_domain::names::ProcessName;
use panda_domain::request::FrozenRequest;
use panda_domain::source::Source;
use panda_jobs::{Outcome, Reconciler, Runner};
use panda_store::testing::TestStore;
use panda_store::{
    DeploymentRow, Environment, NewDeployment, NewRelease, NewTask, PlacementRow, ReleaseRow, Store,
    StoreError, Team,
};

/// What dies with a server.
pub(crate) struct Server {
    pub(crate) rollouts: Rollouts,
    pub(crate) deadlines: Deadlines,
    pub(crate) tasks: TaskRuns,
    pub(crate) runner: Runner,
}

/// An installation with one app.
pub(crate) struct Rig {
    pub(crate) test: TestStore,
    pub(crate) fake: FakeRuntime,
    pub(crate) team: Team,
    pub(crate) environment: Environment,
    pub(crate) app: App,
    pub(crate) placement: PlacementId,
    server: Server,
    /// Whether every activation is made twice.
    pub(crate) twice: bool,
}

impl Rig {
    pub(crate) async fn new() -> Self {
        Self::on(TestStore::sqlite().await).await
    }

    /// Makes one on this store.
    pub(crate) async fn on(test: TestStore) -> Self {
        let fake = FakeRuntime::new(test.clock.clone(), test.store.ids().clone());
        let mut tx = test.store.begin().await.unwrap();
        let team = tx.insert_team(&"acme".parse().unwrap()).await.unwrap();
        let project = tx.ensure_project(&team.id, &"default".parse().unwrap()).await.unwrap();
        let environment =
            tx.ensure_environment(&team.id, &project.id, &"production".parse().unwrap()).await.unwrap();
        let app = tx.insert_app(&team.id, &project.id, &"shop".parse().unwrap()).await.unwrap();
        let placement = tx.insert_placement(&app, &environment, "shop.localhost").await.unwrap().id;
        tx.commit().await.unwrap();
        let server = server(&test.store, &fake, "test");
        Self { test, fake, team, environment, app, placement, server, twice: false }
    }

    pub(crate) fn store(&self) -> &Store {
        &self.test.store
    }

    pub(crate) fn actor() -> Actor {
        Actor::Platform
    }

    /// Makes an image `shop:<digit>` that behaves so.
    pub(crate) fn image(&self, digit: char, behaviour: Behaviour) {
        let digest: Digest = format!("sha256:{}", digit.to_string().repeat(64)).parse().unwrap();
        self.fake.behave(&digest, behaviour);
        let image = ResolvedImage { digest, exposed: vec![8080], user: "1000".to_owned() };
        self.fake.publish(&format!("shop:{digit}"), image);
    }

    /// Asks for a deploy of `shop:<digit>`, as the API does.
    pub(crate) async fn ask(&self, digit: char, manifest: Option<&str>) -> DeploymentId {
        let frozen = FrozenRequest { manifest: manifest.map(str::to_owned), ..FrozenRequest::default() };
        let mut tx = self.store().begin().await.unwrap();
        for older in tx.active_deployment_of(&self.placement).await.unwrap() {
            if matches!(older.state, DeploymentState::Queued | DeploymentState::Building) {
                tx.call_off(&older, CancelReason::Overtaken).await.unwrap();
            }
        }
        let source = Source::Image { reference: format!("shop:{digit}").parse().unwrap() };
        let row = tx.placement_by_id(&self.placement).await.unwrap().unwrap();
        let request = serde_json::to_string(&frozen).unwrap();
        let new = self.new_deployment(Trigger::Deploy, source, &request, row.env_version);
        let made = tx.insert_deployment(&new).await.unwrap();
        let payload = JobPayload::ResolveImage { team: self.team.id.clone(), deployment: made.id.clone() };
        tx.enqueue(&payload, &deployment_key(&made.id), made.created_at).await.unwrap();
        tx.commit().await.unwrap();
        made.id
    }

    pub(crate) fn new_deployment(
        &self,
        trigger: Trigger,
        source: Source,
        request: &str,
        env: i64,
    ) -> NewDeployment {
        NewDeployment {
            team: self.team.id.clone(),
            placement: self.placement.clone(),
            trigger,
            source,
            request_json: request.to_owned(),
            env_version: env,
            revision: 0,
            idempotency_key: None,
            actor: Self::actor(),
        }
    }

    /// Asks for a rollback to the release before, as the API does. `None` when there is none.
    pub(crate) async fn roll_back(&self) -> Option<DeploymentId> {
        let mut tx = self.store().begin().await.unwrap();
        let live = tx.live_deployment(&self.placement).await.unwrap()?;
        let before = tx.release_before(&live).await.unwrap()?;
        let source = Source::Release { number: before.number };
        let new = self.new_deployment(Trigger::Rollback, source, "{}", before.env_version);
        let made = tx.insert_deployment(&new).await.unwrap();
        tx.hand_over(&made, &copy_of(&before)).await.unwrap();
        tx.commit().await.unwrap();
        Some(made.id)
    }

    /// Asks for a restart, as the API does. `None` when nothing is deployed.
    pub(crate) async fn restart(&self) -> Option<DeploymentId> {
        let mut tx = self.store().begin().await.unwrap();
        let row = tx.placement_by_id(&self.placement).await.unwrap()?;
        let release = tx.release(&self.team.id, row.placement.desired_release.as_ref()?).await.unwrap()?;
        let source = Source::Release { number: release.number };
        let new = self.new_deployment(Trigger::Restart, source, "{}", release.env_version);
        let made = tx.insert_deployment(&new).await.unwrap();
        let revision = row.desired_revision.max(row.last_good_revision) + 1;
        tx.hand_over_restart(&made, &release, revision).await.unwrap();
        tx.commit().await.unwrap();
        Some(made.id)
    }

    /// Scales a process, as the API does.
    pub(crate) async fn scale(&self, process: &str, replicas: u32) {
        let mut tx = self.store().begin().await.unwrap();
        let scale = Scale { replicas, ..Scale::default() };
        let process: ProcessName = process.parse().unwrap();
        tx.set_scale(&self.placement, &process, &scale).await.unwrap();
        tx.bump_generation(&self.placement).await.unwrap();
        tx.commit().await.unwrap();
    }

    /// Cancels, as the API does. Returns whether it was canceled.
    pub(crate) async fn cancel(&self, id: &DeploymentId) -> bool {
        let deployment = self.deployment(id).await;
        if !deployment.state.is_active() {
            return false;
        }
        let mut tx = self.store().begin().await.unwrap();
        let canceled = tx.call_off(&deployment, CancelReason::Requested).await.unwrap().is_some();
        tx.commit().await.unwrap();
        canceled
    }

    /// Asks for a one-off command in what serves, as the API does.
    pub(crate) async fn run(&self, script: &str) -> TaskId {
        let release = self.row().await.placement.last_good_release.unwrap();
        let mut tx = self.store().begin().await.unwrap();
        let new = NewTask {
            team: self.team.id.clone(),
            placement: self.placement.clone(),
            release,
            command: ["sh", "-c", script].map(str::to_owned).to_vec(),
            tty: false,
            timeout_s: 3600,
            actor: Self::actor(),
        };
        let task = tx.insert_task(&new).await.unwrap();
        tx.commit().await.unwrap();
        task.id
    }

    /// Asks to destroy the app, as the API does.
    pub(crate) async fn destroy(&self) {
        let mut tx = self.store().begin().await.unwrap();
        tx.mark_deleting(&self.placement).await.unwrap();
        let payload = JobPayload::DestroyApp { team: self.team.id.clone(), app: self.app.id.clone() };
        let key = format!("destroy/{}", self.app.id);
        tx.enqueue(&payload, &key, self.test.clock.now()).await.unwrap();
        tx.commit().await.unwrap();
    }

    /// Forgets everything in memory, as a kill -9 does.
    pub(crate) fn crash(&mut self) {
        self.server = server(&self.test.store, &self.fake, "test");
    }

    /// Runs the jobs that are due.
    pub(crate) async fn jobs(&self) {
        self.server.runner.run_until_idle().await;
    }

    /// Activates the rollouts once, or twice.
    pub(crate) async fn look(&self) -> Outcome {
        if self.twice {
            self.server.rollouts.activate().await;
        }
        self.server.rollouts.activate().await
    }

    /// Runs jobs and activates everything once.
    pub(crate) async fn turn(&self) {
        self.jobs().await;
        self.look().await;
        for _ in 0..=u8::from(self.twice) {
            self.server.deadlines.activate().await;
            self.server.tasks.activate().await;
        }
    }

    /// Lets time pass, a second at a time, everything activated after each; checks after each that what serves is ready.
    pub(crate) async fn pass(&self, seconds: u64) {
        for _ in 0..seconds {
            self.turn().await;
            self.test.clock.advance(Duration::from_secs(1));
        }
        self.turn().await;
    }

    pub(crate) async fn deployment(&self, id: &DeploymentId) -> DeploymentRow {
        self.store().read().await.unwrap().deployment_by_id(id).await.unwrap().unwrap()
    }

    pub(crate) async fn state(&self, id: &DeploymentId) -> &'static str {
        self.deployment(id).await.state.word()
    }

    pub(crate) async fn row(&self) -> PlacementRow {
        self.store().read().await.unwrap().placement_by_id(&self.placement).await.unwrap().unwrap()
    }

    pub(crate) async fn release_of(&self, id: &DeploymentId) -> ReleaseRow {
        let release = self.deployment(id).await.release.unwrap();
        self.store().read().await.unwrap().release_by_id(&release).await.unwrap().unwrap()
    }

    pub(crate) async fn deployments(&self) -> Vec<DeploymentRow> {
        let mut tx = self.store().read().await.unwrap();
        let page = panda_store::Cursor::first(200);
        let mut all = tx.deployments(&self.team.id, &self.placement, &page).await.unwrap();
        all.reverse();
        all
    }

    /// What runs, in the whole environment.
    pub(crate) async fn runs(&self) -> Vec<ObservedWorkload> {
        self.fake.observe(&self.environment_key()).await.unwrap()
    }

    pub(crate) fn environment_key(&self) -> panda_deployer::runtime::EnvironmentKey {
        panda_deployer::runtime::EnvironmentKey {
            team: self.team.id.clone(),
            environment: self.environment.id.clone(),
        }
    }

    /// The key that web of a release has as its first attempt.
    pub(crate) async fn web_of(&self, id: &DeploymentId) -> WorkloadKey {
        let row = self.row().await;
        WorkloadKey {
            environment: environment_of(&row.placement),
            placement: self.placement.clone(),
            process: ProcessName::web(),
            release: self.deployment(id).await.release.unwrap(),
            revision: 0,
        }
    }

    /// The workloads that the app's route names.
    pub(crate) fn routed(&self) -> Vec<WorkloadKey> {
        let table = self.fake.route_table();
        let route = table.routes.into_iter().find(|r| r.host == "shop.localhost");
        match route.map(|r| r.target) {
            Some(RouteTarget::Workloads(keys)) => keys,
            _ => Vec::new(),
        }
    }

    /// How many ready instances requests can go to now.
    pub(crate) fn upstreams(&self) -> usize {
        let table = self.fake.route_table();
        let route = table.routes.iter().find(|r| r.host == "shop.localhost");
        let upstreams = self.fake.routed().upstreams;
        let own = route.and_then(|route| upstreams.iter().find(|(id, _)| *id == route.id));
        own.map_or(0, |(_, addresses)| addresses.len())
    }

    /// Deploys and lets 12 s pass; asserts that it is live.
    pub(crate) async fn deploy_live(&self, digit: char) -> DeploymentId {
        let id = self.ask(digit, None).await;
        self.pass(12).await;
        assert_eq!(self.state(&id).await, "live", "{:?}", self.deployment(&id).await.state);
        id
    }
}

pub(crate) fn copy_of(release: &ReleaseRow) -> NewRelease {
    NewRelease {
        team: release.team.clone(),
        placement: release.placement.clone(),
        image: release.image.clone(),
        config: release.config.clone(),
        source: release.source.clone(),
        env_version: release.env_version,
        build: release.build.clone(),
        copy_of: Some(release.number),
        actor: Rig::actor(),
    }
}

pub(crate) fn settings() -> DeploySettings {
    DeploySettings {
        pull_url: "127.0.0.1:7050".to_owned(),
        login: None,
        deadlines: PhaseDeadlines::default(),
        platform_host: "panda.localhost".to_owned(),
        platform_address: "127.0.0.1:7080".parse().unwrap(),
        https_port: 443,
        tcp_ports: "20000-20009".parse().unwrap(),
    }
}

/// Makes the parts of a server that is called `owner`.
pub(crate) fn server(store: &Store, fake: &FakeRuntime, owner: &str) -> Server {
    let runtime: Arc<dyn Runtime> = Arc::new(fake.clone());
    let settings = settings();
    let publisher = Arc::new(RoutePublisher::new(store.clone(), runtime.clone(), settings.clone()));
    Server {
        rollouts: Rollouts::new(store.clone(), runtime.clone(), publisher.clone(), settings.clone()),
        deadlines: Deadlines::new(store.clone(), settings.deadlines),
        tasks: TaskRuns::new(store.clone(), runtime.clone(), settings),
        runner: Runner::new(store.clone(), owner)
            .handle("resolve_image", 1, Arc::new(ResolveImage::new(store.clone(), runtime.clone())))
            .handle("destroy_app", 1, Arc::new(DestroyApp::new(store.clone(), runtime, publisher))),
    }
}

/// Tells whether the placement is gone from the store.
pub(crate) async fn is_gone(rig: &Rig) -> Result<bool, StoreError> {
    Ok(rig.store().read().await?.placement_by_id(&rig.placement).await?.is_none())
}
