//! The cluster of a run, asked by kubectl: the tests don't believe the platform about itself.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use panda_test_support::process::{Daemon, Program};

/// Where the run's registry sends nodes for a token, on the machine's address in the cluster; tests/ground/test.sh tells it so.
const REALM_PORT: u16 = 7070;

/// A Kubernetes with an ingress, `tests/cluster` or somebody's own.
#[derive(Debug, Clone)]
pub struct Cluster {
    /// How it is reached.
    pub kubeconfig: PathBuf,
    /// Its ingress, HTTP.
    pub http: SocketAddr,
    /// Its ingress, HTTPS.
    pub https: SocketAddr,
    /// This machine as nodes and pods see it.
    pub host: Ipv4Addr,
    /// The host by which nodes pull what the run's builder pushed.
    pub pull: String,
    kubectl: PathBuf,
}

impl Cluster {
    /// Returns the run's cluster, if it has one. A run that asked for one and has none, or half of one, fails here.
    pub fn of_the_run() -> Option<Self> {
        let get = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let found = Self::read(&|name| get(name).with_context(|| format!("{name} isn't set")));
        if get("PANDA_TEST_CLUSTER").is_some() {
            return Some(found.expect("the run's cluster is whole"));
        }
        found.ok()
    }

    fn read(get: &dyn Fn(&str) -> anyhow::Result<String>) -> anyhow::Result<Self> {
        Ok(Self {
            kubeconfig: get("KUBECONFIG")?.into(),
            http: get("PANDA_TEST_CLUSTER_INGRESS")?.parse()?,
            https: get("PANDA_TEST_CLUSTER_INGRESS_TLS")?.parse()?,
            host: get("PANDA_TEST_CLUSTER_HOST")?.parse()?,
            pull: get("PANDA_TEST_CLUSTER_REGISTRY")?,
            kubectl: get("PANDA_TEST_KUBECTL")?.into(),
        })
    }

    /// Starts a cluster of a test's own, which may be damaged; gone with the handle.
    pub fn own(run: &str, registry: &str) -> anyhow::Result<OwnCluster> {
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let name = format!("{run}-own");
        let mut own = OwnCluster { name: name.clone(), cluster: None, _alone: alone };
        OwnCluster::script(&["up", &name])?;
        own.registry(registry)?;
        let said = OwnCluster::script(&["env", &name])?;
        own.cluster = Some(Self::read(&|wanted| {
            let line = said.lines().find_map(|line| line.strip_prefix(wanted)?.strip_prefix('='));
            line.map(str::to_owned).with_context(|| format!("the cluster tells no {wanted}"))
        })?);
        Ok(own)
    }

    /// Runs kubectl; fails with what it said.
    pub fn kubectl(&self, arguments: &[&str]) -> anyhow::Result<String> {
        Program::new(&self.kubectl)
            .env("KUBECONFIG", &self.kubeconfig)
            .args(["--request-timeout", "20s"])
            // Without a home of its own it would keep what it knows of the cluster in the working folder.
            .args(["--cache-dir".into(), cache()])
            .args(arguments.iter().copied())
            .output()
    }

    /// Returns what of a kind carries this story's label, as `namespace/name`.
    pub fn labelled(&self, kind: &str, story: &str) -> anyhow::Result<Vec<String>> {
        let format = "jsonpath={range .items[*]}{.metadata.namespace}/{.metadata.name}{\"\\n\"}{end}";
        let found = self.kubectl(&["get", kind, "-A", "-l", &format!("story={story}"), "-o", format])?;
        Ok(found.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect())
    }

    /// Removes all of a story's namespaces, and waits for nothing.
    pub fn clean(&self, story: &str) {
        let label = format!("story={story}");
        let _ = self.kubectl(&["delete", "namespaces", "-l", &label, "--wait=false", "--ignore-not-found"]);
    }

    /// Starts a `kubectl proxy`, which has the credentials; returns where it listens, too.
    pub async fn proxy(&self, log: &Path) -> anyhow::Result<(Daemon, SocketAddr)> {
        let daemon = Program::new(&self.kubectl)
            .env("KUBECONFIG", &self.kubeconfig)
            .args(["proxy", "--port", "0", "--disable-filter"])
            .args(["--cache-dir".into(), cache()])
            .start("kubectl-proxy", log)?;
        let begun = Instant::now();
        loop {
            if let Some((_, address)) = daemon.log().split_once("Starting to serve on ") {
                return Ok((daemon, address.trim().parse()?));
            }
            anyhow::ensure!(begun.elapsed() < Duration::from_secs(10), "kubectl proxy: {}", daemon.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Lets nodes get tokens from this server for as long as the returned value lives.
    pub fn lead_nodes_to(&self, api: SocketAddr) -> anyhow::Result<Realm> {
        Realm::open(self.host, api)
    }
}

fn cache() -> PathBuf {
    std::env::temp_dir().join("kubectl-cache")
}

/// One at a time: more would only measure the machine.
static ALONE: Mutex<()> = Mutex::new(());

/// A cluster of a test's own.
#[derive(Debug)]
pub struct OwnCluster {
    name: String,
    cluster: Option<Cluster>,
    _alone: MutexGuard<'static, ()>,
}

impl OwnCluster {
    /// Returns the way to it.
    pub fn cluster(&self) -> &Cluster {
        self.cluster.as_ref().expect("it was started")
    }

    /// Adds a node, removes it or ends it as by a power cut.
    pub fn node(&self, verb: &str, number: u32) -> anyhow::Result<()> {
        Self::script(&["node", &self.name, verb, &number.to_string()]).map(drop)
    }

    /// Has nodes pull from this registry on the machine's loopback; from nobody after `stop`.
    pub fn registry(&self, address: &str) -> anyhow::Result<()> {
        Self::script(&["registry", &self.name, address]).map(drop)
    }

    /// Stops the API server, or starts it.
    pub fn api(&self, verb: &str) -> anyhow::Result<()> {
        Self::script(&["api", &self.name, verb]).map(drop)
    }

    fn script(arguments: &[&str]) -> anyhow::Result<String> {
        let script = crate::ground::repository().join("tests/cluster/cluster.sh");
        Program::new(script)
            .with_own_environment()
            .env("PANDA_TEST_OWN_CLUSTER", "1")
            .args(arguments.iter().copied())
            .output()
    }
}

impl Drop for OwnCluster {
    fn drop(&mut self) {
        let _ = Self::script(&["down", &self.name]);
    }
}

/// Servers that answer nodes. All of a run share a registry, so any of them may: they have the same key.
static SERVERS: Mutex<Vec<SocketAddr>> = Mutex::new(Vec::new());

/// One server's place among those that answer nodes.
#[derive(Debug)]
pub struct Realm(SocketAddr);

impl Realm {
    fn open(host: Ipv4Addr, api: SocketAddr) -> anyhow::Result<Self> {
        static LISTENING: Mutex<BTreeSet<Ipv4Addr>> = Mutex::new(BTreeSet::new());
        let mut listening = LISTENING.lock().unwrap_or_else(PoisonError::into_inner);
        if !listening.contains(&host) {
            let listener = TcpListener::bind((host, REALM_PORT)).context("listen for the nodes' logins")?;
            std::thread::spawn(move || listener.incoming().flatten().for_each(forward));
            listening.insert(host);
        }
        SERVERS.lock().unwrap_or_else(PoisonError::into_inner).push(api);
        Ok(Self(api))
    }
}

impl Drop for Realm {
    fn drop(&mut self) {
        SERVERS.lock().unwrap_or_else(PoisonError::into_inner).retain(|server| *server != self.0);
    }
}

/// Forwards a connection to the first server that takes it.
fn forward(near: TcpStream) {
    let servers = SERVERS.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let Some(far) = servers.iter().find_map(|server| TcpStream::connect(server).ok()) else { return };
    let (Ok(mut near_in), Ok(mut far_in)) = (near.try_clone(), far.try_clone()) else { return };
    let (mut near_out, mut far_out) = (near, far);
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut near_in, &mut far_out);
        let _ = far_out.shutdown(std::net::Shutdown::Write);
    });
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut far_in, &mut near_out);
        let _ = near_out.shutdown(std::net::Shutdown::Write);
    });
}
