//! A whole platform behind its real router: a real store, a runtime in memory, a DNS that says what the test wants, a clock
//! that the test moves.

mod client;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use panda_deployer::export::{ExportedApp, Exporters, PlainFile};
use panda_deployer::runtime::RuntimeResult;
use panda_deployer::runtime::fake::FakeRuntime;
use panda_domain::clock::Clock;
use panda_domain::event::Actor;
use panda_domain::formation::Scale;
use panda_domain::manifest::{DetectedProcesses, Manifest, Overrides};
use panda_domain::names::{AppName, EnvironmentName, ProcessName};
use panda_domain::release::ReleaseImage;
use panda_domain::source::Source;
use panda_domain::team::{Role, Scope};
use panda_platform_api::app::claim;
use panda_platform_api::app::domains::DnsLookup;
use panda_platform_api::auth::Forwarders;
use panda_platform_api::auth::secret::{HandedOut, TOKEN_PREFIX};
use panda_platform_api::{Platform, PlatformParts, PlatformSettings, http};
use panda_registry_token::RegistryKey;
use panda_store::testing::TestStore;
use panda_store::{BlobDir, NewRelease, NewToken, NewUser};
use secrecy::SecretString;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::dns::TestDns;
pub use client::{Answer, Client, EventStream, SseEvent};

/// The owner's address.
pub const EMAIL: &str = "ann@example.com";
/// The owner's password.
pub const PASSWORD: &str = "a decent sentence";
/// What the edge proves itself with.
pub const EDGE_SECRET: &str = "edge-secret-of-the-tests";

/// A platform for one test.
pub struct TestPanda {
    /// Everything that the use-cases have.
    pub platform: Arc<Platform>,
    /// Stands still until it is moved.
    pub clock: Clock,
    /// What runs the containers.
    pub runtime: FakeRuntime,
    /// What the platform asks about domains.
    pub dns: TestDns,
    store: TestStore,
    public: Router,
    operator: Router,
}

impl TestPanda {
    /// Starts a server that nobody has claimed: on PostgreSQL where `PANDA_TEST_POSTGRES` names one, else on SQLite.
    pub async fn start() -> Self {
        Self::on(Self::fresh_store().await).await
    }

    async fn fresh_store() -> TestStore {
        match std::env::var(panda_store::testing::POSTGRES_VARIABLE) {
            Ok(url) if !url.is_empty() => TestStore::postgres().await.expect("the server for tests is set"),
            _ => TestStore::sqlite().await,
        }
    }

    /// Starts a server on this store.
    pub async fn on(store: TestStore) -> Self {
        Self::on_with(store, settings()).await
    }

    async fn on_with(store: TestStore, settings: PlatformSettings) -> Self {
        // A test that fails shows the causes that answers leave out. The second test of a process finds it installed.
        let logs = tracing_subscriber::fmt().with_test_writer().with_env_filter("warn");
        let _ = logs.try_init();
        let clock = store.clock.clone();
        let runtime = FakeRuntime::new(clock.clone(), store.store.ids().clone());
        let dns = TestDns::start().await;
        let registry_key = RegistryKey::load_or_create(&store.folder().join("registry.key"), clock.clone());
        let registry_key = registry_key.expect("a key can be made");
        let platform = Platform::new(PlatformParts {
            store: store.store.clone(),
            blobs: BlobDir::open(store.folder().join("blobs")).await.expect("make a folder for blobs"),
            build_logs: store.folder().join("build-logs"),
            runtime: Arc::new(runtime.clone()),
            exporters: Exporters { yaml: told, kustomize: told, compose: told },
            settings,
            registry_key: Some(registry_key),
            dns: DnsLookup::at(dns.address()).expect("a lookup at one address needs nothing else"),
            images: None,
            shutdown: CancellationToken::new(),
        });
        let pages = || panda_dashboard::router(&platform);
        let public = http::public_router(&platform, pages());
        let operator = http::operator_router(&platform, pages());
        Self { platform, clock, runtime, dns, store, public, operator }
    }

    /// Starts a server and claims it; the client is the owner's browser.
    pub async fn claimed() -> (Self, Client) {
        Self::start().await.claim().await
    }

    /// The same with other settings.
    pub async fn claimed_with(change: impl FnOnce(&mut PlatformSettings)) -> (Self, Client) {
        let mut settings = settings();
        change(&mut settings);
        Self::on_with(Self::fresh_store().await, settings).await.claim().await
    }

    async fn claim(self) -> (Self, Client) {
        let panda = self;
        let token = panda.claim_token().await.expect("a fresh server has a claim token");
        let body = json!({ "claim_token": token, "email": EMAIL, "password": PASSWORD });
        let anyone = panda.anonymous();
        let claimed = anyone.post("/api/v1/claim", body).await;
        assert_eq!(claimed.status, 200, "{}", claimed.text);
        let owner = anyone.with_cookie_of(&claimed);
        (panda, owner)
    }

    /// Returns the token that the console would show, `None` once claimed.
    pub async fn claim_token(&self) -> Option<String> {
        let token = claim::ensure_claim_token(&self.platform.store).await.expect("the store works");
        token.map(|token| token.reveal().to_owned())
    }

    /// Returns a browser that nobody is signed in with.
    pub fn anonymous(&self) -> Client {
        Client::new(self.public.clone(), SocketAddr::from(([203, 0, 113, 5], 40_000)))
    }

    /// Returns a client on the machine itself.
    pub fn operator(&self) -> Client {
        Client::new(self.operator.clone(), SocketAddr::from(([127, 0, 0, 1], 40_000)))
    }

    /// Makes another team with an owner of its own, signed in by a full token.
    pub async fn other_team(&self, email: &str) -> Client {
        let secret = HandedOut::random(TOKEN_PREFIX);
        let mut tx = self.platform.store.begin().await.expect("begin");
        let email = email.parse().expect("an address");
        let new = NewUser { email, password_hash: "$none".to_owned() };
        let user = tx.insert_user(&new).await.expect("insert a user");
        let name = format!("team of {}", new.email).parse().expect("a title");
        let team = tx.insert_team(&name).await.expect("insert a team");
        tx.add_member(&team.id, &user.id, Role::Owner).await.expect("add a member");
        tx.insert_token(&NewToken {
            team: team.id,
            user: user.id,
            name: "theirs".parse().expect("a title"),
            scope: Scope::Full,
            secret_hash: secret.hash(),
            expires_at: self.clock.now() + jiff::SignedDuration::from_hours(24 * 365),
        })
        .await
        .expect("insert a token");
        tx.commit().await.expect("commit");
        self.anonymous().with_token(secret.reveal())
    }

    /// Gives an app of the first team a process, as its first deploy would.
    pub async fn give_process(&self, app: &str, process: &str) {
        let row = self.placement(app).await;
        let process: ProcessName = process.parse().expect("a process name");
        let mut tx = self.platform.store.begin().await.expect("begin");
        tx.set_scale(&row.placement.id, &process, &Scale::default()).await.expect("set a scale");
        tx.commit().await.expect("commit");
    }

    /// Gives an app of the first team a good release with a process `web`, as a deploy that went live would.
    pub async fn give_release(&self, app: &str) {
        self.give_release_of(app, &Manifest::default()).await;
    }

    /// The same with settings from a `panda.toml`.
    pub async fn give_release_of(&self, app: &str, manifest: &Manifest) {
        let row = self.placement(app).await;
        let digest = format!("sha256:{}", "a".repeat(64)).parse().expect("a digest");
        let detected = DetectedProcesses::of_image(Some(8080));
        let new = NewRelease {
            team: row.placement.team.clone(),
            placement: row.placement.id.clone(),
            image: ReleaseImage {
                repository: "library/web".to_owned(),
                digest,
                own_registry: false,
                built_here: false,
            },
            config: manifest.to_release_config(&detected, &Overrides::default()),
            source: Source::Image { reference: "web:v1".parse().expect("a reference") },
            env_version: row.env_version,
            build: None,
            copy_of: None,
            actor: Actor::Platform,
        };
        let mut tx = self.platform.store.begin().await.expect("begin");
        let release = tx.insert_release(&new).await.expect("insert a release");
        tx.set_desired(&row.placement.id, &release.id, 0).await.expect("want it");
        tx.set_last_good(&row.placement.id, &release.id, 0).await.expect("it is good");
        tx.set_scale(&row.placement.id, &ProcessName::web(), &Scale::default()).await.expect("set a scale");
        tx.commit().await.expect("commit");
    }

    /// Writes a number of replicas past everything that the platform checks.
    pub async fn tamper_scale(&self, app: &str, process: &str, replicas: u32) {
        let row = self.placement(app).await;
        let process: ProcessName = process.parse().expect("a process name");
        let mut tx = self.platform.store.begin().await.expect("begin");
        let scale = Scale { replicas, ..Scale::default() };
        tx.set_scale(&row.placement.id, &process, &scale).await.expect("set a scale");
        tx.commit().await.expect("commit");
    }

    /// Returns how many wishes an app of the first team has had.
    pub async fn generation(&self, app: &str) -> i64 {
        self.placement(app).await.placement.generation
    }

    /// Returns how many jobs of a kind wait or run.
    pub async fn jobs(&self, kind: &str) -> u64 {
        let mut tx = self.platform.store.read().await.expect("read");
        let depths = tx.job_queue_depth().await.expect("count jobs");
        depths.iter().filter(|depth| depth.kind == kind).map(|depth| depth.queued + depth.running).sum()
    }

    /// Returns everything that the database holds.
    pub async fn dump(&self) -> String {
        self.store.dump().await
    }

    async fn placement(&self, app: &str) -> panda_store::PlacementRow {
        let mut tx = self.platform.store.read().await.expect("read");
        let teams = tx.teams().await.expect("teams");
        let first = teams.iter().min_by_key(|team| &team.id).expect("there is a team");
        let app: AppName = app.parse().expect("an app name");
        let production = EnvironmentName::production();
        let found = tx.placement_by_names(&first.id, &app, &production).await.expect("look");
        found.expect("the app is there")
    }
}

/// Writes all that is known of an app into one file; the formats are tested beside the drivers.
#[expect(clippy::unnecessary_wraps, reason = "others can fail")]
fn told(app: &ExportedApp) -> RuntimeResult<Vec<PlainFile>> {
    Ok(vec![PlainFile::new("app.txt", format!("{app:#?}\n"))])
}

fn settings() -> PlatformSettings {
    PlatformSettings {
        public_url: "https://panda.example.com".parse().expect("an url"),
        apps_domain: "apps.example.net".to_owned(),
        apps_https: true,
        apps_port: None,
        local_ca: None,
        addresses: vec!["203.0.113.1".parse().expect("an address")],
        forwarders: Forwarders {
            edge_secret: Some(SecretString::from(EDGE_SECRET)),
            ..Forwarders::default()
        },
        own_registry: "127.0.0.1:7050".to_owned(),
        allowed_image_hosts: Vec::new(),
        tcp_ports: "20000-20002".parse().expect("a range"),
        request_deadline: Duration::from_secs(30),
        version: "0.0.0-test".to_owned(),
    }
}
