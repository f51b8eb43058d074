//! The steps that a person without a platform goes through: `buildctl`, `docker run`, a loop that asks, `nginx -s reload`.
//! Everything that can go on at the same time does, and readiness is asked for as often as the platform asks.

use std::cell::{Cell, RefCell};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures_util::future::try_join_all;
use panda_domain::clock::Clock;
use panda_e2e::Installation;
use panda_e2e::docker::Docker;
use panda_registry_token::{Action, RegistryKey};
use panda_test_support::process::Program;
use serde_json::{Value, json};

use crate::nginx::{GENERATION, Nginx};
use crate::watch::until_only;

/// Where the apps listen.
const PORT: u16 = 8080;
/// How often a container that starts is asked; the platform does the same.
const ASK: Duration = Duration::from_millis(100);
/// No program may take longer.
const PATIENCE: Duration = Duration::from_mins(2);
/// Instances on both sides.
pub(crate) const REPLICAS: usize = 3;

/// A person with a shell.
#[derive(Debug)]
pub(crate) struct Hand<'a> {
    panda: &'a Installation,
    nginx: Nginx,
    client: reqwest::Client,
    network: String,
    generation: Cell<u32>,
    serving: RefCell<Vec<String>>,
    stopped: RefCell<Vec<String>>,
    limits: RefCell<Vec<String>>,
    /// Holds `config.json` with a token for the registry, as `docker login` would leave it.
    docker_config: PathBuf,
}

/// What is built by hand.
pub(crate) const REPOSITORY: &str = "bench/by-hand";

/// Writes what a person would have from `docker login`, before the clock runs.
fn log_in(panda: &Installation) -> anyhow::Result<PathBuf> {
    let ground = &panda.ground;
    let key = RegistryKey::load(&ground.registry_key, Clock::system())?.context("the registry has no key")?;
    let token = key.token(&[(REPOSITORY, &[Action::Pull, Action::Push])], Duration::from_hours(8));
    let login = json!({ "registrytoken": token.reveal() });
    let config = json!({ "auths": { &ground.push: login, &ground.pull: login } });
    let folder = panda.folder.join("docker-config");
    std::fs::create_dir_all(&folder)?;
    std::fs::write(folder.join("config.json"), config.to_string())?;
    Ok(folder)
}

impl<'a> Hand<'a> {
    pub(crate) async fn start(panda: &'a Installation) -> anyhow::Result<Self> {
        let network = format!("panda-bench-{}", std::process::id());
        let label = format!("panda.test={}", panda.ground.run);
        panda.docker.call(&["network", "create", "--label", &label, &network])?;
        // A connection of its own for each question: nginx hands old ones to workers that are on their way out.
        let client = reqwest::Client::builder()
            .no_proxy()
            .pool_max_idle_per_host(0)
            .timeout(Duration::from_secs(5))
            .build()?;
        Ok(Self {
            panda,
            nginx: Nginx::start(panda.folder.join("nginx")).await?,
            client,
            network,
            generation: Cell::new(0),
            serving: RefCell::default(),
            stopped: RefCell::default(),
            limits: RefCell::default(),
            docker_config: log_in(panda)?,
        })
    }

    /// Takes the limits that the platform gave to its instances: both sides get the same.
    pub(crate) fn same_limits_as(&self, app: &str) -> anyhow::Result<()> {
        let docker = &self.panda.docker;
        let ids = docker.call(&["ps", "-q", "--filter", &format!("name=panda-{app}-web")])?;
        let one = ids.lines().next().with_context(|| format!("`{app}` has no instance"))?;
        let shown: Vec<Value> = serde_json::from_str(&docker.call(&["inspect", one])?)?;
        let config = &shown[0]["HostConfig"];
        let number = |name: &str| config[name].as_i64().unwrap_or_default();
        #[expect(clippy::cast_precision_loss, reason = "a few cores")]
        let cpus = number("NanoCpus") as f64 / 1e9;
        let mut limits: Vec<String> =
            ["--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--restart", "unless-stopped"]
                .map(str::to_owned)
                .to_vec();
        limits.extend(
            ["--no-healthcheck", "--log-opt", "max-size=10m", "--log-opt", "max-file=5"].map(str::to_owned),
        );
        limits.push(format!("--memory={}", number("Memory")));
        limits.push(format!("--memory-swap={}", number("MemorySwap")));
        limits.push(format!("--cpus={cpus}"));
        limits.push(format!("--pids-limit={}", number("PidsLimit")));
        if config["Init"].as_bool() == Some(true) {
            limits.push("--init".to_owned());
        }
        if let Some(user) = shown[0]["Config"]["User"].as_str().filter(|user| !user.is_empty()) {
            limits.push(format!("--user={user}"));
        }
        *self.limits.borrow_mut() = limits;
        Ok(())
    }

    /// Builds and pushes; returns the image as the engine pulls it.
    pub(crate) async fn build(&self, folder: &Path) -> anyhow::Result<String> {
        let digest = build(self.panda, folder).await?;
        Ok(format!("{}/{REPOSITORY}@{digest}", self.panda.ground.pull))
    }

    /// From an image to the moment when only its instances answer; what served before goes on running.
    pub(crate) async fn roll(&self, image: &str, since: Instant) -> anyhow::Result<Duration> {
        self.docker(&["pull".to_owned(), "--quiet".to_owned(), image.to_owned()]).await?;
        let run: Vec<String> = ["run", "-d", "--network", &self.network].map(str::to_owned).to_vec();
        let label = ["--label".to_owned(), format!("panda.test={}", self.panda.ground.run)];
        let limits = self.limits.borrow().clone();
        let arguments = [&run[..], &label[..], &limits[..], &[image.to_owned()][..]].concat();
        let started = try_join_all((0..REPLICAS).map(|_| self.docker(&arguments))).await?;
        self.take_over(started.into_iter().map(|id| id.trim().to_owned()).collect(), since).await
    }

    /// Starts what was stopped, as a person goes back.
    pub(crate) async fn start_stopped(&self, since: Instant) -> anyhow::Result<Duration> {
        let old = self.stopped.take();
        self.docker(&[&["start".to_owned()][..], &old[..]].concat()).await?;
        self.take_over(old, since).await
    }

    async fn take_over(&self, new: Vec<String>, since: Instant) -> anyhow::Result<Duration> {
        let format = format!("{{{{(index .NetworkSettings.Networks \"{}\").IPAddress}}}}", self.network);
        let shown =
            self.docker(&[&["inspect".to_owned(), "-f".to_owned(), format][..], &new[..]].concat()).await?;
        let addresses: Vec<String> = shown.lines().map(|ip| format!("{}:{PORT}", ip.trim())).collect();
        try_join_all(addresses.iter().map(|address| ready(address))).await?;
        let generation = self.generation.get() + 1;
        self.generation.set(generation);
        self.nginx.switch(generation, &addresses).await?;
        let wished = generation.to_string();
        let took = until_only(&self.client, &self.nginx.url(), since, |headers, _| {
            headers.get(GENERATION).is_some_and(|value| value.as_bytes() == wished.as_bytes())
        })
        .await?;
        *self.stopped.borrow_mut() = self.serving.replace(new);
        Ok(took)
    }

    /// Removes what served before.
    pub(crate) async fn remove_old(&self) -> anyhow::Result<()> {
        self.remove(self.stopped.take()).await
    }

    /// Stops what served before and keeps it.
    pub(crate) async fn stop_old(&self) -> anyhow::Result<()> {
        let old = self.stopped.borrow().clone();
        if !old.is_empty() {
            self.docker(&[&["stop".to_owned()][..], &old[..]].concat()).await?;
        }
        Ok(())
    }

    /// Removes all instances.
    pub(crate) async fn remove_all(&self) -> anyhow::Result<()> {
        self.nginx.switch(0, &[]).await?;
        self.remove(self.stopped.take()).await?;
        self.remove(self.serving.take()).await
    }

    async fn remove(&self, containers: Vec<String>) -> anyhow::Result<()> {
        if containers.is_empty() {
            return Ok(());
        }
        let words = ["rm", "-f", "-v"].map(str::to_owned);
        self.docker(&[&words[..], &containers[..]].concat()).await.map(drop)
    }

    async fn docker(&self, arguments: &[String]) -> anyhow::Result<String> {
        let host = format!("unix://{}", self.panda.ground.docker.display());
        let docker =
            Program::new("docker").env("DOCKER_HOST", host).env("DOCKER_CONFIG", &self.docker_config);
        let done = docker.args(arguments).run(PATIENCE).await?;
        anyhow::ensure!(done.code == Some(0), "docker {arguments:?}: {}", done.stderr);
        Ok(done.stdout)
    }
}

impl Drop for Hand<'_> {
    fn drop(&mut self) {
        let docker: &Docker = &self.panda.docker;
        for container in self.serving.take().into_iter().chain(self.stopped.take()) {
            let _ = docker.call(&["rm", "-f", "-v", &container]);
        }
        let _ = docker.call(&["network", "rm", &self.network]);
    }
}

/// Builds and pushes by `buildctl`; returns the digest.
pub(crate) async fn build(panda: &Installation, folder: &Path) -> anyhow::Result<String> {
    let ground = &panda.ground;
    let docker_config = log_in(panda)?;
    let metadata = panda.folder.join("metadata.json");
    let output = format!(
        "type=image,name={}/{REPOSITORY}:latest,push=true,oci-mediatypes=true,registry.insecure=true",
        ground.push
    );
    let program = std::env::var_os("PANDA_BENCH_BUILDCTL").context("PANDA_BENCH_BUILDCTL isn't set")?;
    let done = Program::new(program)
        .args(["--addr", &ground.buildkit, "build", "--progress", "plain", "--frontend", "dockerfile.v0"])
        .args([
            "--local",
            &format!("context={}", folder.display()),
            "--local",
            &format!("dockerfile={}", folder.display()),
        ])
        .args(["--output", &output, "--metadata-file", &metadata.display().to_string()])
        .env("HOME", panda.folder.join("home"))
        .env("DOCKER_CONFIG", docker_config)
        .run(PATIENCE)
        .await?;
    anyhow::ensure!(done.code == Some(0), "buildctl: {}", done.stderr);
    let said: Value = serde_json::from_slice(&std::fs::read(metadata)?)?;
    let digest = said["containerimage.digest"].as_str().context("buildctl gave no digest")?;
    Ok(digest.to_owned())
}

/// Waits until something listens.
async fn ready(address: &str) -> anyhow::Result<()> {
    let begun = Instant::now();
    while tokio::net::TcpStream::connect(address).await.is_err() {
        anyhow::ensure!(begun.elapsed() < PATIENCE, "`{address}` doesn't listen");
        tokio::time::sleep(ASK).await;
    }
    Ok(())
}
