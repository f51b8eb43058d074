//! The operator's settings: defaults < `/etc/panda/server.toml` < `PANDA_SECTION__KEY` < flags. Every mistake is named.

mod check;
mod kubernetes;

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use panda_domain::port::PortRange;
use serde::{Deserialize, Serialize};

pub(crate) use check::check;
pub(crate) use kubernetes::{Kubernetes, TcpService};

/// Where the file lies unless `--config` says otherwise.
pub(crate) const DEFAULT_FILE: &str = "/etc/panda/server.toml";

/// All settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Config {
    /// State: `db`, `keys`, `blobs`, `logs`, `edge`.
    pub data_dir: PathBuf,
    /// The platform's own address, as people and clients use it.
    pub public_url: String,
    /// The domain that apps get their hosts in; empty chooses by the machine's address.
    pub apps_domain: String,
    /// The addresses that people point their domains at. Empty: this machine's; in a cluster none is asked for.
    pub apps_addresses: Vec<IpAddr>,
    /// The DNS server that is asked about domains, as `address:port`; empty: those of the system. One outside, where the inside sees
    /// other records than the internet.
    pub resolver: String,
    /// Where the API listens.
    pub listen: Listen,
    /// Where the state is kept.
    pub database: Database,
    /// What runs containers.
    pub runtime: Runtime,
    /// The cluster, where that runs them.
    pub kubernetes: Kubernetes,
    /// The ingress.
    pub edge: Edge,
    /// Where images lie.
    pub registry: Registry,
    /// What builds images.
    pub builder: Builder,
    /// Certificates.
    pub certificates: Certificates,
    /// Keys for what is encrypted at rest.
    pub keys: Keys,
    /// What is kept and for how long.
    pub garbage: Garbage,
    /// Logs of the server itself.
    pub log: Log,
}

/// Where the API listens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Listen {
    /// TCP. On a Docker host loopback only: the edge brings requests from outside. In a cluster its ingress does.
    pub api: SocketAddr,
    /// Where a cluster's ingress controllers have their addresses: their word on who sends a request is believed.
    pub proxies: Vec<IpNet>,
    /// The TCP ports that apps may publish by `[[ports]]`, such as `20000-20099`; empty: none. On a Docker host the edge listens on
    /// them, in a cluster they are ports of the nodes or of balancers.
    pub tcp_ports: String,
    /// Unix socket for the operator: metrics, backup of a running server. Empty: below the data folder.
    pub operator_socket: PathBuf,
}

/// Where the state is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Database {
    /// `sqlite:///path` or `postgres://…`; empty: SQLite below the data folder. `DATABASE_URL` sets it too.
    pub url: String,
    /// Connections at most.
    pub max_connections: u32,
    /// Seconds that one statement may take.
    pub statement_timeout_s: u32,
}

/// What runs containers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Runtime {
    /// Which one; an installation keeps what it began with.
    pub kind: RuntimeKind,
    /// The engine's socket.
    pub docker_socket: PathBuf,
    /// Private range that environments get their networks from.
    pub subnets: String,
}

/// Which runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RuntimeKind {
    /// One host with a Docker engine.
    Docker,
    /// A cluster.
    Kubernetes,
}

impl RuntimeKind {
    /// Returns its word in the file.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Kubernetes => "kubernetes",
        }
    }
}

/// The ingress.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Edge {
    /// Its control socket. Empty: below the data folder.
    pub control: PathBuf,
    /// The HTTPS port that people see.
    pub https_port: u16,
    /// The HTTP port that people see; ACME asks on 80.
    pub http_port: u16,
}

/// Where images lie.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Registry {
    /// Host (and port) that the builder pushes to.
    pub push_url: String,
    /// Host (and port) that the runtime pulls from.
    pub pull_url: String,
    /// How the server itself reaches the platform's own registry in a cluster, such as `http://panda-registry:5000`. Empty there:
    /// the registry is somebody else's. On a Docker host it follows from `pull_url`.
    pub own_url: String,
    /// The key that signs tokens for the platform's own registry. Empty: below the data folder.
    pub key_file: PathBuf,
    /// Whether the push host speaks plain HTTP.
    pub insecure: bool,
    /// Registries that a cluster's nodes ask in place of others, as `docker.io=host:port`, so that the server asks there too.
    pub mirrors: Vec<String>,
    /// Registries on private addresses that images may be deployed from, as `host:port`; all others there are refused.
    pub allow_hosts: Vec<String>,
}

/// What builds images.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Builder {
    /// BuildKit's address. Empty: the socket below the data folder.
    pub address: String,
    /// The authority that the certificate of a builder at a TCP address is checked by. Such a one needs all three files.
    pub ca_file: PathBuf,
    /// The certificate that we show it.
    pub cert_file: PathBuf,
    /// Its key.
    pub key_file: PathBuf,
    /// Builds at the same time.
    pub concurrency: usize,
    /// The builder's memory limit, MiB, for what people are told.
    pub memory_mib: u64,
}

/// Certificates.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::struct_field_names, reason = "they are the names in the file: `certificates.acme_email`")]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Certificates {
    /// The ACME directory; empty: only the local authority.
    pub acme_directory: String,
    /// Address that the authority may write to.
    pub acme_email: String,
    /// A PEM file with the authority's own CA, for private ones.
    pub acme_ca_file: PathBuf,
}

/// Keys for what is encrypted at rest.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Keys {
    /// The key file. Empty: `keys/master.key` below the data folder, made at the first start.
    pub file: PathBuf,
    /// A program (argv) that prints the key, instead of a file: the hook for a KMS.
    pub command: Vec<String>,
}

/// What is kept and for how long.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Garbage {
    /// The newest releases of each app and environment that stay whole: source, build log, image.
    pub keep_releases: u32,
    /// Days that ended tasks, jobs and other builds can still be looked at.
    pub keep_days: u32,
    /// Seconds that an upload stays after its last use, deployed or not.
    pub upload_grace_s: u32,
    /// Seconds that a container or network without an owner is watched before it is removed.
    pub orphan_grace_s: u32,
    /// Seconds between two looks.
    pub every_s: u32,
}

/// Logs of the server itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Log {
    /// `text` or `json`.
    pub format: String,
    /// A filter such as `info` or `info,panda_deployer=debug`.
    pub filter: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from("/var/lib/panda"),
            public_url: "https://panda.localhost".to_owned(),
            apps_domain: String::new(),
            apps_addresses: Vec::new(),
            resolver: String::new(),
            listen: Listen::default(),
            database: Database::default(),
            runtime: Runtime::default(),
            kubernetes: Kubernetes::default(),
            edge: Edge::default(),
            registry: Registry::default(),
            builder: Builder::default(),
            certificates: Certificates::default(),
            keys: Keys::default(),
            garbage: Garbage::default(),
            log: Log::default(),
        }
    }
}

impl Default for Listen {
    fn default() -> Self {
        Self {
            api: SocketAddr::from(([127, 0, 0, 1], 7080)),
            proxies: Vec::new(),
            tcp_ports: String::new(),
            operator_socket: PathBuf::new(),
        }
    }
}

impl Default for Database {
    fn default() -> Self {
        Self { url: String::new(), max_connections: 8, statement_timeout_s: 10 }
    }
}

impl Default for Runtime {
    fn default() -> Self {
        Self {
            kind: RuntimeKind::Docker,
            docker_socket: PathBuf::from("/var/run/docker.sock"),
            subnets: "10.213.0.0/16".to_owned(),
        }
    }
}

impl Default for Edge {
    fn default() -> Self {
        Self { control: PathBuf::new(), https_port: 443, http_port: 80 }
    }
}

impl Default for Registry {
    fn default() -> Self {
        Self {
            push_url: "registry:5000".to_owned(),
            pull_url: "127.0.0.1:7050".to_owned(),
            own_url: String::new(),
            key_file: PathBuf::new(),
            insecure: true,
            mirrors: Vec::new(),
            allow_hosts: Vec::new(),
        }
    }
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            address: String::new(),
            ca_file: PathBuf::new(),
            cert_file: PathBuf::new(),
            key_file: PathBuf::new(),
            concurrency: 2,
            memory_mib: 2048,
        }
    }
}

impl Default for Garbage {
    fn default() -> Self {
        // A day: the slowest upload has ended by then, and a directory that changed little is sent quickly again.
        Self { keep_releases: 20, keep_days: 7, upload_grace_s: 24 * 3600, orphan_grace_s: 300, every_s: 300 }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { format: "text".to_owned(), filter: "info".to_owned() }
    }
}

/// The settings can't be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// A file that was named isn't there.
    #[error("the configuration file `{}` isn't there", .0.display())]
    Absent(PathBuf),
    /// Something in file or environment is wrong.
    #[error("the configuration can't be used: {0}")]
    Invalid(#[from] config::ConfigError),
}

/// Tells whether a variable is a setting of the server. The command line and the edge have variables of their own,
/// `PANDA_TOKEN` for one, which are no mistake here; one with a section that doesn't exist is.
fn is_ours(variable: &str) -> bool {
    let Some(rest) = variable.strip_prefix("PANDA_") else { return false };
    matches!(rest, "DATA_DIR" | "PUBLIC_URL" | "APPS_DOMAIN" | "APPS_ADDRESSES" | "RESOLVER")
        || rest.contains("__")
}

impl Config {
    /// Reads file and environment. A file that is named has to be there; the default one may be absent.
    pub(crate) fn load(
        file: Option<&Path>,
        database_url: Option<String>,
        data_dir: Option<PathBuf>,
    ) -> Result<Self, ConfigError> {
        if let Some(file) = file
            && !file.exists()
        {
            return Err(ConfigError::Absent(file.to_owned()));
        }
        let path = file.unwrap_or(Path::new(DEFAULT_FILE));
        let environment = config::Environment::with_prefix("PANDA")
            .prefix_separator("_")
            .separator("__")
            .try_parsing(true)
            .source(Some(std::env::vars().filter(|(name, _)| is_ours(name)).collect()));
        let mut loaded: Self = config::Config::builder()
            .add_source(config::File::from(path).format(config::FileFormat::Toml).required(file.is_some()))
            .add_source(
                environment
                    .list_separator(" ")
                    .with_list_parse_key("keys.command")
                    .with_list_parse_key("registry.allow_hosts")
                    .with_list_parse_key("apps_addresses")
                    .with_list_parse_key("registry.mirrors")
                    .with_list_parse_key("listen.proxies")
                    .with_list_parse_key("kubernetes.closed_ranges")
                    .with_list_parse_key("kubernetes.open_ranges"),
            )
            .build()?
            .try_deserialize()?;
        if let Some(url) = database_url.filter(|url| !url.is_empty()) {
            loaded.database.url = url;
        }
        if let Some(data_dir) = data_dir {
            loaded.data_dir = data_dir;
        }
        loaded.fill_in();
        Ok(loaded)
    }

    /// Replaces what is left empty by what follows from the rest.
    fn fill_in(&mut self) {
        let data = self.data_dir.clone();
        let fill = |path: &mut PathBuf, below: &str| {
            if path.as_os_str().is_empty() {
                *path = data.join(below);
            }
        };
        fill(&mut self.listen.operator_socket, "run/operator.sock");
        fill(&mut self.edge.control, "edge/control.sock");
        fill(&mut self.keys.file, "keys/master.key");
        fill(&mut self.registry.key_file, "keys/registry.key");
        if self.database.url.is_empty() {
            self.database.url = format!("sqlite://{}", data.join("db/panda.db").display());
        }
        if self.builder.address.is_empty() {
            self.builder.address = format!("unix://{}", data.join("buildkit/buildkitd.sock").display());
        }
        if self.apps_domain.is_empty() {
            "localhost".clone_into(&mut self.apps_domain);
        }
    }

    /// Returns the base URL by which this process reaches the registry.
    pub(crate) fn registry_url(&self) -> String {
        if !self.registry.own_url.is_empty() {
            return self.registry.own_url.trim_end_matches('/').to_owned();
        }
        let scheme = if self.registry.insecure { "http" } else { "https" };
        format!("{scheme}://{}", self.registry.pull_url)
    }

    /// Returns the ports that apps may publish; none while the setting is no range, which [`check`] refuses.
    pub(crate) fn tcp_ports(&self) -> PortRange {
        self.listen.tcp_ports.parse().unwrap_or_default()
    }

    /// Returns the settings as people may read them: a password in the database's URL is a hole.
    pub(crate) fn redacted(&self) -> Self {
        let mut shown = self.clone();
        if let Some((scheme, rest)) = shown.database.url.clone().split_once("://")
            && let Some((login, place)) = rest.rsplit_once('@')
        {
            let user = login.split(':').next().unwrap_or_default();
            shown.database.url = format!("{scheme}://{user}:…@{place}");
        }
        shown
    }

    /// Returns the host of the platform's own address.
    pub(crate) fn platform_host(&self) -> String {
        let rest = self.public_url.split_once("://").map_or(self.public_url.as_str(), |(_, rest)| rest);
        let authority = rest.split('/').next().unwrap_or_default();
        authority.rsplit_once(':').map_or(authority, |(host, _)| host).to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_of_the_command_line_and_the_edge_are_not_settings() {
        for other in ["PANDA_TOKEN", "PANDA_SERVER", "PANDA_CONFIG", "PANDA_EDGE_HTTP", "DATABASE_URL"] {
            assert!(!is_ours(other), "{other}");
        }
        for ours in ["PANDA_PUBLIC_URL", "PANDA_EDGE__HTTP_PORT", "PANDA_LISTN__API"] {
            assert!(is_ours(ours), "{ours}");
        }
    }
}
