//! One app in an installation, as a person would use it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use panda_api_types::{
    App as AppView, DeployRequest, Deployment, DeploymentAccepted, EnvChangeRequest, EnvChanged, EnvPatch,
    Instance, MissingBlobs, Page, Release, RollbackRequest, ScaleRequest, TreeRequest, TreeView,
};
use panda_domain::source_tree::ContentHash;
use panda_test_support::prober::{Prober, Target};
use reqwest::Method;

use crate::api::{Refusal, answer};
use crate::installation::Installation;
use crate::source::{Source, frames};

/// How long any deployment of a test may take: the machine may be busy.
pub const PATIENCE: Duration = Duration::from_mins(4);
/// How long a cluster's ingress may take to follow a change: the one of tests/cluster looks every 2 s.
const INGRESS: Duration = Duration::from_secs(20);
/// Requests a second of the prober.
pub const RATE: u32 = 50;

/// An app of an installation.
#[derive(Debug, Clone)]
pub struct App<'a> {
    panda: &'a Installation,
    /// Its name.
    pub name: String,
    /// Where it answers.
    pub url: String,
}

/// Asks for an image of the test app, such as `v1`.
pub fn image(panda: &Installation, tag: &str) -> DeployRequest {
    DeployRequest { image: Some(format!("{}/web:{tag}", panda.ground.images)), ..DeployRequest::default() }
}

/// Asks for a tree that the server has.
pub fn tree(tree: &str) -> DeployRequest {
    DeployRequest { tree: Some(tree.to_owned()), ..DeployRequest::default() }
}

impl<'a> App<'a> {
    /// Makes an app.
    pub async fn create(panda: &'a Installation, name: &str) -> anyhow::Result<Self> {
        let made: AppView = panda.api().post("/apps", &serde_json::json!({ "name": name })).await?;
        Ok(Self { panda, name: made.name, url: made.url })
    }

    /// Makes an app in a project, and so in an environment, of its own.
    pub async fn create_apart(panda: &'a Installation, name: &str) -> anyhow::Result<Self> {
        let wish = serde_json::json!({ "name": name, "project": name });
        let made: AppView = panda.api().post("/apps", &wish).await?;
        Ok(Self { panda, name: made.name, url: made.url })
    }

    /// Means an app that is there, made by the command line.
    pub async fn find(panda: &'a Installation, name: &str) -> anyhow::Result<Self> {
        let found: AppView = panda.api().get(&format!("/apps/{name}")).await?;
        Ok(Self { panda, name: found.name, url: found.url })
    }

    /// Returns a path below the app.
    pub fn path(&self, rest: &str) -> String {
        format!("/apps/{}{rest}", self.name)
    }

    /// Sends what the server lacks of a directory; returns the tree's name.
    pub async fn upload(&self, source: &Source) -> anyhow::Result<String> {
        let (listing, contents) = source.listing()?;
        let view: TreeView =
            self.panda.api().send(Method::PUT, "/uploads/trees", &TreeRequest { listing }).await?;
        if !view.missing.is_empty() {
            let wanted: Vec<(ContentHash, Vec<u8>)> =
                contents.into_iter().filter(|(hash, _)| view.missing.contains(&hash.to_string())).collect();
            let request = self
                .panda
                .api()
                .request(Method::POST, "/uploads/blobs")
                .header("content-type", "application/vnd.panda.blobs+zstd")
                .body(frames(&wanted)?);
            let sent: MissingBlobs = answer(request).await?;
            anyhow::ensure!(sent.missing.is_empty(), "the server still misses {:?}", sent.missing);
        }
        Ok(view.tree)
    }

    /// Asks for a deployment.
    pub async fn ask(&self, request: &DeployRequest) -> Result<DeploymentAccepted, Refusal> {
        self.panda.api().post(&self.path("/deployments"), request).await
    }

    /// Asks for a deployment that has to be made; returns its id.
    pub async fn begin(&self, request: &DeployRequest) -> anyhow::Result<String> {
        let accepted = self.ask(request).await?;
        Ok(accepted.deployment.context("nothing would change")?.id)
    }

    /// Deploys and waits for the end, whatever it is.
    pub async fn deploy(&self, request: &DeployRequest) -> anyhow::Result<Deployment> {
        let id = self.begin(request).await?;
        self.end(&id).await
    }

    /// Deploys; anything but live is an error.
    pub async fn deploy_live(&self, request: &DeployRequest) -> anyhow::Result<Deployment> {
        let deployment = live(self.deploy(request).await?)?;
        self.until_served().await?;
        Ok(deployment)
    }

    /// Waits until a cluster's ingress, which takes changes a moment later, knows the host and its certificate.
    async fn until_served(&self) -> anyhow::Result<()> {
        if self.panda.cluster.is_none() {
            return Ok(());
        }
        let begun = Instant::now();
        loop {
            match self.fetch("/").await {
                Ok((status, _)) if status != 404 => return Ok(()),
                other if begun.elapsed() > INGRESS => bail!("the ingress doesn't serve it: {other:?}"),
                _ => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }

    /// Waits until a page is so again, whatever answers meanwhile.
    pub async fn answers_again(&self, path: &str, wanted: &str) -> anyhow::Result<()> {
        let begun = Instant::now();
        loop {
            let found = self.fetch(path).await;
            if found.as_ref().is_ok_and(|found| *found == (200, wanted.to_owned())) {
                return Ok(());
            }
            anyhow::ensure!(begun.elapsed() < INGRESS * 2, "{path} answers {found:?} and not {wanted:?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Waits until a page is so: at once on Docker, on a cluster as soon as its ingress has followed.
    pub async fn answers(&self, path: &str, wanted: &str) -> anyhow::Result<()> {
        let begun = Instant::now();
        loop {
            let found = self.fetch(path).await?;
            if found == (200, wanted.to_owned()) {
                return Ok(());
            }
            let may_follow = self.panda.cluster.is_some() && begun.elapsed() < INGRESS;
            anyhow::ensure!(may_follow, "{path} answers {found:?} and not {wanted:?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Deploys a directory; anything but live is an error.
    pub async fn deploy_source(&self, source: &Source) -> anyhow::Result<Deployment> {
        let uploaded = self.upload(source).await?;
        self.deploy_live(&tree(&uploaded)).await
    }

    /// Reads a deployment.
    pub async fn deployment(&self, id: &str) -> Result<Deployment, Refusal> {
        self.panda.api().get(&self.path(&format!("/deployments/{id}"))).await
    }

    /// Waits for a deployment's end; a server that is away meanwhile isn't an error.
    pub async fn end(&self, id: &str) -> anyhow::Result<Deployment> {
        self.until(id, |deployment| !deployment.active).await
    }

    /// Waits until a deployment is as wished.
    pub async fn until(&self, id: &str, wish: impl Fn(&Deployment) -> bool) -> anyhow::Result<Deployment> {
        let begun = Instant::now();
        let mut last = None;
        while begun.elapsed() < PATIENCE {
            match self.deployment(id).await {
                Ok(deployment) if wish(&deployment) => return Ok(deployment),
                Ok(deployment) if !deployment.active => bail!("the deployment ended as {deployment:?}"),
                other => last = Some(other),
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        bail!("the deployment isn't as wished after {PATIENCE:?}: {last:?}")
    }

    /// Goes back to a release, the one before unless given; anything but live is an error.
    pub async fn roll_back(&self, release: Option<u32>) -> anyhow::Result<Deployment> {
        let accepted: DeploymentAccepted =
            self.panda.api().post(&self.path("/rollback"), &RollbackRequest { release }).await?;
        live(self.end(&accepted.deployment.context("nothing to go back to")?.id).await?)
    }

    /// Sets a variable and waits until it is rolled out.
    pub async fn set_env(&self, key: &str, value: &str, secret: bool) -> anyhow::Result<()> {
        let patch = EnvPatch { value: Some(value.to_owned()), secret };
        let changes = BTreeMap::from([(key.to_owned(), patch)]);
        let change = EnvChangeRequest { changes, deploy: true, dry_run: false };
        let changed: EnvChanged = self.panda.api().send(Method::PATCH, &self.path("/env"), &change).await?;
        if let Some(deployment) = changed.deployment.and_then(|accepted| accepted.deployment) {
            live(self.end(&deployment.id).await?)?;
        }
        Ok(())
    }

    /// Changes the number of `web` instances and waits until so many are ready and none is more.
    pub async fn scale(&self, replicas: u32) -> anyhow::Result<()> {
        let request = ScaleRequest {
            replicas: BTreeMap::from([("web".to_owned(), replicas)]),
            ..ScaleRequest::default()
        };
        let _: AppView = self.panda.api().send(Method::PATCH, &self.path("/scale"), &request).await?;
        self.settle(replicas as usize).await
    }

    /// Waits until exactly so many instances are left and all are ready.
    pub async fn settle(&self, replicas: usize) -> anyhow::Result<()> {
        let begun = Instant::now();
        loop {
            let instances = self.instances().await?;
            if instances.len() == replicas && instances.iter().all(|instance| instance.state == "ready") {
                return Ok(());
            }
            if begun.elapsed() > PATIENCE {
                bail!("not {replicas} ready instances after {PATIENCE:?}: {instances:?}");
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
    }

    /// Lists the instances.
    pub async fn instances(&self) -> Result<Vec<Instance>, Refusal> {
        let page: Page<Instance> = self.panda.api().get(&self.path("/instances")).await?;
        Ok(page.items)
    }

    /// Lists the releases, newest first.
    pub async fn releases(&self) -> Result<Vec<Release>, Refusal> {
        let page: Page<Release> = self.panda.api().get(&self.path("/releases")).await?;
        Ok(page.items)
    }

    /// Returns the app as it is.
    pub async fn view(&self) -> Result<AppView, Refusal> {
        self.panda.api().get(&self.path("")).await
    }

    /// Asks the app itself through the edge; returns status and body.
    pub async fn fetch(&self, path: &str) -> anyhow::Result<(u16, String)> {
        let answer =
            self.panda.browser().get(format!("{}{path}", self.url.trim_end_matches('/'))).send().await?;
        Ok((answer.status().as_u16(), answer.text().await?))
    }

    /// Starts a prober at the app's front page.
    pub fn probe(&self) -> anyhow::Result<Prober> {
        self.probe_at("/", RATE)
    }

    /// Starts a prober at a path of the app.
    pub fn probe_at(&self, path: &str, rate: u32) -> anyhow::Result<Prober> {
        let url = format!("{}{path}", self.url.trim_end_matches('/'));
        Prober::start(&Target { url, address: self.panda.https, ca: self.panda.ca.clone() }, rate)
    }

    /// Removes the app and waits until it is gone.
    pub async fn destroy(&self) -> anyhow::Result<()> {
        self.panda.api().delete(&self.path(&format!("?confirm={}", self.name))).await?;
        let begun = Instant::now();
        while self.view().await.is_ok() {
            anyhow::ensure!(begun.elapsed() < PATIENCE, "the app is still there after {PATIENCE:?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }
}

/// Demands that a deployment went live.
pub fn live(deployment: Deployment) -> anyhow::Result<Deployment> {
    match deployment.state.as_str() {
        "live" => Ok(deployment),
        _ => bail!("not live: {deployment:#?}"),
    }
}
