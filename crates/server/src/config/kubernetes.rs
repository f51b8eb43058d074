//! `[kubernetes]`: the cluster that apps run on.

use std::collections::BTreeMap;
use std::path::PathBuf;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// The cluster that apps run on, with `runtime.kind = "kubernetes"`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Kubernetes {
    /// Empty: the service account of the pod that this runs in, else the user's own file.
    pub kubeconfig: PathBuf,
    /// Its context; empty: the current one.
    pub context: String,
    /// The class of the apps' Ingresses; empty: the cluster's default, or its only one.
    pub ingress_class: String,
    /// cert-manager's ClusterIssuer for the apps' hosts. Empty with `certificates.acme_directory`: one is made.
    pub issuer: String,
    /// How ports that apps publish are reached: by a port of every node, or by a balancer of the cloud, one a port.
    pub tcp_service: TcpService,
    /// The host at which the nodes' ports are reached; empty: the address of a node that an instance runs on.
    pub tcp_host: String,
    /// An image with `cat` in it, by which `doctor` and reasons look into instances whose own image has none.
    pub tools_image: String,
    /// More labels for everything that is created.
    pub labels: BTreeMap<String, String>,
    /// Pods in one environment at most.
    pub quota_pods: u32,
    /// Processors that one environment may reserve, thousandths of a core; 0: no limit.
    pub quota_cpu_millis: u64,
    /// Memory that one environment may reserve, MiB; 0: no limit.
    pub quota_memory_mib: u64,
    /// Volumes that one environment may have, MiB; 0: no limit.
    pub quota_storage_mib: u64,
    /// How much of an instance's processor the scheduler keeps free for it.
    pub cpu_request_percent: u32,
    /// How much of its memory.
    pub memory_request_percent: u32,
    /// Ranges of addresses that apps may not send to; empty: the private ones.
    pub closed_ranges: Vec<IpNet>,
    /// Ranges inside of those that they may.
    pub open_ranges: Vec<IpNet>,
}

/// The kind of service that publishes a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum TcpService {
    /// The same port on every node.
    NodePort,
    /// A balancer of the cloud, with an address of its own.
    LoadBalancer,
}

impl Default for Kubernetes {
    fn default() -> Self {
        Self {
            kubeconfig: PathBuf::new(),
            context: String::new(),
            ingress_class: String::new(),
            issuer: String::new(),
            tcp_service: TcpService::NodePort,
            tcp_host: String::new(),
            tools_image: String::new(),
            labels: BTreeMap::new(),
            quota_pods: 200,
            quota_cpu_millis: 0,
            quota_memory_mib: 0,
            quota_storage_mib: 0,
            cpu_request_percent: 10,
            memory_request_percent: 50,
            closed_ranges: Vec::new(),
            open_ranges: Vec::new(),
        }
    }
}
