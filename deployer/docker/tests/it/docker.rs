//! The contract against a real engine, and what is Docker's own: hardening, labels, addresses.

mod export;
mod harden;
mod outage;
mod own;
mod roll;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use panda_deployer::runtime::{PullImage, Runtime, Workloads};
use panda_docker::{DockerConfig, DockerRuntime};
use panda_domain::clock::Clock;
use panda_domain::ids::{IdSource, JobId};
use panda_test_support::runtime_conformance::{App, Harness};
use panda_test_support::skip::skip;
use tempfile::TempDir;

panda_test_support::runtime_contracts!(harness);
panda_test_support::runtime_contracts_of_containers!(harness);
panda_test_support::runtime_contracts_of_closed_networks!(harness);

/// Gives a driver of its own installation and state folder, or `None` with a loud line where no engine is.
async fn harness() -> Option<Harness> {
    let bench = Bench::new()?;
    Some(bench.harness().await.expect("the driver connects and the test images are there"))
}

/// What one test's driver is made of.
struct Bench {
    config: DockerConfig,
    images: String,
    _folder: Arc<TempDir>,
}

impl Bench {
    fn new() -> Option<Self> {
        let Ok(socket) = std::env::var("PANDA_TEST_DOCKER") else {
            skip("docker-runtime", "PANDA_TEST_DOCKER names no Docker engine");
            return None;
        };
        let folder = Arc::new(tempfile::tempdir().expect("a temporary folder"));
        let ids = IdSource::random(Clock::system());
        let installation: JobId = ids.next();
        let mut config = DockerConfig::new(format!("test-{installation}"), folder.path());
        config.socket = PathBuf::from(socket.strip_prefix("unix://").unwrap_or(&socket));
        "10.214.0.0/16".clone_into(&mut config.subnet_pool);
        if let Ok(run) = std::env::var("PANDA_TEST_RUN") {
            config.labels.insert("panda.test".to_owned(), run);
        }
        let images = std::env::var("PANDA_TEST_IMAGES").unwrap_or("127.0.0.1:5000/panda-test".to_owned());
        Some(Self { config, images, _folder: folder })
    }

    async fn connect(&self) -> Result<Arc<DockerRuntime>> {
        Ok(Arc::new(DockerRuntime::connect(self.config.clone()).await.context("connect")?))
    }

    async fn harness(self) -> Result<Harness> {
        let runtime = self.connect().await?;
        let mut images = HashMap::new();
        let web = format!("{}/web", self.images);
        for (app, repository, tag) in [
            (App::Web, web.as_str(), "v1"),
            (App::Root, &web, "root"),
            (App::Exits, &web, "exits"),
            (App::NeverReady, &web, "never-ready"),
            (App::Localhost, &web, "localhost"),
            (App::OtherPort, &web, "other-port"),
            (App::EatsMemory, &web, "eats-memory"),
            (App::Shell, "python", "3.13-slim"),
        ] {
            let reference = format!("{repository}:{tag}");
            let resolved = runtime.resolve_image(&reference, None).await.context(reference)?;
            let image = PullImage { repository: repository.to_owned(), digest: resolved.digest, login: None };
            images.insert(app, image);
        }
        let absent = PullImage {
            repository: web,
            digest: format!("sha256:{:064x}", 1).parse().context("a digest")?,
            login: None,
        };
        let ids = self.config.ids.clone();
        let bench = Arc::new(self);
        Ok(Harness {
            runtime,
            reconnect: Box::new(move || {
                let bench = Arc::clone(&bench);
                Box::pin(async move { Ok(bench.connect().await? as Arc<dyn Runtime>) })
            }),
            images,
            absent,
            ids,
            manual: None,
        })
    }
}
