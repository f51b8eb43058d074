//! The steps that a person with a cluster and no platform goes through: `buildctl`, `kubectl set image`, `kubectl rollout undo`,
//! `kubectl scale`. The Deployment is as careful as the platform's: as many new pods as old ones at once, none taken away before the
//! new ones are ready, the same limits and probe.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use panda_domain::clock::Clock;
use panda_e2e::{Cluster, Installation};
use panda_registry_token::RegistryKey;
use panda_test_support::process::Program;
use serde_json::{Value, json};

use crate::by_hand::{REPOSITORY, build};
use crate::watch::until_only;

/// No program may take longer.
const PATIENCE: Duration = Duration::from_mins(3);
/// The namespace, and all that is in it.
const NAME: &str = "by-hand";
/// The host at the ingress.
const HOST: &str = "by-hand.test";

/// A person with kubectl.
pub(crate) struct Kubectl<'a> {
    panda: &'a Installation,
    cluster: &'a Cluster,
    client: reqwest::Client,
    manifest: PathBuf,
}

impl<'a> Kubectl<'a> {
    /// Runs an image with the limits that the platform gave to this app of its own.
    pub(crate) async fn start(panda: &'a Installation, app: &str, image: &str) -> anyhow::Result<Self> {
        let cluster = panda.cluster.as_ref().context("the benchmark of a cluster needs one")?;
        let manifest = panda.folder.join("by-hand.json");
        let client = reqwest::Client::builder()
            .no_proxy()
            .pool_max_idle_per_host(0)
            .resolve(HOST, cluster.http)
            .timeout(Duration::from_secs(5))
            .build()?;
        let hand = Self { panda, cluster, client, manifest };
        hand.clean();
        let text = objects(&hand.limits_of(app)?, image, &hand.login()?).to_string();
        std::fs::write(&hand.manifest, text)?;
        hand.run(&["apply", "-f", &hand.manifest.display().to_string()]).await?;
        hand.rolled_out().await?;
        Ok(hand)
    }

    /// The resources of the platform's own Deployment.
    fn limits_of(&self, app: &str) -> anyhow::Result<Value> {
        let all = self.cluster.kubectl(&[
            "get",
            "deployments",
            "-A",
            "-l",
            "dev.panda/process=web",
            "-o",
            "json",
        ])?;
        let all: Value = serde_json::from_str(&all)?;
        let items = all["items"].as_array().context("kubectl lists no Deployments")?;
        let one = items
            .iter()
            .find(|one| one["metadata"]["name"].as_str().is_some_and(|name| name.starts_with(app)));
        let one = one.with_context(|| format!("`{app}` has no Deployment"))?;
        Ok(one["spec"]["template"]["spec"]["containers"][0]["resources"].clone())
    }

    /// What `kubectl create secret docker-registry` would write.
    fn login(&self) -> anyhow::Result<String> {
        let key = &self.panda.ground.registry_key;
        let key = RegistryKey::load(key, Clock::system())?.context("the registry has no key")?;
        let password = key.login(REPOSITORY, Duration::from_hours(8));
        let login = json!({ "username": "bench", "password": password.reveal() });
        Ok(json!({ "auths": { &self.cluster.pull: login } }).to_string())
    }

    /// Builds, pushes and rolls out; returns how long it took until only the new version answered.
    pub(crate) async fn deploy_source(&self, folder: &Path, says: &str) -> anyhow::Result<Duration> {
        let since = Instant::now();
        let digest = build(self.panda, folder).await?;
        self.set_image(&format!("{}/{REPOSITORY}@{digest}", self.cluster.pull), says, since).await
    }

    /// Rolls an image out.
    pub(crate) async fn deploy_image(&self, image: &str, says: &str) -> anyhow::Result<Duration> {
        self.set_image(image, says, Instant::now()).await
    }

    async fn set_image(&self, image: &str, says: &str, since: Instant) -> anyhow::Result<Duration> {
        let image = format!("app={image}");
        self.until(&["-n", NAME, "set", "image", "deployment/by-hand", &image], says, since).await
    }

    /// Goes back to the version before.
    pub(crate) async fn undo(&self, says: &str) -> anyhow::Result<Duration> {
        self.until(&["-n", NAME, "rollout", "undo", "deployment/by-hand"], says, Instant::now()).await
    }

    /// Changes the number of pods; returns how long it took until all were ready.
    pub(crate) async fn scale(&self, replicas: usize) -> anyhow::Result<Duration> {
        let since = Instant::now();
        let replicas = format!("--replicas={replicas}");
        self.run(&["-n", NAME, "scale", "deployment/by-hand", &replicas]).await?;
        self.rolled_out().await?;
        Ok(since.elapsed())
    }

    async fn until(&self, command: &[&str], says: &str, since: Instant) -> anyhow::Result<Duration> {
        let url = format!("http://{HOST}/");
        let answers = until_only(&self.client, &url, since, |_, body| body.contains(says));
        let (_, took) = tokio::try_join!(self.run(command), answers)?;
        self.rolled_out().await?;
        Ok(took)
    }

    async fn rolled_out(&self) -> anyhow::Result<()> {
        self.run(&["-n", NAME, "rollout", "status", "deployment/by-hand", "--timeout=120s"]).await.map(drop)
    }

    async fn run(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let kubectl = std::env::var_os("PANDA_TEST_KUBECTL").context("PANDA_TEST_KUBECTL isn't set")?;
        let done = Program::new(kubectl)
            .env("KUBECONFIG", &self.cluster.kubeconfig)
            .env("HOME", self.panda.folder.join("home"))
            .args(arguments.iter().copied())
            .run(PATIENCE)
            .await?;
        anyhow::ensure!(done.code == Some(0), "kubectl {arguments:?}: {}", done.stderr);
        Ok(done.stdout)
    }

    fn clean(&self) {
        let _ = self.cluster.kubectl(&["delete", "namespace", NAME, "--ignore-not-found", "--wait=true"]);
    }
}

impl Drop for Kubectl<'_> {
    fn drop(&mut self) {
        self.clean();
    }
}

fn objects(resources: &Value, image: &str, login: &str) -> Value {
    let labels = json!({ "app": NAME });
    let place = json!({ "name": NAME, "namespace": NAME });
    let probe = json!({ "tcpSocket": { "port": 8080 }, "periodSeconds": 1, "failureThreshold": 120 });
    let container = json!({
        "name": "app", "image": image, "resources": resources, "readinessProbe": probe,
        "ports": [{ "containerPort": 8080 }],
        "env": [{ "name": "PORT", "value": "8080" }, { "name": "HOST", "value": "0.0.0.0" }],
        "lifecycle": { "preStop": { "sleep": { "seconds": 5 } } },
    });
    let backend = json!({ "service": { "name": NAME, "port": { "number": 80 } } });
    let path = json!({ "path": "/", "pathType": "Prefix", "backend": backend });
    json!({ "apiVersion": "v1", "kind": "List", "items": [
        { "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": NAME } },
        { "apiVersion": "v1", "kind": "Secret", "metadata": place, "type": "kubernetes.io/dockerconfigjson",
          "stringData": { ".dockerconfigjson": login } },
        { "apiVersion": "apps/v1", "kind": "Deployment", "metadata": place, "spec": {
            "replicas": crate::by_hand::REPLICAS, "selector": { "matchLabels": labels },
            "strategy": { "rollingUpdate": { "maxSurge": "100%", "maxUnavailable": 0 } },
            "template": { "metadata": { "labels": labels }, "spec": {
                "imagePullSecrets": [{ "name": NAME }], "automountServiceAccountToken": false,
                "containers": [container] } } } },
        { "apiVersion": "v1", "kind": "Service", "metadata": place, "spec": {
            "selector": labels, "ports": [{ "port": 80, "targetPort": 8080 }] } },
        { "apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": place, "spec": {
            "rules": [{ "host": HOST, "http": { "paths": [path] } }] } },
    ] })
}
