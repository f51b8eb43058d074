//! `panda-server install`: makes this machine a Docker host of Panda, and keeps it one.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use panda_docker::platform::{Component, Ensured, PlatformHost};
use toml::Value;

use super::config_file::{self, Draft, Setting};
use super::{Failure, Outcome, claim_token, load, ports, say, upgrade};
use crate::config::{Config, DEFAULT_FILE, check};
use crate::platform_containers::{Installation, Layout, public_address};

/// The certificates of the world's best known free authority.
const LETS_ENCRYPT: &str = "https://acme-v02.api.letsencrypt.org/directory";

/// What can be chosen. What isn't given stays as it was at the last run, or gets its default.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:
  panda-server install --public-url https://panda.example.com --apps-domain apps.example.net --acme-email ops@example.com
  panda-server install --http-port 8080 --https-port 8443     # beside another web server
  panda-server install                                        # again: mends what is missing, changes nothing else")]
pub(crate) struct InstallArgs {
    /// Prefix of the containers' names
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// The platform's own address [default: https://panda.<apps domain>]
    #[arg(long, value_name = "URL")]
    public_url: Option<String>,
    /// The domain that apps get their hosts in [default: <ip>.sslip.io with a public address, else localhost]
    #[arg(long, value_name = "DOMAIN")]
    apps_domain: Option<String>,
    /// Order certificates from Let's Encrypt, which writes to this address
    #[arg(long, value_name = "ADDRESS")]
    acme_email: Option<String>,
    /// Port of the edge for plain HTTP [default: 80]
    #[arg(long, value_name = "PORT")]
    http_port: Option<u16>,
    /// Port of the edge for HTTPS [default: 443]
    #[arg(long, value_name = "PORT")]
    https_port: Option<u16>,
    /// Loopback port of the API [default: 7080]
    #[arg(long, value_name = "PORT")]
    api_port: Option<u16>,
    /// Loopback port of the registry [default: 7050]
    #[arg(long, value_name = "PORT")]
    registry_port: Option<u16>,
    /// Private range that environments get their networks from [default: 10.213.0.0/16]
    #[arg(long, value_name = "CIDR")]
    subnets: Option<String>,
    /// Image of the server
    #[arg(long, value_name = "IMAGE")]
    server_image: Option<String>,
    /// Image of the edge
    #[arg(long, value_name = "IMAGE")]
    edge_image: Option<String>,
    /// Image of the registry
    #[arg(long, value_name = "IMAGE")]
    registry_image: Option<String>,
    /// Image of BuildKit
    #[arg(long, value_name = "IMAGE")]
    builder_image: Option<String>,
    /// Memory of all builds together, MiB [default: 2048]
    #[arg(long, value_name = "MIB")]
    builder_memory: Option<u64>,
    /// Cores of all builds together [default: 2]
    #[arg(long, value_name = "CORES")]
    builder_cpus: Option<f64>,
    /// Size of the build cache, MB [default: 10240]
    #[arg(long, value_name = "MB")]
    builder_cache: Option<u64>,
    /// Name server of build steps; may be given several times [default: the host's]
    #[arg(long, value_name = "ADDRESS")]
    builder_dns: Vec<String>,
    /// Registry on a private address that images may be deployed from; may be given several times
    #[arg(long, value_name = "HOST:PORT")]
    allow_image_host: Vec<String>,
    /// Mirror by plain HTTP for builds, such as docker.io=172.17.0.1:5000; may be given several times
    #[arg(long, value_name = "REGISTRY=HOST:PORT")]
    builder_mirror: Vec<String>,
    /// Seconds that each container may take until it is healthy
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    wait: u64,
}

/// Carries it out.
pub(super) async fn run(file: Option<&Path>, data_dir: Option<PathBuf>, args: InstallArgs) -> Outcome {
    let file = file.unwrap_or(Path::new(DEFAULT_FILE));
    // Looked at before anything is kept: what can't be installed leaves the configuration as it was.
    let draft = draft_config(file, data_dir.as_deref(), &args)?;
    let config = load(Some(&draft.path), None)?;
    if let Some(finding) = check(&config).into_iter().find(|finding| finding.fatal) {
        return Err(Failure::new(format!("{}: {}", finding.setting, finding.problem), finding.fix));
    }
    let before = Installation::load(&config.data_dir)
        .map_err(|error| Failure::of(error, "mend it by hand, or remove it and give all flags again"))?;
    let installation = choose(before.unwrap_or_default(), file, &args)?;
    let socket = &config.runtime.docker_socket;
    let host = PlatformHost::connect(socket, &installation.name).await.map_err(|error| {
        Failure::of(error, "start the engine (systemctl start docker), and run this as root")
    })?;
    let layout = Layout { config: &config, installation: &installation };
    ports::check(&ports::wanted(&config)?, &held_by_us(&host, &layout).await?)?;
    let fix = format!("run this as root; is `{}` the right file?", file.display());
    if draft.keep().map_err(|error| Failure::of(error, fix))? {
        say(&format!("configuration: {} written", file.display()));
    }
    layout.prepare().map_err(|error| Failure::of(error, "run this as root, on a disk with room"))?;
    installation.save(&config.data_dir).map_err(|error| Failure::of(error, "run this as root"))?;
    start_all(&host, &layout, Duration::from_secs(args.wait)).await?;
    finish(&config, &installation).await
}

/// Makes what the containers mount, and no container.
pub(super) fn prepare(config: &Config) -> Outcome {
    let installation = Installation::load(&config.data_dir).map_err(|error| {
        Failure::of(error, "mend it by hand, or remove it and run `panda-server install` with all flags")
    })?;
    let layout = Layout { config, installation: &installation.unwrap_or_default() };
    layout.prepare().map_err(|error| Failure::of(error, "run this as root, on a disk with room"))
}

/// Drafts what was given; at the first run also what is chosen by the machine.
fn draft_config(file: &Path, data_dir: Option<&Path>, args: &InstallArgs) -> Outcome<Draft> {
    let mut settings: Vec<Setting> = Vec::new();
    let text = |text: &str| Value::String(text.to_owned());
    let number = |port: u16| Value::Integer(i64::from(port));
    let first = !file.exists();
    if let Some(data_dir) = data_dir {
        settings.push((&["data_dir"], text(&data_dir.display().to_string())));
    }
    let apps_domain = args.apps_domain.clone().or_else(|| first.then(default_domain));
    if let Some(domain) = &apps_domain {
        settings.push((&["apps_domain"], text(domain)));
    }
    let public_url = args.public_url.clone().or_else(|| {
        let port =
            args.https_port.filter(|port| *port != 443).map_or(String::new(), |port| format!(":{port}"));
        first.then(|| format!("https://panda.{}{port}", apps_domain.as_deref().unwrap_or("localhost")))
    });
    if let Some(url) = public_url {
        settings.push((&["public_url"], text(&url)));
    }
    if let Some(email) = &args.acme_email {
        settings.push((&["certificates", "acme_email"], text(email)));
        settings.push((&["certificates", "acme_directory"], text(LETS_ENCRYPT)));
    }
    for (path, port) in [(&["edge", "http_port"], args.http_port), (&["edge", "https_port"], args.https_port)]
    {
        settings.extend(port.map(|port| (&path[..], number(port))));
    }
    if let Some(port) = args.api_port {
        settings.push((&["listen", "api"], text(&format!("127.0.0.1:{port}"))));
    }
    if let Some(port) = args.registry_port {
        settings.push((&["registry", "pull_url"], text(&format!("127.0.0.1:{port}"))));
    }
    if !args.allow_image_host.is_empty() {
        let hosts = args.allow_image_host.iter().map(|host| text(host)).collect();
        settings.push((&["registry", "allow_hosts"], Value::Array(hosts)));
    }
    if let Some(subnets) = &args.subnets {
        settings.push((&["runtime", "subnets"], text(subnets)));
    }
    if let Some(mib) = args.builder_memory {
        settings.push((&["builder", "memory_mib"], Value::Integer(i64::try_from(mib).unwrap_or(i64::MAX))));
    }
    let fix = format!("run this as root; is `{}` the right file?", file.display());
    config_file::draft(file, settings).map_err(|error| Failure::of(error, fix))
}

fn default_domain() -> String {
    public_address().map_or("localhost".to_owned(), |ip| format!("{ip}.sslip.io"))
}

fn choose(mut kept: Installation, file: &Path, args: &InstallArgs) -> Outcome<Installation> {
    let path =
        std::path::absolute(file).map_err(|error| Failure::of(error, "give --config an absolute path"))?;
    kept.config_file = path;
    if let Some(name) = &args.name {
        let ok = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if name.is_empty() || name.len() > 40 || !name.chars().all(ok) || name.starts_with('-') {
            return Err(Failure::new(
                format!("`{name}` can't name containers"),
                "use a-z, 0-9 and -, at most 40 of them, such as --name panda-two",
            ));
        }
        kept.name.clone_from(name);
    }
    for (image, given) in [
        (&mut kept.images.server, &args.server_image),
        (&mut kept.images.edge, &args.edge_image),
        (&mut kept.images.registry, &args.registry_image),
        (&mut kept.images.buildkitd, &args.builder_image),
    ] {
        if let Some(given) = given {
            image.clone_from(given);
        }
    }
    if let Some(cpus) = args.builder_cpus {
        kept.builder.cpu_millis = millis(cpus)?;
    }
    if let Some(mb) = args.builder_cache {
        kept.builder.cache_mb = mb;
    }
    if !args.builder_dns.is_empty() {
        kept.builder.dns.clone_from(&args.builder_dns);
    }
    if !args.builder_mirror.is_empty() {
        kept.builder.mirrors.clone_from(&args.builder_mirror);
    }
    Ok(kept)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range is checked first")]
fn millis(cpus: f64) -> Outcome<u32> {
    if !(0.1..=1024.0).contains(&cpus) {
        return Err(Failure::new(format!("--builder-cpus {cpus} is out of range"), "0.1 to 1024"));
    }
    Ok((cpus * 1000.0).round() as u32)
}

/// Returns the addresses that containers of ours hold right now: they run, and what listens there answers as they do.
async fn held_by_us(host: &PlatformHost, layout: &Layout<'_>) -> Outcome<Vec<SocketAddr>> {
    let mut held = Vec::new();
    for port in ports::wanted(layout.config)? {
        let found = host.observe(port.component).await;
        let found = found.map_err(|error| Failure::of(error, "see `docker ps -a`"))?;
        let ours = match port.component {
            Component::Edge => edge_listens(layout.config, port.address).await,
            Component::Registry => super::doctor::registry_listens(layout.config).await,
            component => super::doctor::answers(layout.config, component).await.is_ok(),
        };
        if ours && found.is_some_and(|found| found.running) {
            held.push(port.address);
        }
    }
    Ok(held)
}

async fn edge_listens(config: &Config, address: SocketAddr) -> bool {
    let client =
        panda_edge::client::EdgeClient::new(&config.edge.control).with_deadline(Duration::from_secs(2));
    let status = client.status().await;
    status.is_ok_and(|status| {
        status.listening.http.contains(&address) || status.listening.https.contains(&address)
    })
}

/// Brings every container up, in the order in which they need each other; a registry that runs already comes last. A server
/// that knows tokens works with one that asks for them and with one that doesn't, an older one only with the latter.
async fn start_all(host: &PlatformHost, layout: &Layout<'_>, limit: Duration) -> Outcome {
    let engine = |error: panda_deployer::runtime::RuntimeError| {
        Failure::of(error, "correct what the engine says, then run `panda-server install` again")
    };
    host.ensure_build_network().await.map_err(engine)?;
    let mut order = Component::ALL;
    if host.observe(Component::Registry).await.map_err(engine)?.is_some_and(|registry| registry.running) {
        order.rotate_left(1);
    }
    for component in order {
        let spec = layout.spec(component).map_err(|error| Failure::of(error, "panda-server config check"))?;
        let ensured = match component {
            Component::Registry | Component::Buildkitd => host.ensure(&spec).await.map_err(engine)?,
            Component::Edge => {
                host.ensure_edge(&spec, &layout.config.edge.control, limit).await.map_err(engine)?
            }
            Component::Server => upgrade::ensure_server(host, layout, &spec, limit).await?,
        };
        wait_healthy(host, layout, component, limit).await?;
        say(&format!("{}: {}", component.word(), told(ensured)));
    }
    Ok(())
}

fn told(ensured: Ensured) -> &'static str {
    match ensured {
        Ensured::Unchanged => "runs",
        Ensured::Started => "started again",
        Ensured::Created => "created",
        Ensured::Replaced => "replaced",
    }
}

async fn wait_healthy(
    host: &PlatformHost,
    layout: &Layout<'_>,
    component: Component,
    limit: Duration,
) -> Outcome {
    let begun = std::time::Instant::now();
    loop {
        let Err(error) = super::doctor::answers(layout.config, component).await else { return Ok(()) };
        if begun.elapsed() >= limit {
            let name = host.container_name(component);
            let said = host.last_lines(&name, 5).await.unwrap_or_default();
            let cause = format!("{name} isn't healthy after {} s: {error:#}", limit.as_secs());
            let cause =
                if said.trim().is_empty() { cause } else { format!("{cause}; it said:\n{}", said.trim()) };
            return Err(Failure::new(
                cause,
                format!("docker logs {name}; then run `panda-server install` again"),
            ));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Says what comes next: claiming a new installation, or nothing.
async fn finish(config: &Config, installation: &Installation) -> Outcome {
    for finding in check(config) {
        say(&format!("warning: {}: {} ({})", finding.setting, finding.problem, finding.fix));
    }
    say(&format!(
        "installed: {} on ports {} and {}",
        installation.name, config.edge.http_port, config.edge.https_port
    ));
    let info = super::health::server_info(config)
        .await
        .map_err(|error| Failure::of(error, "panda-server doctor"))?;
    let claimed = info.get("claimed").and_then(serde_json::Value::as_bool) == Some(true);
    if let Some(token) = claim_token::read(config).filter(|_| !claimed) {
        println!("claim token: {token}");
        println!("next: open {}/claim, or: panda login --server {}", config.public_url, config.public_url);
    } else {
        println!("next: panda login --server {}", config.public_url);
    }
    Ok(())
}
