//! The contract against a real cluster, and what is Kubernetes' own.

mod certificates;
mod export;
mod hand;
mod harden;
mod load;
mod outage;
mod roll;
mod told;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Namespace;
use kube::Client;
use kube::api::{Api, ListParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use panda_deployer::runtime::{PullImage, Runtime, Workloads};
use panda_domain::clock::Clock;
use panda_domain::ids::{IdSource, JobId};
use panda_kubernetes::{KubernetesConfig, KubernetesRuntime, RegistryEndpoint};
use panda_test_support::runtime_conformance::{App, Contract, Harness, Place, run};
use panda_test_support::skip::skip;

panda_test_support::runtime_contracts!(harness);
panda_test_support::runtime_contracts_of_containers!(harness);
panda_test_support::runtime_contracts_of_closed_networks!(closed);

/// Gives a driver of its own installation, or `None` with a loud line where no cluster is.
async fn harness() -> Option<Harness> {
    let bench = Bench::new()?;
    Some(bench.harness().await.expect("the driver connects and the test images are there"))
}

/// The same, where the cluster's network plugin enforces policies.
async fn closed() -> Option<Harness> {
    let bench = Bench::new()?;
    if std::env::var_os("PANDA_TEST_CLUSTER_CLOSED").is_none() {
        skip("kubernetes-network-policy", "the cluster's network plugin enforces no policies");
        return None;
    }
    Some(bench.harness().await.expect("the driver connects and the test images are there"))
}

/// Runs one test of Kubernetes' own in an environment of its own.
async fn own(contract: Contract) {
    if let Some(harness) = harness().await {
        run(harness, contract).await.expect("it holds");
    }
}

/// Returns a way to ask the cluster itself.
async fn client() -> Result<Client> {
    let kubeconfig = Kubeconfig::read_from(std::env::var("KUBECONFIG")?)?;
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    Ok(Client::try_from(config)?)
}

/// The same, and the namespace of a test's environment.
async fn cluster(place: &Place) -> Result<(Client, String)> {
    let client = client().await?;
    let ours = ListParams::default().labels(&format!("dev.panda/environment={}", place.key.environment));
    let namespaces = Api::<Namespace>::all(client.clone()).list(&ours).await?.items;
    let name = namespaces.first().and_then(|namespace| namespace.metadata.name.clone());
    Ok((client, name.context("the environment has a namespace")?))
}

/// What one test's driver is made of.
struct Bench {
    config: KubernetesConfig,
    ids: IdSource,
    images: String,
}

impl Bench {
    fn new() -> Option<Self> {
        let Some(kubeconfig) = std::env::var_os("KUBECONFIG").filter(|path| !path.is_empty()) else {
            skip("kubernetes-runtime", "KUBECONFIG names no cluster");
            return None;
        };
        let ids = IdSource::random(Clock::system());
        let installation: JobId = ids.next();
        let mut config = KubernetesConfig::new(format!("test-{installation}"));
        config.kubeconfig = Some(PathBuf::from(kubeconfig));
        if let Ok(run) = std::env::var("PANDA_TEST_RUN") {
            config.labels.insert("panda.test".to_owned(), run);
        }
        let images = std::env::var("PANDA_TEST_IMAGES").unwrap_or("127.0.0.1:5000/panda-test".to_owned());
        let registry = images.split('/').next().unwrap_or_default();
        // Where Docker Hub can't be reached, nodes have this registry in its place.
        if std::env::var("PANDA_TEST_MIRRORS").is_ok_and(|mirrors| !mirrors.is_empty()) {
            let mirror = RegistryEndpoint { host: registry.to_owned(), plain_http: true };
            config.registries.insert("docker.io".to_owned(), mirror);
        }
        config.tools_image = Some("docker.io/library/python:3.13-slim".to_owned());
        Some(Self { config, ids, images })
    }

    async fn connect(&self) -> Result<Arc<KubernetesRuntime>> {
        Ok(Arc::new(KubernetesRuntime::connect(self.config.clone()).await.context("connect")?))
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
            (App::Shell, "docker.io/library/python", "3.13-slim"),
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
        let ids = self.ids.clone();
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
