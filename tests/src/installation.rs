//! A whole installation, private to a test: edge and server as real processes with their own folder, ports and addresses.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use panda_api_types::{ClaimRequest, ServerInfo, TokenCreated, TokenRequest};
use panda_test_support::process::{Daemon, Finished, Program};
use reqwest::Method;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{COOKIE, ORIGIN, SET_COOKIE};

use crate::api::{Api, answer};
use crate::cluster::{Cluster, Realm};
use crate::docker::Docker;
use crate::ground::{Ground, binary};
use crate::range::Range;

/// How long a process may take to start or stop on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);
/// Who owns every test's installation.
pub const EMAIL: &str = "owner@example.com";
/// The owner's password.
pub const PASSWORD: &str = "correct horse battery";

/// Where the state is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Database {
    /// A file below the data folder.
    #[default]
    Sqlite,
    /// A database of its own in the run's PostgreSQL.
    Postgres,
}

/// What differs from the usual installation.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Where the state is kept.
    pub database: Database,
    /// A cluster instead of an engine.
    pub cluster: Option<Cluster>,
    /// Another engine's socket.
    pub docker: Option<PathBuf>,
    /// Gives the data folder a disk of 48 MiB.
    pub small_disk: bool,
    /// Settings as environment variables; they win.
    pub settings: Vec<(String, String)>,
}

/// A running installation. Everything of it is removed with the handle.
#[derive(Debug)]
pub struct Installation {
    /// What it runs on.
    pub ground: Ground,
    /// Its folder: data, logs, a home for the CLI.
    pub folder: PathBuf,
    /// Where the edge, or the cluster's ingress, listens for HTTPS.
    pub https: SocketAddr,
    /// The same for HTTP.
    pub http: SocketAddr,
    /// The address of the API.
    pub address: String,
    /// The local authority, PEM.
    pub ca: Option<String>,
    /// The engine as the tests see it.
    pub docker: Docker,
    /// The cluster that apps run on, if it is one.
    pub cluster: Option<Cluster>,
    name: String,
    /// The platform's own address.
    public_url: String,
    token: String,
    api: Api,
    browser: reqwest::Client,
    server: Mutex<Option<Daemon>>,
    edge: Mutex<Option<Daemon>>,
    settings: Mutex<Vec<(String, String)>>,
    range: Range,
    small_disk: bool,
    /// Lets its nodes log in.
    _realm: Option<Realm>,
}

impl Installation {
    /// Starts the usual one: SQLite, the machine's engine.
    pub async fn start(ground: &Ground) -> anyhow::Result<Self> {
        Self::start_with(ground, Options::default()).await
    }

    /// Starts one, claims it, and makes a token.
    pub async fn start_with(ground: &Ground, options: Options) -> anyhow::Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(1);
        let name = format!("e{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let folder = ground.folder.join(&name);
        for part in ["data/edge", "home"] {
            fs::create_dir_all(folder.join(part))?;
        }
        if options.small_disk {
            let data = folder.join("data").display().to_string();
            Program::new("mount").args(["-t", "tmpfs", "-o", "size=48m", "panda-test", &data]).output()?;
            fs::create_dir_all(folder.join("data/edge"))?;
        }
        // The run's registry serves this key alone; an installation of its own would make one.
        let keys = folder.join("data/keys");
        fs::DirBuilder::new().mode(0o700).create(&keys)?;
        fs::copy(&ground.registry_key, keys.join("registry.key"))?;
        let [api, mut https, mut http] = free_addresses()?;
        let range = Range::take()?;
        let socket = options.docker.clone().unwrap_or_else(|| ground.docker.clone());
        let public_url = format!("https://panda.localhost:{}", https.port());
        let mut settings = settings(ground, &folder, &socket, [api, https, http], &range);
        let mut realm = None;
        if let Some(cluster) = &options.cluster {
            (https, http) = (cluster.https, cluster.http);
            settings.extend(cluster_settings(ground, cluster, &name));
            settings.push(("PANDA_LISTEN__TCP_PORTS".into(), range.tcp_ports(true)));
            realm = Some(cluster.lead_nodes_to(api)?);
        }
        if options.database == Database::Postgres {
            settings.push(("PANDA_DATABASE__URL".into(), make_database(&ground.postgres, &name)?));
        }
        settings.extend(options.settings);
        let address = format!("http://{api}");
        let mut panda = Self {
            ground: ground.clone(),
            https,
            http,
            ca: None,
            docker: Docker::at(&socket),
            cluster: options.cluster,
            name,
            public_url,
            token: String::new(),
            api: Api::at(&address)?,
            browser: reqwest::Client::new(),
            server: Mutex::new(None),
            edge: Mutex::new(None),
            settings: Mutex::new(settings),
            range,
            folder,
            address,
            small_disk: options.small_disk,
            _realm: realm,
        };
        let begun = panda.begin().await;
        if begun.is_err() {
            panda.print_logs();
        }
        begun.map(|()| panda)
    }

    async fn begin(&mut self) -> anyhow::Result<()> {
        if self.cluster.is_none() {
            self.start_edge().await?;
        }
        self.start_server().await?;
        self.claim().await
    }

    async fn claim(&mut self) -> anyhow::Result<()> {
        let begun = Instant::now();
        let claim_token = loop {
            let log = self.server_log();
            if let Some((_, rest)) = log.split_once("claim token: ") {
                break rest.split_whitespace().next().unwrap_or_default().to_owned();
            }
            anyhow::ensure!(begun.elapsed() < PATIENCE, "the server printed no claim token:\n{log}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        let request =
            ClaimRequest { claim_token, email: EMAIL.into(), password: PASSWORD.into(), team: None };
        let claimed = self.api.request(Method::POST, "/claim").json(&request).send().await?;
        anyhow::ensure!(
            claimed.status().is_success(),
            "claiming: {} {}",
            claimed.status(),
            claimed.text().await?
        );
        let cookie = claimed.headers().get(SET_COOKIE).context("claiming set no cookie")?.to_str()?;
        let cookie = cookie.split(';').next().unwrap_or_default().to_owned();
        let wish = TokenRequest { name: "tests".into(), scope: "full".into(), ttl_days: None };
        // A session's cookie counts only with the platform's own origin beside it.
        let request = self.api.request(Method::POST, "/tokens").header(COOKIE, cookie);
        let request = request.header(ORIGIN, &self.public_url);
        let made: TokenCreated = answer(request.json(&wish)).await?;
        self.token = made.secret;
        self.api = self.api.clone().with_token(&self.token);
        let info: ServerInfo = self.api.get("/server").await?;
        self.browser = browser(info.local_ca.as_deref(), self.https)?;
        self.ca = info.local_ca;
        Ok(())
    }

    /// Returns the owner's API token.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Returns the API, as its owner.
    pub fn api(&self) -> &Api {
        &self.api
    }

    /// Returns a client for the apps: trusts the local authority, finds every name at the edge, follows no redirect.
    pub fn browser(&self) -> &reqwest::Client {
        &self.browser
    }

    /// Runs `panda` with a home of its own and the owner's token.
    pub async fn cli(&self, folder: &Path, arguments: &[&str]) -> anyhow::Result<Finished> {
        let home = self.folder.join("home");
        Program::new(binary("panda")?)
            .args(arguments.iter().copied())
            .env("HOME", &home)
            .env("XDG_CONFIG_HOME", home.join(".config"))
            .env("PANDA_SERVER", &self.address)
            .env("PANDA_TOKEN", &self.token)
            .in_folder(folder)
            .run(Duration::from_mins(5))
            .await
    }

    /// Runs `panda`; anything but exit 0 is an error. Returns standard output.
    pub async fn cli_ok(&self, folder: &Path, arguments: &[&str]) -> anyhow::Result<String> {
        let done = self.cli(folder, arguments).await?;
        anyhow::ensure!(
            done.code == Some(0),
            "panda {arguments:?} exited with {:?}\n{}\n{}",
            done.code,
            done.stdout,
            done.stderr
        );
        Ok(done.stdout)
    }

    /// Runs `panda-server` with its settings, as an operator does.
    pub async fn operate(&self, arguments: &[&str]) -> anyhow::Result<Finished> {
        let mut program = Program::new(binary("panda-server")?)
            .args(["--data-dir".into(), self.folder.join("data")])
            .args(arguments.iter().copied())
            .env("HOME", self.folder.join("home"));
        for (name, value) in &*lock(&self.settings) {
            program = program.env(name, value);
        }
        program.run(PATIENCE).await
    }

    /// Starts the server and waits until it is ready.
    pub async fn start_server(&self) -> anyhow::Result<()> {
        self.launch_server()?;
        let begun = Instant::now();
        loop {
            if let Some(status) = lock(&self.server).as_ref().and_then(Daemon::ended) {
                bail!("the server ended with {status}:\n{}", self.server_log());
            }
            let ready = reqwest::get(format!("{}/readyz", self.address)).await;
            if ready.is_ok_and(|answer| answer.status().is_success()) {
                return Ok(());
            }
            anyhow::ensure!(begun.elapsed() < PATIENCE, "the server isn't ready:\n{}", self.server_log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Starts the server and waits for nothing.
    pub fn launch_server(&self) -> anyhow::Result<()> {
        let mut program = Program::new(binary("panda-server")?)
            .args(["serve", "--data-dir"])
            .args([self.folder.join("data")])
            .env("HOME", self.folder.join("home"));
        for (name, value) in &*lock(&self.settings) {
            program = program.env(name, value);
        }
        *lock(&self.server) = Some(program.start("panda-server", &self.folder.join("server.log"))?);
        Ok(())
    }

    /// Returns the settings of its server, as environment variables.
    pub(crate) fn settings(&self) -> Vec<(String, String)> {
        lock(&self.settings).clone()
    }

    /// Changes a setting for the next start of the server.
    pub fn set(&self, name: &str, value: &str) {
        let mut settings = lock(&self.settings);
        settings.retain(|(known, _)| known != name);
        settings.push((name.to_owned(), value.to_owned()));
    }

    /// Returns the name of its database in PostgreSQL.
    pub fn database(&self) -> Option<String> {
        let settings = lock(&self.settings);
        let (_, url) = settings.iter().find(|(name, _)| name == "PANDA_DATABASE__URL")?;
        url.rsplit_once('/').map(|(_, name)| name.to_owned())
    }

    /// Runs SQL on its database in PostgreSQL, past everything that the platform checks.
    pub fn tamper(&self, sql: &str) -> anyhow::Result<()> {
        let settings = lock(&self.settings);
        let url = settings.iter().find(|(name, _)| name == "PANDA_DATABASE__URL");
        let (_, url) = url.context("its state isn't in PostgreSQL")?;
        Program::new("psql").args([url, "-v", "ON_ERROR_STOP=1", "-qc", sql]).output().map(drop)
    }

    /// Starts the edge and waits until it listens.
    pub async fn start_edge(&self) -> anyhow::Result<()> {
        let state = self.folder.join("data/edge");
        let daemon = Program::new(binary("panda-edge")?)
            .args(["--workers", "1", "--http", &self.http.to_string(), "--https", &self.https.to_string()])
            .args(["--control".into(), state.join("control.sock"), "--state-dir".into(), state.clone()])
            .args(["--access-log".into(), self.folder.join("access.log")])
            .start("panda-edge", &self.folder.join("edge.log"))?;
        let begun = Instant::now();
        while tokio::net::TcpStream::connect(self.https).await.is_err() {
            if daemon.ended().is_some() || begun.elapsed() > PATIENCE {
                bail!("the edge doesn't listen:\n{}", daemon.log());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        *lock(&self.edge) = Some(daemon);
        Ok(())
    }

    /// Sends SIGKILL to the server.
    pub fn kill9_server(&self) {
        *lock(&self.server) = None;
    }

    /// Sends SIGTERM to the server and waits for its end.
    pub async fn terminate_server(&self) -> anyhow::Result<std::process::ExitStatus> {
        let daemon = lock(&self.server).take().context("the server doesn't run")?;
        daemon.terminate(PATIENCE).await
    }

    /// Sends SIGKILL to the edge.
    pub fn kill9_edge(&self) {
        *lock(&self.edge) = None;
    }

    /// Returns how the server ended, if it did.
    pub fn server_ended(&self) -> Option<std::process::ExitStatus> {
        lock(&self.server).as_ref().and_then(Daemon::ended)
    }

    /// Returns what the server has written since the installation was made.
    pub fn server_log(&self) -> String {
        fs::read(self.folder.join("server.log"))
            .map(|text| String::from_utf8_lossy(&text).into_owned())
            .unwrap_or_default()
    }

    /// Returns its containers and networks, as the engine lists them; of a cluster its pods and namespaces.
    pub fn left_on_engine(&self) -> anyhow::Result<(Vec<String>, Vec<String>)> {
        if let Some(cluster) = &self.cluster {
            return Ok((cluster.labelled("pods", &self.name)?, cluster.labelled("namespaces", &self.name)?));
        }
        let range = self.range.prefix();
        Ok((self.docker.containers(&range)?, self.docker.networks(&range)?))
    }

    /// Waits until nothing of it is left on the engine.
    pub async fn until_nothing_is_left(&self) -> anyhow::Result<()> {
        let begun = Instant::now();
        loop {
            let (containers, networks) = self.left_on_engine()?;
            if containers.is_empty() && networks.is_empty() {
                return Ok(());
            }
            anyhow::ensure!(
                begun.elapsed() < PATIENCE,
                "left on the engine: containers {containers:?}, networks {networks:?}"
            );
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Prints the end of the logs, for a test that failed.
    pub fn print_logs(&self) {
        for name in ["server.log", "edge.log"] {
            let text = fs::read(self.folder.join(name)).unwrap_or_default();
            let text = String::from_utf8_lossy(&text);
            let lines: Vec<&str> = text.lines().collect();
            println!("---- {name} (end)");
            for line in &lines[lines.len().saturating_sub(60)..] {
                println!("{line}");
            }
        }
    }
}

impl Drop for Installation {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.print_logs();
        }
        *lock(&self.server) = None;
        *lock(&self.edge) = None;
        if let Some(cluster) = &self.cluster {
            cluster.clean(&self.name);
        }
        self.docker.clean(&self.range.prefix());
        if self.small_disk {
            let _ = Program::new("umount").args(["-l".into(), self.folder.join("data")]).run_blocking();
        }
        if !std::thread::panicking() {
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn settings(
    ground: &Ground,
    folder: &Path,
    docker: &Path,
    ports: [SocketAddr; 3],
    range: &Range,
) -> Vec<(String, String)> {
    let [api, https, http] = ports;
    let set = |name: &str, value: String| (format!("PANDA_{name}"), value);
    vec![
        set("PUBLIC_URL", format!("https://panda.localhost:{}", https.port())),
        set("LISTEN__API", api.to_string()),
        set("RUNTIME__DOCKER_SOCKET", docker.display().to_string()),
        set("RUNTIME__SUBNETS", range.subnet()),
        set("LISTEN__TCP_PORTS", range.tcp_ports(false)),
        set("EDGE__CONTROL", folder.join("data/edge/control.sock").display().to_string()),
        set("EDGE__HTTPS_PORT", https.port().to_string()),
        set("EDGE__HTTP_PORT", http.port().to_string()),
        set("REGISTRY__PUSH_URL", ground.push.clone()),
        set("REGISTRY__PULL_URL", ground.pull.clone()),
        set("REGISTRY__INSECURE", "true".into()),
        set("REGISTRY__ALLOW_HOSTS", ground.image_host().to_owned()),
        set("BUILDER__ADDRESS", ground.buildkit.clone()),
        set(
            "LOG__FILTER",
            "info,panda_deployer=debug,panda_jobs=debug,panda_platform_api::http::frame=warn".into(),
        ),
    ]
}

/// What differs on a cluster; later settings win.
fn cluster_settings(ground: &Ground, cluster: &Cluster, name: &str) -> Vec<(String, String)> {
    let set = |name: &str, value: String| (format!("PANDA_{name}"), value);
    let mut settings = vec![
        set("RUNTIME__KIND", "kubernetes".into()),
        set("KUBERNETES__KUBECONFIG", cluster.kubeconfig.display().to_string()),
        set("KUBERNETES__LABELS__STORY", name.to_owned()),
        set("KUBERNETES__TOOLS_IMAGE", "docker.io/library/python:3.13-slim".into()),
        set("APPS_DOMAIN", format!("{name}.test")),
        set("EDGE__HTTPS_PORT", cluster.https.port().to_string()),
        set("EDGE__HTTP_PORT", cluster.http.port().to_string()),
        set("REGISTRY__PULL_URL", cluster.pull.clone()),
        set("REGISTRY__OWN_URL", format!("http://{}", ground.pull)),
    ];
    // Where Docker Hub can't be reached, nodes have the local registry in its place.
    if std::env::var("PANDA_TEST_MIRRORS").is_ok_and(|mirrors| !mirrors.is_empty()) {
        settings.push(set("REGISTRY__MIRRORS", format!("docker.io={}", ground.image_host())));
    }
    settings
}

/// Returns three addresses on loopback that were free a moment ago.
fn free_addresses() -> anyhow::Result<[SocketAddr; 3]> {
    let listeners: Vec<TcpListener> =
        (0..3).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).collect::<Result<_, _>>()?;
    let addresses: Vec<SocketAddr> =
        listeners.iter().map(TcpListener::local_addr).collect::<Result<_, _>>()?;
    Ok([addresses[0], addresses[1], addresses[2]])
}

/// Makes a database in the PostgreSQL at this URL; returns its own URL.
pub(crate) fn make_database(postgres: &str, name: &str) -> anyhow::Result<String> {
    let database = name.replace('-', "_");
    Program::new("psql").args([postgres, "-qc", &format!("create database {database}")]).output()?;
    let (server, _) = postgres.rsplit_once('/').context("the URL of PostgreSQL names no database")?;
    Ok(format!("{server}/{database}"))
}

/// Finds every name at the edge.
#[derive(Debug)]
struct AtTheEdge(SocketAddr);

impl Resolve for AtTheEdge {
    fn resolve(&self, _: Name) -> Resolving {
        let address = self.0;
        Box::pin(async move { Ok(Box::new(std::iter::once(address)) as Addrs) })
    }
}

fn browser(ca: Option<&str>, edge: SocketAddr) -> anyhow::Result<reqwest::Client> {
    let mut builder = reqwest::Client::builder()
        .no_proxy()
        .timeout(Duration::from_secs(30))
        .redirect(reqwest::redirect::Policy::none())
        // A port of 0 lets the URL's own port hold.
        .dns_resolver(Arc::new(AtTheEdge(SocketAddr::new(edge.ip(), 0))));
    if let Some(pem) = ca {
        builder = builder.tls_certs_only([reqwest::Certificate::from_pem(pem.as_bytes())?]);
    }
    Ok(builder.build()?)
}
