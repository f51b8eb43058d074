//! What the driver has to be told.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use panda_domain::clock::Clock;
use panda_domain::formation::Size;

/// The least drain unless another is set, seconds: Traefik gathers changes for two.
pub(crate) const LEAST_DRAIN_S: u32 = 3;

/// Settings of the Kubernetes driver.
#[derive(Debug, Clone)]
pub struct KubernetesConfig {
    /// Where the kubeconfig lies; `None` uses the service account of the pod that this runs in, else the user's own file.
    pub kubeconfig: Option<PathBuf>,
    /// The kubeconfig's context, its current one unless set.
    pub context: Option<String>,
    /// Names this installation in labels, so that two on one cluster don't touch each other's objects.
    pub installation: String,
    /// More labels for everything that is created, for those who look at the cluster with other tools.
    pub labels: BTreeMap<String, String>,
    /// The ingress class of the apps' hosts; `None` takes the cluster's default, or its only one.
    pub ingress_class: Option<String>,
    /// cert-manager's ClusterIssuer for hosts that have no certificate in the route table; `None` orders none.
    pub issuer: Option<String>,
    /// Makes that ClusterIssuer, for an ACME server.
    pub acme: Option<Acme>,
    /// What one environment may hold.
    pub quota: Quota,
    /// What containers that aren't ours get when they say nothing.
    pub default_limits: DefaultLimits,
    /// How much of an instance's size the scheduler keeps free for it.
    pub requests: Requests,
    /// Where apps may send requests to.
    pub egress: EgressRules,
    /// The least time between an instance's leaving its service and its signal, seconds. Ingress controllers and nodes learn of
    /// the change one after another, and go on sending until they have.
    pub least_drain_s: u32,
    /// What kind of service publishes a port.
    pub port_service: PortService,
    /// The host at which ports of nodes are reached; `None`: the address of a node that an instance runs on.
    pub node_host: Option<String>,
    /// Registries by the host in an image's name that are asked elsewhere or otherwise than `https://HOST`.
    pub registries: BTreeMap<String, RegistryEndpoint>,
    /// An image with `cat` in it, for looking at the ports of instances whose own image has none; `None` leaves that out.
    pub tools_image: Option<String>,
    /// How long one ordinary call to the API server may take.
    pub call_timeout: Duration,
    /// How long the first full look at the cluster may take.
    pub sync_timeout: Duration,
    /// Where the time comes from.
    pub clock: Clock,
}

/// The kind of service that publishes a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PortService {
    /// The same port on every node.
    NodePort,
    /// A balancer of the cloud, with an address of its own.
    LoadBalancer,
}

/// How a registry is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistryEndpoint {
    /// Host and port.
    pub host: String,
    /// Whether it speaks plain HTTP.
    pub plain_http: bool,
}

/// An ACME server and its account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acme {
    /// The directory's URL.
    pub server: String,
    /// Whom the authority writes to.
    pub email: Option<String>,
    /// Certificates that its TLS is checked by, base64 of PEM; `None` for the public ones.
    pub ca_bundle: Option<String>,
}

/// What one environment may hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quota {
    /// Pods, tasks and those of releases that are replaced included.
    pub pods: u32,
    /// The sum of what is kept free of processors, thousandths of a core; `None` for no limit.
    pub cpu_millis: Option<u64>,
    /// The sum of what is kept free of memory, bytes; `None` for no limit.
    pub memory_bytes: Option<u64>,
    /// The sum of all volumes, bytes; `None` for no limit.
    pub storage_bytes: Option<u64>,
}

/// What a container gets that says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DefaultLimits(pub Size);

/// How much of an instance's size the scheduler keeps free for it, percent. Less than 100 promises more than there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Requests {
    /// Of the processor.
    pub cpu_percent: u32,
    /// Of the memory.
    pub memory_percent: u32,
}

/// Where apps may send requests to, beside their own environment and DNS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EgressRules {
    /// Ranges inside of the internet that are closed: other tenants, nodes, the cloud's metadata.
    pub closed: Vec<String>,
    /// Ranges inside of those that are open again, such as a database beside the cluster.
    pub open: Vec<String>,
}

impl KubernetesConfig {
    /// Returns the usual settings for an installation.
    pub fn new(installation: impl Into<String>) -> Self {
        Self {
            kubeconfig: None,
            context: None,
            installation: installation.into(),
            labels: BTreeMap::new(),
            ingress_class: None,
            issuer: None,
            acme: None,
            quota: Quota { pods: 200, cpu_millis: None, memory_bytes: None, storage_bytes: None },
            default_limits: DefaultLimits(Size::default()),
            requests: Requests::default(),
            egress: EgressRules::default(),
            least_drain_s: LEAST_DRAIN_S,
            port_service: PortService::NodePort,
            node_host: None,
            registries: BTreeMap::new(),
            tools_image: None,
            call_timeout: Duration::from_secs(30),
            sync_timeout: Duration::from_mins(2),
            clock: Clock::system(),
        }
    }
}

impl Default for Requests {
    fn default() -> Self {
        Self { cpu_percent: 10, memory_percent: 50 }
    }
}

impl Default for EgressRules {
    /// The internet, and nothing private: RFC 1918, carrier-grade NAT, link-local (clouds keep their metadata there) and the
    /// same of IPv6.
    fn default() -> Self {
        let closed = [
            "10.0.0.0/8",
            "172.16.0.0/12",
            "192.168.0.0/16",
            "100.64.0.0/10",
            "169.254.0.0/16",
            "fc00::/7",
            "fe80::/10",
        ];
        Self { closed: closed.map(str::to_owned).to_vec(), open: Vec::new() }
    }
}
