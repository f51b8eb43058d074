//! The runtime that apps run on. An installation keeps the one that it began with.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use panda_deployer::runtime::Runtime;
use panda_docker::{DockerConfig, DockerRuntime};
use panda_domain::clock::Clock;
use panda_kubernetes::{
    Acme, EgressRules, KubernetesConfig, KubernetesRuntime, PortService, Quota, RegistryEndpoint, Requests,
};
use panda_store::Store;

use crate::config::{Config, RuntimeKind, TcpService};

/// The setting that says which runtime an installation has.
const RUNTIME: &str = "runtime";
/// The ClusterIssuer that is made for an ACME directory, unless the settings name another.
const ISSUER: &str = "panda-acme";

/// Connects to the runtime of the settings. Fails if the state is of an installation on the other one: its apps would be
/// started a second time there, beside those that still run.
pub(super) async fn connect(config: &Config, store: &Store, clock: &Clock) -> Result<Arc<dyn Runtime>> {
    keep_runtime(config.runtime.kind, store).await?;
    let installation = store.installation().await?;
    match config.runtime.kind {
        RuntimeKind::Docker => {
            let docker = docker(config, installation, store, clock);
            let runtime = DockerRuntime::connect(docker).await.context("connect to the Docker engine")?;
            Ok(Arc::new(runtime))
        }
        RuntimeKind::Kubernetes => {
            let cluster = kubernetes(config, installation, clock)?;
            let runtime = KubernetesRuntime::connect(cluster).await.context("connect to the cluster")?;
            Ok(Arc::new(runtime))
        }
    }
}

/// Notes the runtime of a new installation; fails on the other one's state. Those from before there were two run on Docker,
/// and have an owner.
async fn keep_runtime(kind: RuntimeKind, store: &Store) -> Result<()> {
    let mut tx = store.begin().await?;
    let began_with = match tx.setting(RUNTIME).await? {
        None if tx.claim().await?.is_some_and(|claim| claim.used_at.is_some()) => {
            Some(RuntimeKind::Docker.as_str().to_owned())
        }
        noted => noted,
    };
    if let Some(began_with) = began_with {
        ensure!(
            began_with == kind.as_str(),
            "`runtime.kind` is `{}`, and this state is of an installation on {began_with}; `panda move` takes projects from one to another",
            kind.as_str()
        );
    }
    tx.set_setting(RUNTIME, kind.as_str()).await?;
    tx.commit().await?;
    Ok(())
}

fn docker(config: &Config, installation: String, store: &Store, clock: &Clock) -> DockerConfig {
    DockerConfig {
        socket: config.runtime.docker_socket.clone(),
        subnet_pool: config.runtime.subnets.clone(),
        edge_socket: Some(config.edge.control.clone()),
        ids: store.ids().clone(),
        clock: clock.clone(),
        ..DockerConfig::new(installation, config.data_dir.join("runtime"))
    }
}

/// Returns how the cluster is reached, and nothing of what the driver is told about it.
pub(crate) fn cluster_connection(config: &Config) -> KubernetesConfig {
    let (kubeconfig, context) = (&config.kubernetes.kubeconfig, &config.kubernetes.context);
    KubernetesConfig {
        kubeconfig: Some(kubeconfig.clone()).filter(|path| !path.as_os_str().is_empty()),
        context: Some(context.clone()).filter(|context| !context.is_empty()),
        ..KubernetesConfig::new(String::new())
    }
}

/// Returns what the driver of a cluster is told.
pub(crate) fn kubernetes(config: &Config, installation: String, clock: &Clock) -> Result<KubernetesConfig> {
    let cluster = &config.kubernetes;
    let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    let limit = |figure: u64| Some(figure).filter(|figure| *figure > 0);
    let mib = |figure: u64| limit(figure).map(|figure| figure << 20);
    let acme = acme(config)?;
    let closed = cluster.closed_ranges.iter().map(ToString::to_string).collect::<Vec<_>>();
    let closed = if closed.is_empty() { EgressRules::default().closed } else { closed };
    Ok(KubernetesConfig {
        labels: cluster.labels.clone(),
        ingress_class: text(&cluster.ingress_class),
        issuer: text(&cluster.issuer).or(acme.as_ref().map(|_| ISSUER.to_owned())),
        acme,
        quota: Quota {
            pods: cluster.quota_pods,
            cpu_millis: limit(cluster.quota_cpu_millis),
            memory_bytes: mib(cluster.quota_memory_mib),
            storage_bytes: mib(cluster.quota_storage_mib),
        },
        requests: Requests {
            cpu_percent: cluster.cpu_request_percent,
            memory_percent: cluster.memory_request_percent,
        },
        egress: EgressRules { closed, open: cluster.open_ranges.iter().map(ToString::to_string).collect() },
        port_service: match cluster.tcp_service {
            TcpService::NodePort => PortService::NodePort,
            TcpService::LoadBalancer => PortService::LoadBalancer,
        },
        node_host: text(&cluster.tcp_host),
        registries: registries(config),
        tools_image: text(&cluster.tools_image),
        clock: clock.clone(),
        installation,
        ..cluster_connection(config)
    })
}

/// An issuer that the settings name is somebody's; one is made only without.
fn acme(config: &Config) -> Result<Option<Acme>> {
    let certificates = &config.certificates;
    if certificates.acme_directory.is_empty() || !config.kubernetes.issuer.is_empty() {
        return Ok(None);
    }
    let ca = &certificates.acme_ca_file;
    let ca_bundle = if ca.as_os_str().is_empty() {
        None
    } else {
        let pem = std::fs::read(ca).with_context(|| format!("read `{}`", ca.display()))?;
        Some(STANDARD.encode(pem))
    };
    let email = Some(certificates.acme_email.clone()).filter(|email| !email.is_empty());
    Ok(Some(Acme { server: certificates.acme_directory.clone(), email, ca_bundle }))
}

fn registries(config: &Config) -> BTreeMap<String, RegistryEndpoint> {
    let endpoint = |url: &str| {
        let plain_http = !url.starts_with("https://");
        let host = url.trim_start_matches("https://").trim_start_matches("http://");
        RegistryEndpoint { host: host.trim_end_matches('/').to_owned(), plain_http }
    };
    let mirrors = config.registry.mirrors.iter().filter_map(|mirror| mirror.split_once('='));
    let mut registries: BTreeMap<_, _> =
        mirrors.map(|(host, url)| (host.to_owned(), endpoint(url))).collect();
    if !config.registry.own_url.is_empty() {
        registries.insert(config.registry.pull_url.clone(), endpoint(&config.registry.own_url));
    }
    registries
}
