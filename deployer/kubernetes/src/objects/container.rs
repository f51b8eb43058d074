//! The one container of an instance or a task: image, variables, size, and what it may not do.

use std::collections::BTreeMap;

pub use k8s_openapi::api::core::v1::Container;
use k8s_openapi::api::core::v1::{
    Capabilities, EnvVar, EnvVarSource, ObjectFieldSelector, ResourceRequirements, SeccompProfile,
    SecretKeySelector, SecurityContext,
};
use panda_deployer::runtime::{ImageUser, PullImage};
use panda_domain::formation::Size;
use panda_domain::ids::{Id, InstanceId};

use super::{bytes, millis};
use crate::config::Requests;

/// The container's name in every pod: a mesh may add others.
pub const NAME: &str = "app";
/// The user that images of our detectors run as.
pub const USER: i64 = 10001;

/// Why an image is refused that runs as root, where the team does.
pub const REFUSES_ROOT: &str = "it runs as root, which this team refuses; add `USER 10001` to its Dockerfile or let an admin lift the team's setting `security = restricted`";

/// What a foreign image that runs as root keeps: enough to hand its files to its own user and to step down to it.
const ROOT_KEEPS: [&str; 7] =
    ["CHOWN", "DAC_OVERRIDE", "FOWNER", "SETGID", "SETUID", "KILL", "NET_BIND_SERVICE"];
/// The least that is kept free, thousandths of a core.
const LEAST_CPU: u64 = 10;

/// Who the image's process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunsAs {
    /// Our detectors' user.
    Ours,
    /// The image's own, by number: the node makes sure that it isn't root.
    Number,
    /// The image's own, by name: what number that is stands in the image.
    Name,
    /// Root.
    Root,
}

impl RunsAs {
    /// Reads who an image runs as from its `USER`, empty for root.
    pub fn of(user: ImageUser, image_user: &str) -> Self {
        let name = image_user.split(':').next().unwrap_or_default();
        match (user, name, name.parse::<u32>()) {
            (ImageUser::Built, _, _) => Self::Ours,
            (_, "" | "root", _) | (_, _, Ok(0)) => Self::Root,
            (_, _, Ok(_)) => Self::Number,
            (_, _, Err(_)) => Self::Name,
        }
    }
}

/// What all containers of Panda have in common.
#[derive(Debug, Clone)]
pub struct Common<'a> {
    /// The image.
    pub image: &'a PullImage,
    /// Who runs.
    pub runs_as: RunsAs,
    /// argv; `None` runs the image's own command.
    pub command: Option<&'a [String]>,
    /// Names of the variables, whose values lie in the secret.
    pub variables: &'a [String],
    /// That secret's name.
    pub secret: &'a str,
    /// The size.
    pub size: Size,
    /// How much of it is kept free.
    pub requests: Requests,
}

/// Makes the container.
pub fn container(common: &Common<'_>) -> Container {
    Container {
        name: NAME.to_owned(),
        image: Some(common.image.reference()),
        // By digest: what a node has is what is meant.
        image_pull_policy: Some("IfNotPresent".to_owned()),
        // Replaces the image's entrypoint and its arguments.
        command: common.command.map(<[String]>::to_vec).filter(|argv| !argv.is_empty()),
        env: Some(common.variables.iter().map(|name| secret_variable(name, common.secret)).collect()),
        resources: Some(resources(common.size, common.requests)),
        security_context: Some(security(common.runs_as)),
        ..Container::default()
    }
}

/// A variable whose value lies in a secret. Nothing in the value is expanded.
fn secret_variable(name: &str, secret: &str) -> EnvVar {
    let key = SecretKeySelector { name: secret.to_owned(), key: name.to_owned(), optional: None };
    let source = EnvVarSource { secret_key_ref: Some(key), ..EnvVarSource::default() };
    EnvVar { name: name.to_owned(), value: None, value_from: Some(source) }
}

/// The variables that tell an instance its id. Pods are made by the cluster, so that an id is made of the UID that it gives.
pub fn instance_variables() -> [EnvVar; 2] {
    let field =
        ObjectFieldSelector { field_path: "metadata.uid".to_owned(), api_version: Some("v1".to_owned()) };
    let source = EnvVarSource { field_ref: Some(field), ..EnvVarSource::default() };
    [
        EnvVar { name: "PANDA_POD_UID".to_owned(), value: None, value_from: Some(source) },
        EnvVar {
            name: "PANDA_INSTANCE".to_owned(),
            value: Some(format!("{}_$(PANDA_POD_UID)", InstanceId::PREFIX)),
            value_from: None,
        },
    ]
}

/// Returns the limits, and what the scheduler keeps free.
pub fn resources(size: Size, requests: Requests) -> ResourceRequirements {
    let cpu = u64::from(size.cpu_millis);
    let share = (cpu * u64::from(requests.cpu_percent) / 100).max(LEAST_CPU).min(cpu.max(LEAST_CPU));
    // Whole KiB, so that the figure reads well.
    let memory = size.memory_bytes / 100 * u64::from(requests.memory_percent.min(100));
    let memory = if requests.memory_percent >= 100 { size.memory_bytes } else { memory >> 10 << 10 };
    let figures = |cpu: u64, memory: u64| {
        Some(BTreeMap::from([("cpu".to_owned(), millis(cpu)), ("memory".to_owned(), bytes(memory))]))
    };
    ResourceRequirements {
        limits: figures(cpu.max(LEAST_CPU), size.memory_bytes),
        requests: figures(share, memory),
        claims: None,
    }
}

/// Takes away what no app needs.
pub fn security(runs_as: RunsAs) -> SecurityContext {
    let keeps = if runs_as == RunsAs::Root { &ROOT_KEEPS[..] } else { &[] };
    let add = keeps.iter().map(|&cap| cap.to_owned()).collect::<Vec<_>>();
    let ours = (runs_as == RunsAs::Ours).then_some(USER);
    SecurityContext {
        allow_privilege_escalation: Some(false),
        privileged: Some(false),
        capabilities: Some(Capabilities {
            add: Some(add).filter(|add| !add.is_empty()),
            drop: Some(vec!["ALL".to_owned()]),
        }),
        // A name can't be checked by the node, which would refuse to start it.
        run_as_non_root: matches!(runs_as, RunsAs::Ours | RunsAs::Number).then_some(true),
        run_as_user: ours,
        run_as_group: ours,
        seccomp_profile: Some(SeccompProfile { type_: "RuntimeDefault".to_owned(), localhost_profile: None }),
        ..SecurityContext::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_known_by_all_its_spellings() {
        for root in ["", "root", "0", "0:0", "root:root", "00"] {
            assert_eq!(RunsAs::of(ImageUser::Foreign, root), RunsAs::Root, "{root:?}");
        }
        assert_eq!(RunsAs::of(ImageUser::Foreign, "node"), RunsAs::Name);
        assert_eq!(RunsAs::of(ImageUser::ForeignRestricted, "1000:0"), RunsAs::Number);
        assert_eq!(RunsAs::of(ImageUser::Built, ""), RunsAs::Ours);
    }

    #[test]
    fn no_more_is_kept_free_than_an_instance_may_use() {
        let all = Requests { cpu_percent: 100, memory_percent: 100 };
        let size = Size { cpu_millis: 500, memory_bytes: 96 << 20 };
        let full = resources(size, all);
        assert_eq!(full.limits, full.requests);
        let tiny =
            resources(Size { cpu_millis: 5, ..size }, Requests { cpu_percent: 10, memory_percent: 50 });
        assert_eq!(tiny.limits.unwrap()["cpu"], tiny.requests.unwrap()["cpu"]);
    }
}
