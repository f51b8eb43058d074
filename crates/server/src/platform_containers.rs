//! The four containers of a Docker host, as this installation wants them.

mod settings;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use panda_docker::platform::{Component, Confinement, Network, PlatformContainerSpec};
use panda_domain::address::is_public;
use panda_domain::clock::Clock;
use panda_registry_token::RegistryKey;
use sha2::{Digest, Sha256};

use crate::config::Config;
pub(crate) use settings::{BuilderLimits, Installation, write_whole};

/// BuildKit's seccomp list: Docker's default with four calls more.
const SECCOMP: &str = include_str!("../../../deploy/images/buildkitd/seccomp.json");
const BUILDKITD_TOML: &str = include_str!("../../../deploy/images/buildkitd/buildkitd.toml");
const BUILDKITD_ENTRY: &str = include_str!("../../../deploy/images/buildkitd/entry.sh");
const REGISTRY_YML: &str = include_str!("../../../deploy/images/registry/config.yml");

/// Seconds that the edge may take to drain after SIGTERM; a little more than its own limit.
const EDGE_GRACE_S: u32 = 70;
const SERVER_GRACE_S: u32 = 30;

/// Folders below the data folder. All hold secrets or doors, hence readable by root alone.
const FOLDERS: [&str; 8] = ["db", "keys", "blobs", "logs", "edge", "run", "buildkit", "platform"];

/// Files below `platform`. The second has the name that versions without tokens give it, and the text: each finds its own.
const REGISTRY_LOGIN: &str = "registry/config.yml";
const REGISTRY_OPEN: &str = "registry.yml";
const REGISTRY_CERTIFICATE: &str = "registry/registry.crt";

/// Whom the registry serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Those who have a token.
    Tokens,
    /// Everybody who reaches it: for a server that knows no tokens.
    Everybody,
}

/// What the containers are made from.
#[derive(Debug, Clone)]
pub(crate) struct Layout<'a> {
    pub(crate) config: &'a Config,
    pub(crate) installation: &'a Installation,
}

impl Layout<'_> {
    /// Makes the folders and writes the files that containers mount.
    pub(crate) fn prepare(&self) -> Result<()> {
        let data = &self.config.data_dir;
        make_private(data)?;
        for folder in FOLDERS {
            make_private(&data.join(folder))?;
        }
        let platform = self.files();
        make_private(&platform.join("buildkitd"))?;
        make_private(&platform.join("registry"))?;
        let key = RegistryKey::load_or_create(&self.config.registry.key_file, Clock::system())?;
        for (path, text) in [
            (REGISTRY_LOGIN, REGISTRY_YML),
            (REGISTRY_OPEN, open(REGISTRY_YML)),
            (REGISTRY_CERTIFICATE, key.certificate_pem()),
            ("buildkitd/buildkitd.toml", BUILDKITD_TOML),
            ("buildkitd/entry.sh", BUILDKITD_ENTRY),
        ] {
            let path = platform.join(path);
            std::fs::write(&path, text).with_context(|| format!("write `{}`", path.display()))?;
        }
        Ok(())
    }

    /// Returns the spec of a component.
    pub(crate) fn spec(&self, component: Component) -> Result<PlatformContainerSpec> {
        match component {
            Component::Registry => self.registry(Access::Tokens),
            Component::Buildkitd => Ok(self.buildkitd()),
            Component::Edge => Ok(self.edge()),
            Component::Server => Ok(self.server()),
        }
    }

    fn files(&self) -> PathBuf {
        self.config.data_dir.join("platform")
    }

    /// Returns the spec of the registry, for those who have a token or, as before there were tokens, for everybody.
    pub(crate) fn registry(&self, access: Access) -> Result<PlatformContainerSpec> {
        let volume = format!("{}-registry:/var/lib/registry", self.installation.name);
        let mount = |source: &str, at: &str| format!("{}:{at}:ro", self.files().join(source).display());
        let address = registry_address(self.config)?;
        let (command, mount, files) = match access {
            Access::Tokens => {
                let certificate = std::fs::read_to_string(self.files().join(REGISTRY_CERTIFICATE));
                let files = digest(&[REGISTRY_YML, &certificate.unwrap_or_default()]);
                ("/etc/panda/config.yml", mount("registry", "/etc/panda"), files)
            }
            Access::Everybody => {
                ("/registry.yml", mount(REGISTRY_OPEN, "/registry.yml"), digest(&[open(REGISTRY_YML)]))
            }
        };
        Ok(PlatformContainerSpec {
            command: vec![command.to_owned()],
            mounts: vec![volume, mount],
            files,
            network: self.build_network("registry"),
            published: vec![(address, 5000)],
            memory_bytes: Some(512 << 20),
            pids: 256,
            ..hardened(Component::Registry, &self.installation.images.registry)
        })
    }

    fn buildkitd(&self) -> PlatformContainerSpec {
        let limits = &self.installation.builder;
        let files = self.files().join("buildkitd");
        let mut env = BTreeMap::from([
            ("PANDA_BUILD_PLAIN_HTTP".to_owned(), self.config.registry.push_url.clone()),
            ("PANDA_BUILD_DNS".to_owned(), name_servers(limits).join(" ")),
            ("PANDA_BUILD_PARALLEL".to_owned(), limits.parallel.to_string()),
            ("PANDA_BUILD_CACHE_MB".to_owned(), limits.cache_mb.to_string()),
        ]);
        if !limits.mirrors.is_empty() {
            env.insert("PANDA_BUILD_MIRRORS".to_owned(), limits.mirrors.join(" "));
        }
        PlatformContainerSpec {
            entrypoint: Some(vec!["/bin/sh".to_owned(), "/etc/panda/entry.sh".to_owned()]),
            env,
            mounts: vec![
                format!("{}-buildkitd:/var/lib/buildkit", self.installation.name),
                format!("{}:/run/panda-buildkit", self.config.data_dir.join("buildkit").display()),
                format!("{}:/etc/panda:ro", files.display()),
            ],
            files: digest(&[BUILDKITD_TOML, BUILDKITD_ENTRY]),
            network: self.build_network("buildkitd"),
            confinement: Confinement::Builder { seccomp: compact(SECCOMP) },
            memory_bytes: Some(self.config.builder.memory_mib << 20),
            cpu_millis: Some(limits.cpu_millis),
            pids: limits.pids,
            // A build dies before an app does.
            oom_score: 500,
            ..hardened(Component::Buildkitd, &self.installation.images.buildkitd)
        }
    }

    fn edge(&self) -> PlatformContainerSpec {
        let (data, edge) = (&self.config.data_dir, &self.config.edge);
        let log = data.join("logs/access.log");
        let state = data.join("edge");
        let command = [
            ("--http", format!("0.0.0.0:{}", edge.http_port)),
            ("--https", format!("0.0.0.0:{}", edge.https_port)),
            ("--control", edge.control.display().to_string()),
            ("--state-dir", state.display().to_string()),
            ("--access-log", log.display().to_string()),
        ];
        PlatformContainerSpec {
            command: command.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]).collect(),
            mounts: vec![same(&state), same(&data.join("logs"))],
            network: Network::Host,
            confinement: Confinement::Hardened { keeps: vec!["NET_BIND_SERVICE".to_owned()] },
            memory_bytes: None,
            pids: 512,
            grace_s: EDGE_GRACE_S,
            ..hardened(Component::Edge, &self.installation.images.edge)
        }
    }

    fn server(&self) -> PlatformContainerSpec {
        let file = &self.installation.config_file;
        let folder = file.parent().unwrap_or(Path::new("/etc/panda"));
        let socket = &self.config.runtime.docker_socket;
        let flags = ["--config".to_owned(), file.display().to_string()];
        let program = "/usr/bin/panda-server".to_owned();
        let health = [&[program][..], &flags[..], &["health".to_owned()][..]].concat();
        let mut mounts = vec![same(&self.config.data_dir), same(socket)];
        if !folder.starts_with(&self.config.data_dir) {
            // The folder and not the file: an editor replaces a file, and the mount would keep the old one.
            mounts.push(format!("{}:ro", same(folder)));
        }
        PlatformContainerSpec {
            command: [&flags[..], &["serve".to_owned()][..]].concat(),
            mounts,
            network: Network::Host,
            // Whose port an instance listens on instead of the right one is read from the host's /proc.
            host_processes: true,
            files: digest(&[&std::fs::read_to_string(file).unwrap_or_default()]),
            memory_bytes: None,
            pids: 1024,
            health: Some(health),
            grace_s: SERVER_GRACE_S,
            ..hardened(Component::Server, &self.installation.images.server)
        }
    }

    fn build_network(&self, alias: &str) -> Network {
        Network::Bridge { name: format!("{}-build", self.installation.name), alias: alias.to_owned() }
    }
}

/// The registry's configuration without its login, which is the last part of it.
fn open(registry_yml: &str) -> &str {
    registry_yml.split_once("# Last in the file:").map_or(registry_yml, |(open, _)| open)
}

/// A container with nothing but an image and no rights.
fn hardened(component: Component, image: &str) -> PlatformContainerSpec {
    PlatformContainerSpec {
        component,
        image: image.to_owned(),
        entrypoint: None,
        command: Vec::new(),
        env: BTreeMap::new(),
        mounts: Vec::new(),
        files: String::new(),
        network: Network::Host,
        published: Vec::new(),
        confinement: Confinement::Hardened { keeps: Vec::new() },
        host_processes: false,
        memory_bytes: None,
        cpu_millis: None,
        pids: 256,
        oom_score: 0,
        health: None,
        grace_s: 10,
    }
}

/// Mounts a path at itself, so that paths mean the same on the host and inside.
fn same(path: &Path) -> String {
    format!("{0}:{0}", path.display())
}

/// Returns where the registry is published; only loopback is trusted by engines without TLS.
pub(crate) fn registry_address(config: &Config) -> Result<SocketAddr> {
    let text = config.registry.pull_url.replace("localhost", "127.0.0.1");
    match text.parse::<SocketAddr>() {
        Ok(address) if address.ip().is_loopback() => Ok(address),
        _ => bail!("registry.pull_url is `{text}`: our own registry needs 127.0.0.1 and a port"),
    }
}

fn make_private(folder: &Path) -> Result<()> {
    use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
    let doing = || format!("make the folder `{}`", folder.display());
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).with_context(doing)?;
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o700)).with_context(doing)
}

fn digest(texts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for text in texts {
        hash.update(text.as_bytes());
    }
    hash.finalize().iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").expect("a string takes all that is written");
        hex
    })
}

/// The engine takes the list as text; what people need to read it costs nothing there.
fn compact(json: &str) -> String {
    let value: serde_json::Value = serde_json::from_str(json).expect("the list in our own folder is JSON");
    value.to_string()
}

/// Returns the name servers of build steps: the host's own, as Docker's resolver doesn't reach into them.
fn name_servers(limits: &BuilderLimits) -> Vec<String> {
    if !limits.dns.is_empty() {
        return limits.dns.clone();
    }
    // With systemd-resolved the first file names a loopback address and the real servers stand in the second.
    ["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"]
        .iter()
        .map(|file| servers_in(&std::fs::read_to_string(file).unwrap_or_default()))
        .find(|servers| !servers.is_empty())
        .unwrap_or_default()
}

fn servers_in(resolv_conf: &str) -> Vec<String> {
    let addresses = resolv_conf.lines().filter_map(|line| line.trim().strip_prefix("nameserver"));
    let addresses = addresses.filter_map(|rest| rest.trim().parse::<IpAddr>().ok());
    addresses.filter(|address| !address.is_loopback()).map(|address| address.to_string()).collect()
}

/// Returns the address by which the world reaches this machine, `None` behind a translator.
pub(crate) fn public_address() -> Option<Ipv4Addr> {
    // Connecting a datagram socket sends nothing: it asks the routing table for our side of the way out.
    let socket = std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).ok()?;
    match socket.local_addr().ok()?.ip() {
        IpAddr::V4(ip) if is_public(ip.into()) => Some(ip),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use panda_registry_token::{ISSUER, REALM, SERVICE};

    use super::*;

    #[test]
    fn build_steps_get_the_hosts_name_servers_but_no_loopback_one() {
        let text = "# made by hand\nnameserver 127.0.0.53\nnameserver 10.0.0.2\nnameserver ::1\nnameserver fd00::1\noptions edns0\n";
        assert_eq!(servers_in(text), ["10.0.0.2", "fd00::1"]);
    }

    #[test]
    fn the_builder_is_confined_and_the_server_keeps_no_capability() {
        let config = Config::load(None, None, None).unwrap();
        let installation = Installation::default();
        let layout = Layout { config: &config, installation: &installation };
        let builder = layout.spec(Component::Buildkitd).unwrap();
        assert!(
            matches!(builder.confinement, Confinement::Builder { ref seccomp } if seccomp.contains("keyctl"))
        );
        assert_eq!(builder.memory_bytes, Some(2048 << 20));
        assert!(builder.published.is_empty(), "no TCP door");
        let server = layout.spec(Component::Server).unwrap();
        assert_eq!(server.confinement, Confinement::Hardened { keeps: vec![] });
        assert!(server.mounts.contains(&"/var/run/docker.sock:/var/run/docker.sock".to_owned()));
        assert_eq!(server.command, ["--config", "/etc/panda/server.toml", "serve"]);
    }

    #[test]
    fn the_registry_asks_for_tokens_as_they_are_made_and_an_open_one_for_nothing() {
        for said in [REALM, SERVICE, ISSUER].map(|word| format!(": {word}\n")) {
            assert!(REGISTRY_YML.contains(&said), "{said}");
            assert!(!open(REGISTRY_YML).contains(&said));
        }
        assert!(open(REGISTRY_YML).contains("storage:") && !open(REGISTRY_YML).contains("auth:"));
    }

    #[test]
    fn a_registry_with_another_key_is_another_container_and_the_key_itself_is_not_mounted() {
        let folder = tempfile::tempdir().unwrap();
        let config = Config::load(None, None, Some(folder.path().to_owned())).unwrap();
        let installation = Installation::default();
        let layout = Layout { config: &config, installation: &installation };
        let prepared = || {
            layout.prepare().unwrap();
            layout.spec(Component::Registry).unwrap()
        };
        let first = prepared();
        assert_eq!(first, prepared(), "nothing changed");
        assert!(first.mounts.iter().all(|mount| !mount.contains("/keys")), "{:?}", first.mounts);
        assert!(first.env.is_empty());
        std::fs::remove_file(&config.registry.key_file).unwrap();
        assert_ne!(first.files, prepared().files);
        assert_ne!(layout.registry(Access::Everybody).unwrap().mounts, first.mounts);
    }

    #[test]
    fn the_registry_is_published_on_loopback_only() {
        let mut config = Config::load(None, None, None).unwrap();
        assert_eq!(registry_address(&config).unwrap().to_string(), "127.0.0.1:7050");
        config.registry.pull_url = "0.0.0.0:7050".into();
        assert!(registry_address(&config).is_err());
    }
}
