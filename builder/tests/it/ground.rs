//! The real buildkitd and registry that the tests use, and what they do without.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::time::Duration;

use panda_builder::build::{BuildOutcome, BuildRequest, Builder};
use panda_builder::buildkit::BuildkitConfig;
use panda_builder::dockerfile::Recipe;
use panda_builder::failure::{BuildError, BuildFailure};
use panda_builder::log::{BuildEvent, LogLimits};
use panda_builder::registry::{Registry, RegistryLogin};
use panda_domain::clock::Clock;
use panda_registry_token::{LIFETIME, RegistryKey};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// What the builder is told of its container's limit: the one of `tests/ground/builder.sh`.
const MEMORY_LIMIT: u64 = 2 << 30;

/// A buildkitd and a registry that mirrors the official names and takes pushes.
pub(crate) struct Ground {
    pub(crate) builder: Builder,
    /// The registry as this process reaches it.
    pub(crate) registry: String,
    /// The registry as the daemon reaches it.
    pub(crate) push: String,
    /// The registry's key.
    pub(crate) key: RegistryKey,
}

impl Ground {
    /// Finds both; without them a loud line says that the test didn't run.
    pub(crate) fn find() -> Option<Self> {
        let address = variable("PANDA_TEST_BUILDKIT")?;
        Self::at(&BuildkitConfig { address, tls: None })
    }

    /// Returns the registry's key, as somebody has it whose clock shows another time.
    pub(crate) fn key_with(clock: Clock) -> Option<RegistryKey> {
        let path = variable("PANDA_TEST_REGISTRY_KEY")?;
        Some(RegistryKey::load(Path::new(&path), clock).unwrap().expect("the ground made a key"))
    }

    /// The same with another daemon.
    pub(crate) fn at(config: &BuildkitConfig) -> Option<Self> {
        let registry = variable("PANDA_TEST_REGISTRY")?;
        let key = Self::key_with(Clock::system())?;
        let push = std::env::var("PANDA_TEST_BUILD_PUSH").ok().filter(|value| !value.is_empty());
        let push = push.unwrap_or_else(|| registry.clone());
        Some(Self { builder: Builder::new(config, Some(MEMORY_LIMIT)).unwrap(), registry, push, key })
    }

    /// Returns a request with names of its own.
    pub(crate) fn request(&self, context: &Path, dockerfile: &str) -> BuildRequest {
        let unique = tempfile::Builder::new().prefix("it").rand_bytes(8).tempdir().unwrap();
        let name = unique.path().file_name().unwrap().to_string_lossy().to_lowercase();
        let name: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
        BuildRequest {
            build_id: format!("bld-{name}"),
            app_id: format!("app-{name}"),
            context: context.to_owned(),
            recipe: Recipe { dockerfile: dockerfile.to_owned(), dockerignore: None, target: None },
            args: BTreeMap::new(),
            secrets: HashMap::new(),
            secrets_version: String::new(),
            registry: Registry {
                host: self.push.clone(),
                insecure: true,
                login: RegistryLogin::Own(self.key.clone()),
                check_url: Some(format!("http://{}", self.registry)),
            },
            repository: format!("panda-it/{name}"),
            credentials: HashMap::new(),
            use_cache: true,
            cache: None,
            deadline: Duration::from_mins(5),
            log_limits: LogLimits::default(),
        }
    }

    /// Pushes a base image that no other build uses and that is unpacked; returns its repository, the only one whose builds
    /// may use it, and its reference as the daemon pulls it.
    ///
    /// For tests of cached steps: while any build is left that was there when the daemon pulled a base image, the daemon
    /// takes the steps above that image for new, in every build. Of an image that all tests share, one always is.
    pub(crate) async fn own_base(&self) -> (String, String) {
        let source = tempfile::tempdir().unwrap();
        let request = self.request(source.path(), "FROM node:22-slim\nCOPY owner /owner\n");
        std::fs::write(source.path().join("owner"), &request.build_id).unwrap();
        let outcome = self.build(request).await.0.unwrap();
        let reference = format!("{}/{}@{}", self.push, outcome.repository, outcome.digest);
        (outcome.repository, reference)
    }

    /// Builds and returns the result with all events.
    pub(crate) async fn build(
        &self,
        request: BuildRequest,
    ) -> (Result<BuildOutcome, BuildError>, Vec<BuildEvent>) {
        let (sink, mut events) = mpsc::channel(64);
        let collect = async {
            let mut all = Vec::new();
            while let Some(event) = events.recv().await {
                all.push(event);
            }
            all
        };
        tokio::join!(self.builder.build(request, sink, CancellationToken::new()), collect)
    }

    /// Reads the config of a pushed image.
    pub(crate) async fn image_config(&self, outcome: &BuildOutcome) -> serde_json::Value {
        let manifest = self.fetch(outcome, "manifests", outcome.digest.as_str()).await;
        let config: String = manifest["config"]["digest"].as_str().unwrap().to_owned();
        self.fetch(outcome, "blobs", &config).await
    }

    async fn fetch(&self, outcome: &BuildOutcome, kind: &str, digest: &str) -> serde_json::Value {
        let url = format!("http://{}/v2/{}/{kind}/{digest}", self.registry, outcome.repository);
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let accept = "application/vnd.oci.image.manifest.v1+json";
        let token = self.key.pull_token(&outcome.repository, LIFETIME);
        let request = client.get(url).header("accept", accept).bearer_auth(token.reveal());
        let answer = request.send().await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.status());
        answer.json().await.unwrap()
    }
}

/// Reads a variable that says where something real is; without it the test is counted as skipped, which fails a whole run.
pub(crate) fn variable(name: &str) -> Option<String> {
    let value = std::env::var(name).ok().filter(|value| !value.is_empty());
    if value.is_none() {
        panda_test_support::skip::skip("buildkit", &format!("{name} is not set"));
    }
    value
}

/// Returns the folder of a sample app.
pub(crate) fn app(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/apps").join(name)
}

/// Returns the text of a sample app's own Dockerfile.
pub(crate) fn dockerfile(name: &str) -> String {
    std::fs::read_to_string(app(name).join("Dockerfile")).unwrap()
}

/// Demands that a build failed; returns how.
#[track_caller]
pub(crate) fn failed(result: Result<BuildOutcome, BuildError>) -> BuildFailure {
    match result {
        Err(BuildError::Failed(failure)) => *failure,
        other => panic!("expected a failure, got {other:?}"),
    }
}

/// Returns the lines that steps printed.
pub(crate) fn printed(events: &[BuildEvent]) -> Vec<String> {
    let lines = events.iter().filter_map(|event| match event {
        BuildEvent::Line { text, .. } => Some(text.clone()),
        _ => None,
    });
    lines.collect()
}
