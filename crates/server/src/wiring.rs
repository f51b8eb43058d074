//! Puts the parts together: the one place that names the concrete runtime, builder and store.

mod runtime;

pub(crate) use runtime::kubernetes;

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use panda_builder::build::Builder;
use panda_builder::buildkit::{BuildkitConfig, BuildkitTls};
use panda_builder::images::ImageParts;
use panda_builder::job::{BuildJob, BuildPlaces};
use panda_builder::registry::{Registry, RegistryLogin};
use panda_deployer::certificates::{CertificateSettings, Certificates, OrderedCertificates, Preflight};
use panda_deployer::deadlines::Deadlines;
use panda_deployer::destroy::DestroyApp;
use panda_deployer::export::Exporters;
use panda_deployer::garbage::{Garbage, GarbageSettings};
use panda_deployer::resolve::ResolveImage;
use panda_deployer::rollout::Rollouts;
use panda_deployer::routes::RoutePublisher;
use panda_deployer::runtime::Runtime;
use panda_deployer::settings::DeploySettings;
use panda_deployer::tasks::TaskRuns;
use panda_domain::clock::Clock;
use panda_domain::deployment::PhaseDeadlines;
use panda_edge::local_ca::LocalCa;
use panda_jobs::{Notices, Reconciler, Reconcilers, Runner};
use panda_platform_api::app::domains::DnsLookup;
use panda_platform_api::auth::Forwarders;
use panda_platform_api::{Platform, PlatformParts, PlatformSettings};
use panda_registry_token::RegistryKey;
use panda_store::{BlobDir, Store};
use tokio_util::sync::CancellationToken;

use crate::config::{Config, RuntimeKind};
use crate::platform_containers::registry_address;

pub(crate) use runtime::cluster_connection;

/// Everything that runs.
pub(crate) struct Wired {
    /// What the API works with.
    pub(crate) platform: Arc<Platform>,
    /// Runs durable jobs.
    pub(crate) runner: Runner,
    /// What keeps things true, how often it looks unasked, and what wakes it.
    pub(crate) reconcilers: Vec<(Arc<dyn Reconciler>, Duration, Notices)>,
    /// Activates them.
    pub(crate) activator: Reconcilers,
    /// The runtime, for its hints.
    pub(crate) runtime: Arc<dyn Runtime>,
    /// The reconciler that the hints are for.
    pub(crate) rollouts: Arc<Rollouts>,
    /// Wakes the rollouts.
    pub(crate) hints: Notices,
}

/// Wires an installation.
pub(crate) async fn wire(
    config: &Config,
    store: Store,
    clock: &Clock,
    shutdown: &CancellationToken,
) -> anyhow::Result<Wired> {
    let owner = Runner::unique_owner();
    let runtime = runtime::connect(config, &store, clock).await?;
    let blobs = BlobDir::open(config.data_dir.join("blobs")).await.context("open the folder of uploads")?;
    let local_ca = load_local_ca(config, clock)?;
    let local_ca_pem = local_ca.certificate_pem().to_owned();

    let registry_key = registry_key(config, clock)?;
    let settings = deploy_settings(config, registry_key.clone());
    let publisher = Arc::new(RoutePublisher::new(store.clone(), runtime.clone(), settings.clone()));
    let rollouts =
        Arc::new(Rollouts::new(store.clone(), runtime.clone(), publisher.clone(), settings.clone()));
    let dns = dns(config)?;
    let certificates = certificates(config, &store, &runtime, &publisher, local_ca, &dns);
    let hints = Notices::with_changes(store.changes());
    let changes = || Notices::with_changes(store.changes());
    let reconcilers: Vec<(Arc<dyn Reconciler>, Duration, Notices)> = vec![
        (rollouts.clone(), Duration::from_secs(1), hints.clone()),
        (certificates, Duration::from_secs(30), changes()),
        (
            Arc::new(TaskRuns::new(store.clone(), runtime.clone(), settings.clone())),
            Duration::from_millis(500),
            changes(),
        ),
        (Arc::new(Deadlines::new(store.clone(), settings.deadlines)), Duration::from_secs(1), Notices::new()),
        (
            Arc::new(Garbage::new(
                store.clone(),
                blobs.clone(),
                runtime.clone(),
                garbage_settings(config, registry_key.clone()),
            )),
            Duration::from_secs(u64::from(config.garbage.every_s)),
            Notices::new(),
        ),
    ];
    let images = ImageParts::at(&config.registry_url(), registry_key.clone());
    let places = places(config);
    let build_logs = places.logs.clone();
    let builds = BuildJob::new(
        store.clone(),
        blobs.clone(),
        builder(config)?,
        registry(config, registry_key.clone()),
        places,
    );
    let runner = Runner::new(store.clone(), owner.clone())
        .handle("build", config.builder.concurrency, Arc::new(builds))
        .handle("resolve_image", 4, Arc::new(ResolveImage::new(store.clone(), runtime.clone())))
        .handle("destroy_app", 4, Arc::new(DestroyApp::new(store.clone(), runtime.clone(), publisher)));
    let activator = Reconcilers::new(store.clone(), owner);
    let platform = Platform::new(PlatformParts {
        store,
        blobs,
        build_logs,
        runtime: runtime.clone(),
        exporters: exporters(),
        settings: platform_settings(config, local_ca_pem)?,
        registry_key,
        dns,
        images,
        shutdown: shutdown.clone(),
    });
    Ok(Wired { platform, runner, reconcilers, activator, runtime, rollouts, hints })
}

/// Every format, whichever runtime serves: who leaves one may go to the other.
fn exporters() -> Exporters {
    Exporters {
        yaml: panda_kubernetes::export::yaml,
        kustomize: panda_kubernetes::export::kustomize,
        compose: panda_docker::export::compose,
    }
}

fn load_local_ca(config: &Config, clock: &Clock) -> anyhow::Result<LocalCa> {
    let keys = config.data_dir.join("keys");
    let now = std::time::SystemTime::from(clock.now());
    let name = format!("Panda local authority ({})", config.platform_host());
    LocalCa::load_or_create(&keys.join("local-ca.key"), &keys.join("local-ca.crt"), &name, now)
        .context("open the local authority")
}

fn builder(config: &Config) -> anyhow::Result<Builder> {
    Builder::new(&buildkit(config)?, Some(config.builder.memory_mib << 20)).context("prepare the builder")
}

/// Returns where BuildKit is and how it knows us.
pub(crate) fn buildkit(config: &Config) -> anyhow::Result<BuildkitConfig> {
    let (builder, address) = (&config.builder, config.builder.address.clone());
    if builder.cert_file.as_os_str().is_empty() {
        return Ok(BuildkitConfig { address, tls: None });
    }
    let read = |path: &Path| std::fs::read(path).with_context(|| format!("read `{}`", path.display()));
    let host = address.trim_start_matches("tcp://");
    let tls = BuildkitTls {
        authority: read(&builder.ca_file)?,
        certificate: read(&builder.cert_file)?,
        key: read(&builder.key_file)?,
        server_name: host.rsplit_once(':').map_or(host, |(host, _)| host).to_owned(),
    };
    Ok(BuildkitConfig { address, tls: Some(tls) })
}

/// Opens the key of our own registry; one that is somebody else's isn't shown our tokens.
fn registry_key(config: &Config, clock: &Clock) -> anyhow::Result<Option<RegistryKey>> {
    let ours = match config.runtime.kind {
        RuntimeKind::Docker => registry_address(config).is_ok(),
        RuntimeKind::Kubernetes => !config.registry.own_url.is_empty(),
    };
    if !ours {
        return Ok(None);
    }
    let key = RegistryKey::load_or_create(&config.registry.key_file, clock.clone());
    Ok(Some(key.context("open the key of the registry")?))
}

fn registry(config: &Config, key: Option<RegistryKey>) -> Registry {
    // The push host is the builder's own view. The host of pulls is loopback on a Docker host, where this process reaches it too.
    let reachable = config.registry.insecure || !config.registry.own_url.is_empty();
    let check_url = reachable.then(|| config.registry_url());
    Registry {
        host: config.registry.push_url.clone(),
        insecure: config.registry.insecure,
        login: key.map_or(RegistryLogin::Open, RegistryLogin::Own),
        check_url,
    }
}

fn places(config: &Config) -> BuildPlaces {
    BuildPlaces { work: config.data_dir.join("work"), logs: config.data_dir.join("logs/builds") }
}

fn garbage_settings(config: &Config, key: Option<RegistryKey>) -> GarbageSettings {
    let (garbage, places) = (&config.garbage, places(config));
    let seconds = |s: u32| Duration::from_secs(u64::from(s));
    GarbageSettings {
        keep_releases: garbage.keep_releases,
        keep: Duration::from_hours(24 * u64::from(garbage.keep_days)),
        upload_grace: seconds(garbage.upload_grace_s),
        orphan_grace: seconds(garbage.orphan_grace_s),
        platform_host: config.platform_host(),
        build_logs: places.logs,
        work: places.work,
        registry_url: config.registry_url(),
        registry_key: key,
    }
}

fn deploy_settings(config: &Config, key: Option<RegistryKey>) -> DeploySettings {
    DeploySettings {
        pull_url: config.registry.pull_url.clone(),
        login: key,
        deadlines: PhaseDeadlines::default(),
        platform_host: config.platform_host(),
        platform_address: config.listen.api,
        https_port: config.edge.https_port,
        tcp_ports: config.tcp_ports(),
    }
}

fn dns(config: &Config) -> anyhow::Result<DnsLookup> {
    if config.resolver.is_empty() {
        return DnsLookup::system().context("read the resolver's settings");
    }
    let server = config.resolver.parse().context("read `resolver` as `address:port`")?;
    DnsLookup::at(server).context("set the resolver up")
}

/// Returns what keeps certificates: the server itself, or the cluster where that can.
fn certificates(
    config: &Config,
    store: &Store,
    runtime: &Arc<dyn Runtime>,
    publisher: &Arc<RoutePublisher>,
    local: LocalCa,
    dns: &DnsLookup,
) -> Arc<dyn Reconciler> {
    let (store, publisher) = (store.clone(), publisher.clone());
    let settings = certificate_settings(config);
    if runtime.capabilities().orders_certificates {
        let preflight = Preflight::new(dns.clone(), addresses(config), &settings);
        // An issuer of the operator's own may prove hosts by records in the DNS, with nothing at port 80.
        let preflight =
            if config.kubernetes.issuer.is_empty() { preflight } else { preflight.without_http() };
        return Arc::new(OrderedCertificates::new(store, runtime.clone(), publisher, local, preflight));
    }
    Arc::new(Certificates::new(store, publisher, local, settings, config.platform_host()))
}

fn certificate_settings(config: &Config) -> CertificateSettings {
    let text = |text: &String| Some(text.clone()).filter(|t| !t.is_empty());
    let ca_file = &config.certificates.acme_ca_file;
    CertificateSettings {
        directory: text(&config.certificates.acme_directory),
        email: text(&config.certificates.acme_email),
        ca_file: Some(ca_file.clone()).filter(|p| !p.as_os_str().is_empty()),
    }
}

fn platform_settings(config: &Config, local_ca: String) -> anyhow::Result<PlatformSettings> {
    Ok(PlatformSettings {
        public_url: config.public_url.parse().context("read `public_url`")?,
        apps_domain: config.apps_domain.clone(),
        apps_https: true,
        apps_port: (config.edge.https_port != 443).then_some(config.edge.https_port),
        local_ca: Some(local_ca),
        addresses: addresses(config),
        forwarders: Forwarders { edge_secret: None, proxies: config.listen.proxies.clone() },
        own_registry: config.registry.pull_url.clone(),
        allowed_image_hosts: config.registry.allow_hosts.clone(),
        tcp_ports: config.tcp_ports(),
        request_deadline: Duration::from_secs(30),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    })
}

/// The addresses that hosts should lead to. In a cluster nobody but the operator knows those of its ingress.
fn addresses(config: &Config) -> Vec<IpAddr> {
    match config.runtime.kind {
        _ if !config.apps_addresses.is_empty() => config.apps_addresses.clone(),
        RuntimeKind::Docker => own_addresses(),
        RuntimeKind::Kubernetes => Vec::new(),
    }
}

/// The address that this machine uses towards the outside, found without sending anything.
fn own_addresses() -> Vec<IpAddr> {
    let found = std::net::UdpSocket::bind(SocketAddr::from(([0, 0, 0, 0], 0))).and_then(|socket| {
        socket.connect(SocketAddr::from(([192, 0, 2, 254], 9)))?;
        socket.local_addr()
    });
    found.map(|address| vec![address.ip()]).unwrap_or_default()
}
