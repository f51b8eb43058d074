//! What a platform container is made of: pure functions from our words to Docker's.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;

use bollard::models::{
    ContainerCreateBody, EndpointSettings, HealthConfig, HostConfig, NetworkingConfig, PortBinding,
    RestartPolicy, RestartPolicyNameEnum,
};

use crate::create;

pub(super) const PLATFORM: &str = "dev.panda.platform";
pub(super) const COMPONENT: &str = "dev.panda.component";
pub(super) const SPEC_HASH: &str = "dev.panda.spec-hash";

/// A part of the platform that runs as a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Component {
    /// Where images lie.
    Registry,
    /// BuildKit's daemon.
    Buildkitd,
    /// The ingress.
    Edge,
    /// API, jobs and reconcilers.
    Server,
}

impl Component {
    /// All, in the order in which they are started.
    pub const ALL: [Self; 4] = [Self::Registry, Self::Buildkitd, Self::Edge, Self::Server];

    /// Returns its name in lower case.
    pub fn word(self) -> &'static str {
        match self {
            Self::Registry => "registry",
            Self::Buildkitd => "buildkitd",
            Self::Edge => "edge",
            Self::Server => "server",
        }
    }
}

/// Which network a platform container is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Network {
    /// The host's own.
    Host,
    /// A bridge network, where others find the container by `alias`.
    Bridge {
        /// Name of the network.
        name: String,
        /// Name in the network.
        alias: String,
    },
}

/// What a platform container may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Confinement {
    /// No capability but these, and none to be gained.
    Hardened {
        /// Capabilities that it keeps.
        keeps: Vec<String>,
    },
    /// Docker's default capabilities and `SYS_ADMIN`, under a seccomp list of ours: what BuildKit needs.
    Builder {
        /// The list, JSON.
        seccomp: String,
    },
}

/// A platform container as it shall be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlatformContainerSpec {
    /// Which part it is.
    pub component: Component,
    /// The image's reference.
    pub image: String,
    /// The program, instead of the image's.
    pub entrypoint: Option<Vec<String>>,
    /// The program's arguments.
    pub command: Vec<String>,
    /// Variables. They show in `docker inspect`: no secrets.
    pub env: BTreeMap<String, String>,
    /// Mounts as `source:target` or `source:target:ro`; a source without `/` is a named volume.
    pub mounts: Vec<String>,
    /// Digest of files that are mounted: another one replaces the container.
    pub files: String,
    /// Where it listens and is found.
    pub network: Network,
    /// Host addresses that lead to ports of the container.
    pub published: Vec<(SocketAddr, u16)>,
    /// What it may do.
    pub confinement: Confinement,
    /// Whether it sees the host's processes.
    pub host_processes: bool,
    /// Bytes of memory; no swap beyond.
    pub memory_bytes: Option<u64>,
    /// Thousandths of a core.
    pub cpu_millis: Option<u32>,
    /// Processes and threads.
    pub pids: i64,
    /// How early the kernel picks it when memory is short, 0 to 1000: an engine without rights can't go below.
    pub oom_score: i64,
    /// Command that tells whether it is healthy.
    pub health: Option<Vec<String>>,
    /// Seconds between SIGTERM and SIGKILL.
    pub grace_s: u32,
}

/// Makes the create request, with the hash of itself in a label.
pub(super) fn body(
    platform: &str,
    spec: &PlatformContainerSpec,
    image_id: &str,
    cores: u32,
) -> ContainerCreateBody {
    let hash = hash(platform, spec, image_id, cores);
    let mut body = unlabelled(spec, cores);
    body.labels = Some(HashMap::from(
        [(PLATFORM, platform), (COMPONENT, spec.component.word()), (SPEC_HASH, &hash)]
            .map(|(name, value)| (name.to_owned(), value.to_owned())),
    ));
    body
}

/// Hashes everything that makes a container another one, the image's content included: a tag may move.
pub(super) fn hash(platform: &str, spec: &PlatformContainerSpec, image_id: &str, cores: u32) -> String {
    let mut body = unlabelled(spec, cores);
    let facts = [("platform", platform), ("image", image_id), ("files", &spec.files)];
    body.labels = Some(facts.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
    create::hash_whole(&body)
}

fn unlabelled(spec: &PlatformContainerSpec, cores: u32) -> ContainerCreateBody {
    let memory = spec.memory_bytes.map(|bytes| i64::try_from(bytes).unwrap_or(i64::MAX));
    let mut host = HostConfig {
        binds: Some(spec.mounts.clone()),
        restart_policy: Some(RestartPolicy {
            name: Some(RestartPolicyNameEnum::ALWAYS),
            maximum_retry_count: None,
        }),
        memory,
        memory_swap: memory,
        // The engine refuses more cores than there are.
        nano_cpus: spec.cpu_millis.map(|millis| i64::from(millis.min(cores * 1000)) * 1_000_000),
        pids_limit: Some(spec.pids),
        pid_mode: spec.host_processes.then(|| "host".to_owned()),
        oom_score_adj: Some(spec.oom_score),
        log_config: Some(create::rotation()),
        privileged: Some(false),
        ..HostConfig::default()
    };
    confine(&mut host, &spec.confinement);
    host.port_bindings = Some(spec.published.iter().map(|(at, port)| binding(*at, *port)).collect());
    let networking_config = match &spec.network {
        Network::Host => {
            host.network_mode = Some("host".to_owned());
            None
        }
        Network::Bridge { name, alias } => {
            host.network_mode = Some(name.clone());
            let settings =
                EndpointSettings { aliases: Some(vec![alias.clone()]), ..EndpointSettings::default() };
            Some(NetworkingConfig { endpoints_config: Some(HashMap::from([(name.clone(), settings)])) })
        }
    };
    ContainerCreateBody {
        image: Some(spec.image.clone()),
        entrypoint: spec.entrypoint.clone(),
        cmd: Some(spec.command.clone()),
        env: Some(spec.env.iter().map(|(key, value)| format!("{key}={value}")).collect()),
        exposed_ports: Some(spec.published.iter().map(|(_, port)| format!("{port}/tcp")).collect()),
        healthcheck: Some(healthcheck(spec.health.as_deref())),
        stop_timeout: Some(i64::from(spec.grace_s)),
        host_config: Some(host),
        networking_config,
        ..ContainerCreateBody::default()
    }
}

fn confine(host: &mut HostConfig, confinement: &Confinement) {
    let words = |words: &[&str]| Some(words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>());
    match confinement {
        Confinement::Hardened { keeps } => {
            host.cap_drop = words(&["ALL"]);
            host.cap_add = Some(keeps.clone());
            host.security_opt = words(&["no-new-privileges"]);
        }
        Confinement::Builder { seccomp } => {
            host.cap_add = words(&["SYS_ADMIN"]);
            // AppArmor's default profile forbids the mounts that a snapshot is made of.
            host.security_opt = words(&[&format!("seccomp={seccomp}"), "apparmor=unconfined"]);
        }
    }
}

fn binding(at: SocketAddr, port: u16) -> (String, Option<Vec<PortBinding>>) {
    let binding = PortBinding { host_ip: Some(at.ip().to_string()), host_port: Some(at.port().to_string()) };
    (format!("{port}/tcp"), Some(vec![binding]))
}

fn healthcheck(command: Option<&[String]>) -> HealthConfig {
    const SECOND_NS: i64 = 1_000_000_000;
    let Some(command) = command else {
        return HealthConfig { test: Some(vec!["NONE".to_owned()]), ..HealthConfig::default() };
    };
    let test = std::iter::once("CMD".to_owned()).chain(command.iter().cloned());
    HealthConfig {
        test: Some(test.collect()),
        interval: Some(30 * SECOND_NS),
        timeout: Some(10 * SECOND_NS),
        retries: Some(3),
        start_period: Some(30 * SECOND_NS),
        ..HealthConfig::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> PlatformContainerSpec {
        PlatformContainerSpec {
            component: Component::Registry,
            image: "registry:2".into(),
            entrypoint: None,
            command: vec!["/registry.yml".into()],
            env: BTreeMap::new(),
            mounts: vec!["panda-registry:/var/lib/registry".into()],
            files: "a".into(),
            network: Network::Bridge { name: "panda-build".into(), alias: "registry".into() },
            published: vec![("127.0.0.1:7050".parse().unwrap(), 5000)],
            confinement: Confinement::Hardened { keeps: vec![] },
            host_processes: false,
            memory_bytes: Some(512 << 20),
            cpu_millis: None,
            pids: 256,
            oom_score: 0,
            health: None,
            grace_s: 10,
        }
    }

    #[test]
    fn a_container_differs_when_image_limits_variables_or_mounted_files_do() {
        let hash_of = |change: fn(&mut PlatformContainerSpec)| {
            let mut spec = spec();
            change(&mut spec);
            hash("panda", &spec, "sha256:1", 2)
        };
        let same = hash_of(|_| {});
        assert_eq!(same, hash_of(|_| {}));
        assert_ne!(same, hash("panda", &spec(), "sha256:2", 2), "a tag that moved");
        assert_ne!(same, hash_of(|spec| spec.memory_bytes = Some(1 << 30)));
        assert_ne!(same, hash_of(|spec| spec.files = "b".into()));
        assert_ne!(same, hash_of(|spec| drop(spec.env.insert("A".into(), "1".into()))));
        assert_ne!(
            hash_of(|spec| drop(spec.env.insert("A".into(), "1".into()))),
            hash_of(|spec| drop(spec.env.insert("A".into(), "2".into())))
        );
    }

    #[test]
    fn no_platform_container_is_privileged_and_only_the_builder_has_sys_admin() {
        let hardened = body("panda", &spec(), "sha256:1", 2).host_config.unwrap();
        assert_eq!(hardened.privileged, Some(false));
        assert_eq!(hardened.cap_drop.unwrap(), ["ALL"]);
        assert!(hardened.cap_add.unwrap().is_empty());
        let builder =
            PlatformContainerSpec { confinement: Confinement::Builder { seccomp: "{}".into() }, ..spec() };
        let builder = body("panda", &builder, "sha256:1", 2).host_config.unwrap();
        assert_eq!(builder.privileged, Some(false));
        assert_eq!(builder.cap_add.unwrap(), ["SYS_ADMIN"]);
        assert!(builder.security_opt.unwrap().contains(&"seccomp={}".to_owned()));
    }
}
