//! Labels: the identity of our containers and networks, and every fact that is needed to look after them.
//!
//! A restarted driver knows nothing but these. Names of containers are for people only.

use std::collections::HashMap;

use panda_deployer::runtime::{EnvironmentKey, TaskKey, WorkloadKey, WorkloadSpec};
use panda_domain::ids::{InstanceId, PlacementId};
use panda_domain::release::{HealthCheck, Shutdown};
use serde::{Deserialize, Serialize};

use crate::create::Host;

pub(crate) const INSTALLATION: &str = "dev.panda.installation";
pub(crate) const KIND: &str = "dev.panda.kind";
pub(crate) const TEAM: &str = "dev.panda.team";
pub(crate) const ENVIRONMENT: &str = "dev.panda.environment";
pub(crate) const PLACEMENT: &str = "dev.panda.placement";
pub(crate) const APP: &str = "dev.panda.app";
pub(crate) const PROCESS: &str = "dev.panda.process";
pub(crate) const RELEASE: &str = "dev.panda.release";
pub(crate) const RELEASE_NUMBER: &str = "dev.panda.release-number";
pub(crate) const REVISION: &str = "dev.panda.revision";
pub(crate) const INSTANCE: &str = "dev.panda.instance";
pub(crate) const SPEC_HASH: &str = "dev.panda.spec-hash";
pub(crate) const FACTS: &str = "dev.panda.facts";
pub(crate) const TASK: &str = "dev.panda.task";
pub(crate) const ADDRESS: &str = "dev.panda.address";
pub(crate) const DEADLINE: &str = "dev.panda.deadline-ms";

/// Values of the label [`KIND`].
pub(crate) const KIND_INSTANCE: &str = "instance";
pub(crate) const KIND_TASK: &str = "task";
pub(crate) const KIND_ENVIRONMENT: &str = "environment";

/// What the driver has to know to look after a running instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Facts {
    pub(crate) port: Option<u16>,
    pub(crate) address: String,
    pub(crate) health: HealthCheck,
    pub(crate) shutdown: Shutdown,
    pub(crate) runs_as_root: bool,
    /// Names by which other instances of the environment find this one.
    pub(crate) aliases: Vec<String>,
}

/// Who an instance is, as its labels say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) key: WorkloadKey,
    pub(crate) instance: InstanceId,
    pub(crate) app: String,
    pub(crate) release_number: u32,
    pub(crate) spec_hash: String,
    pub(crate) facts: Facts,
}

impl Identity {
    /// Reads the labels of an instance; `None` when they aren't those of one.
    pub(crate) fn read(labels: &HashMap<String, String>) -> Option<Self> {
        if labels.get(KIND)? != KIND_INSTANCE {
            return None;
        }
        let key = WorkloadKey {
            environment: environment(labels)?,
            placement: parse(labels, PLACEMENT)?,
            process: parse(labels, PROCESS)?,
            release: parse(labels, RELEASE)?,
            revision: parse(labels, REVISION)?,
        };
        Some(Self {
            key,
            instance: parse(labels, INSTANCE)?,
            app: labels.get(APP)?.clone(),
            release_number: parse(labels, RELEASE_NUMBER)?,
            spec_hash: labels.get(SPEC_HASH)?.clone(),
            facts: serde_json::from_str(labels.get(FACTS)?).ok()?,
        })
    }

    /// Returns the address that requests go to, `ip:port`.
    pub(crate) fn endpoint(&self) -> Option<String> {
        self.facts.port.map(|port| self.at(port))
    }

    /// Returns the address of another of its ports, `ip:port`.
    pub(crate) fn at(&self, port: u16) -> String {
        format!("{}:{port}", self.facts.address)
    }
}

/// Returns the labels that all instances of a workload share.
pub(crate) fn of_workload(host: &Host, spec: &WorkloadSpec) -> HashMap<String, String> {
    let mut labels = of_environment(host, &spec.key.environment);
    labels.extend([
        (KIND.to_owned(), KIND_INSTANCE.to_owned()),
        (PLACEMENT.to_owned(), spec.key.placement.to_string()),
        (APP.to_owned(), spec.app.to_string()),
        (PROCESS.to_owned(), spec.key.process.to_string()),
        (RELEASE.to_owned(), spec.key.release.to_string()),
        (RELEASE_NUMBER.to_owned(), spec.release_number.to_string()),
        (REVISION.to_owned(), spec.key.revision.to_string()),
    ]);
    labels
}

/// Returns the labels of an environment's network.
pub(crate) fn of_environment(host: &Host, key: &EnvironmentKey) -> HashMap<String, String> {
    let others = host.labels.iter().map(|(name, value)| (name.clone(), value.clone()));
    let ours = [
        (INSTALLATION.to_owned(), host.installation.clone()),
        (KIND.to_owned(), KIND_ENVIRONMENT.to_owned()),
        (TEAM.to_owned(), key.team.to_string()),
        (ENVIRONMENT.to_owned(), key.environment.to_string()),
    ];
    // Ours last: nobody's label stands in for an identity.
    others.chain(ours).collect()
}

/// Reads whose environment an object belongs to.
pub(crate) fn environment(labels: &HashMap<String, String>) -> Option<EnvironmentKey> {
    Some(EnvironmentKey { team: parse(labels, TEAM)?, environment: parse(labels, ENVIRONMENT)? })
}

/// Reads the placement, if there is one.
pub(crate) fn placement(labels: &HashMap<String, String>) -> Option<PlacementId> {
    parse(labels, PLACEMENT)
}

/// Filters that select the instances of one workload.
pub(crate) fn select_workload(installation: &str, key: &WorkloadKey) -> Vec<String> {
    let mut filters = select_environment(installation, &key.environment, KIND_INSTANCE);
    filters.push(format!("{PLACEMENT}={}", key.placement));
    filters.push(format!("{PROCESS}={}", key.process));
    filters.push(format!("{RELEASE}={}", key.release));
    filters.push(format!("{REVISION}={}", key.revision));
    filters
}

/// Filters that select the objects of one kind in an environment.
pub(crate) fn select_environment(installation: &str, key: &EnvironmentKey, kind: &str) -> Vec<String> {
    let mut filters = select_kind(installation, kind);
    filters.push(format!("{ENVIRONMENT}={}", key.environment));
    filters.push(format!("{TEAM}={}", key.team));
    filters
}

/// Filters that select one task.
pub(crate) fn select_task(installation: &str, key: &TaskKey) -> Vec<String> {
    let mut filters = select_environment(installation, &key.environment, KIND_TASK);
    filters.push(format!("{TASK}={}", key.task));
    filters
}

/// Filters that select the objects of one kind.
pub(crate) fn select_kind(installation: &str, kind: &str) -> Vec<String> {
    vec![format!("{INSTALLATION}={installation}"), format!("{KIND}={kind}")]
}

fn parse<T: std::str::FromStr>(labels: &HashMap<String, String>, name: &str) -> Option<T> {
    labels.get(name)?.parse().ok()
}
