//! What the engine is asked to create: pure functions from our words to Docker's.

mod harden;
mod hash;

use std::collections::{BTreeMap, HashMap};
use std::net::Ipv4Addr;

use bollard::models::{
    ContainerCreateBody, EndpointIpamConfig, EndpointSettings, HealthConfig, HostConfig, HostConfigLogConfig,
    NetworkingConfig, RestartPolicy, RestartPolicyNameEnum,
};
use panda_deployer::runtime::{ImageUser, RuntimeResult, SecretEnv, TaskSpec, WorkloadSpec};
use panda_domain::formation::Size;
use panda_domain::ids::InstanceId;
use panda_domain::names::ProcessName;

use crate::environments::network_name;
use crate::labels::{self, Facts};
pub(crate) use harden::{ROOT_KEEPS, USER, is_root, refuse_root};
pub(crate) use hash::whole as hash_whole;

/// What the host decides about every container.
#[derive(Debug, Clone)]
pub(crate) struct Host {
    pub(crate) installation: String,
    /// Labels that mean nothing to us.
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) pids_limit: i64,
    /// Cores of the machine: the engine refuses more.
    pub(crate) cores: u32,
    /// Whether the engine has an init process to give.
    pub(crate) init: bool,
}

/// A workload's create request without what differs between its instances.
#[derive(Debug, Clone)]
pub(crate) struct Template {
    body: ContainerCreateBody,
    facts: Facts,
    /// Hash over everything but values of variables and the size.
    pub(crate) spec_hash: String,
}

impl Template {
    /// Makes the request for a workload whose image runs as `image_user` unless told otherwise.
    pub(crate) fn of_workload(host: &Host, spec: &WorkloadSpec, image_user: &str) -> RuntimeResult<Self> {
        let root = spec.user != ImageUser::Built && is_root(image_user);
        if root && spec.user == ImageUser::ForeignRestricted {
            return Err(refuse_root(&spec.image.reference()));
        }
        let mut body = common(host, spec.user, root, spec.size, spec.command.as_deref());
        body.env = Some(environment(&spec.env));
        body.stop_signal = Some(spec.shutdown.signal.clone());
        body.stop_timeout = Some(i64::from(spec.shutdown.grace_s));
        body.image = Some(spec.image.reference());
        body.labels = Some(labels::of_workload(host, spec));
        let config = body.host_config.get_or_insert_default();
        config.network_mode = Some(network_name(&spec.key.environment));
        config.restart_policy = Some(RestartPolicy {
            name: Some(RestartPolicyNameEnum::UNLESS_STOPPED),
            maximum_retry_count: None,
        });
        let facts = Facts {
            port: spec.port,
            address: String::new(),
            health: spec.health.clone(),
            shutdown: spec.shutdown.clone(),
            runs_as_root: root,
            aliases: if spec.discoverable { aliases(spec) } else { Vec::new() },
        };
        let spec_hash = hash::of(&body);
        Ok(Self { body, facts, spec_hash })
    }

    /// Completes the request for one instance.
    pub(crate) fn instance(
        &self,
        spec: &WorkloadSpec,
        id: &InstanceId,
        address: Ipv4Addr,
    ) -> ContainerCreateBody {
        let mut body = self.body.clone();
        let facts = Facts { address: address.to_string(), ..self.facts.clone() };
        body.hostname = Some(format!("{}-{}", spec.key.process, short(id.as_str())));
        body.env.get_or_insert_default().push(format!("PANDA_INSTANCE={id}"));
        body.labels.get_or_insert_default().extend([
            (labels::INSTANCE.to_owned(), id.to_string()),
            (labels::ADDRESS.to_owned(), address.to_string()),
            (labels::SPEC_HASH.to_owned(), self.spec_hash.clone()),
            (labels::FACTS.to_owned(), serde_json::to_string(&facts).expect("facts are plain data")),
        ]);
        body.networking_config = Some(endpoint(&network_name(&spec.key.environment), address, facts.aliases));
        body
    }
}

/// Returns the names by which others find the process: `<app>` for `web`, `<process>.<app>` for the rest.
pub(crate) fn aliases(spec: &WorkloadSpec) -> Vec<String> {
    match spec.port {
        None => Vec::new(),
        Some(_) if spec.key.process == ProcessName::web() => vec![spec.app.to_string()],
        Some(_) => vec![format!("{}.{}", spec.key.process, spec.app)],
    }
}

/// Makes the request for a task.
pub(crate) fn task(
    host: &Host,
    spec: &TaskSpec,
    image_user: &str,
    address: Ipv4Addr,
    deadline_ms: i64,
) -> RuntimeResult<ContainerCreateBody> {
    let root = spec.user != ImageUser::Built && is_root(image_user);
    if root && spec.user == ImageUser::ForeignRestricted {
        return Err(refuse_root(&spec.image.reference()));
    }
    let network = network_name(&spec.key.environment);
    let mut body = common(host, spec.user, root, spec.size, Some(&spec.command));
    body.env = Some(environment(&spec.env));
    body.image = Some(spec.image.reference());
    body.hostname = Some(format!("task-{}", short(spec.key.task.as_str())));
    body.tty = Some(spec.tty);
    body.open_stdin = Some(spec.tty);
    let mut labels = labels::of_environment(host, &spec.key.environment);
    labels.extend([
        (labels::KIND.to_owned(), labels::KIND_TASK.to_owned()),
        (labels::PLACEMENT.to_owned(), spec.placement.to_string()),
        (labels::APP.to_owned(), spec.app.to_string()),
        (labels::ADDRESS.to_owned(), address.to_string()),
        (labels::TASK.to_owned(), spec.key.task.to_string()),
        (labels::DEADLINE.to_owned(), deadline_ms.to_string()),
    ]);
    body.labels = Some(labels);
    let config = body.host_config.get_or_insert_default();
    config.network_mode = Some(network.clone());
    config.restart_policy =
        Some(RestartPolicy { name: Some(RestartPolicyNameEnum::NO), maximum_retry_count: None });
    body.networking_config = Some(endpoint(&network, address, Vec::new()));
    Ok(body)
}

/// Returns how a container joins its network.
pub(crate) fn endpoint(network: &str, address: Ipv4Addr, aliases: Vec<String>) -> NetworkingConfig {
    NetworkingConfig {
        endpoints_config: Some(HashMap::from([(network.to_owned(), settings(address, aliases))])),
    }
}

/// Returns the endpoint itself: the address that we chose and the names.
pub(crate) fn settings(address: Ipv4Addr, aliases: Vec<String>) -> EndpointSettings {
    EndpointSettings {
        ipam_config: Some(EndpointIpamConfig {
            ipv4_address: Some(address.to_string()),
            ..EndpointIpamConfig::default()
        }),
        aliases: Some(aliases),
        ..EndpointSettings::default()
    }
}

/// Returns the engine's figure for a share of the machine, which it refuses beyond the machine's cores.
pub(crate) fn nano_cpus(size: Size, cores: u32) -> i64 {
    i64::from(size.cpu_millis.clamp(10, cores.max(1) * 1000)) * 1_000_000
}

/// Returns bytes as the engine counts them.
pub(crate) fn memory(size: Size) -> i64 {
    i64::try_from(size.memory_bytes).unwrap_or(i64::MAX)
}

/// Returns the last characters of an id, enough to tell instances apart by eye.
pub(crate) fn short(id: &str) -> &str {
    id.get(id.len().saturating_sub(4)..).unwrap_or(id)
}

fn common(
    host: &Host,
    user: ImageUser,
    root: bool,
    size: Size,
    command: Option<&[String]>,
) -> ContainerCreateBody {
    let mut config = HostConfig {
        memory: Some(memory(size)),
        // The sum of memory and swap: the same figure means no swap.
        memory_swap: Some(memory(size)),
        nano_cpus: Some(nano_cpus(size, host.cores)),
        pids_limit: Some(host.pids_limit),
        init: host.init.then_some(true),
        log_config: Some(rotation()),
        ..HostConfig::default()
    };
    harden::apply(&mut config, user, root);
    let (entrypoint, cmd) = match command {
        Some([program, arguments @ ..]) => (Some(vec![program.clone()]), Some(arguments.to_vec())),
        _ => (None, None),
    };
    ContainerCreateBody {
        user: harden::user(user),
        entrypoint,
        cmd,
        // The image's own check would only cost: ours are made from outside.
        healthcheck: Some(HealthConfig { test: Some(vec!["NONE".to_owned()]), ..HealthConfig::default() }),
        host_config: Some(config),
        ..ContainerCreateBody::default()
    }
}

/// Returns how the engine rotates a container's log.
pub(crate) fn rotation() -> HostConfigLogConfig {
    let config = [("max-size", "10m"), ("max-file", "5")].map(|(k, v)| (k.to_owned(), v.to_owned()));
    HostConfigLogConfig { typ: Some("json-file".to_owned()), config: Some(HashMap::from(config)) }
}

fn environment(env: &SecretEnv) -> Vec<String> {
    env.0.iter().map(|(key, value)| format!("{key}={}", value.reveal())).collect()
}
