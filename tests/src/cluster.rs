//! The cluster of a run, asked by kubectl: the tests don't believe the platform about itself.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{Mutex, OnceLock, PoisonError};

use anyhow::Context as _;
use panda_test_support::process::Program;

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
    /// Returns the run's cluster, if it has one.
    pub fn of_the_run() -> Option<Self> {
        let get = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        Some(Self {
            kubeconfig: get("KUBECONFIG")?.into(),
            http: get("PANDA_TEST_CLUSTER_INGRESS")?.parse().ok()?,
            https: get("PANDA_TEST_CLUSTER_INGRESS_TLS")?.parse().ok()?,
            host: get("PANDA_TEST_CLUSTER_HOST")?.parse().ok()?,
            pull: get("PANDA_TEST_CLUSTER_REGISTRY")?,
            kubectl: get("PANDA_TEST_KUBECTL")?.into(),
        })
    }

    /// Runs kubectl; fails with what it said.
    pub fn kubectl(&self, arguments: &[&str]) -> anyhow::Result<String> {
        Program::new(&self.kubectl)
            .env("KUBECONFIG", &self.kubeconfig)
            .args(["--request-timeout", "20s"])
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

    /// Lets nodes get tokens from this server for as long as the returned value lives.
    pub fn lead_nodes_to(&self, api: SocketAddr) -> anyhow::Result<Realm> {
        Realm::open(self.host, api)
    }
}

/// Servers that answer nodes. All of a run share a registry, so any of them may: they have the same key.
static SERVERS: Mutex<Vec<SocketAddr>> = Mutex::new(Vec::new());

/// One server's place among those that answer nodes.
#[derive(Debug)]
pub struct Realm(SocketAddr);

impl Realm {
    fn open(host: Ipv4Addr, api: SocketAddr) -> anyhow::Result<Self> {
        static LISTENING: OnceLock<Result<(), String>> = OnceLock::new();
        let listening = LISTENING.get_or_init(|| {
            let listener = TcpListener::bind((host, REALM_PORT)).map_err(|error| error.to_string())?;
            std::thread::spawn(move || listener.incoming().flatten().for_each(forward));
            Ok(())
        });
        listening.clone().map_err(anyhow::Error::msg).context("listen for the nodes' logins")?;
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
