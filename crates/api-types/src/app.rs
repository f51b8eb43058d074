//! Apps, projects, environments, scale.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::deployment::Deployment;
use crate::domain::Domain;
use crate::instance::Instance;
use crate::port::Port;

/// Makes an app in a project, placed in `production`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AppRequest {
    /// A DNS label of at most 39 characters.
    pub name: String,
    /// `default` unless given; made if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
}

/// A project.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Project {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
}

/// An environment of a project.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Environment {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The project's name.
    pub project: String,
}

/// An app in an environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct App {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The project's name.
    pub project: String,
    /// The environment's name.
    pub environment: String,
    /// Where it answers.
    pub url: String,
    /// The release that serves, as observed; the one that would, while the app is scaled to 0; absent before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<u32>,
    /// `idle` (never deployed), `running`, `degraded`, `deploying`, `down`, `stopped` (scaled to 0), `deleting`; as observed.
    pub state: String,
    /// Why it isn't `running`, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Replicas and size of each process.
    pub processes: BTreeMap<String, ProcessScale>,
    /// When it was made.
    pub created_at: String,
    /// When the state was last observed; absent before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_at: Option<String>,
}

/// Replicas and size of a process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProcessScale {
    /// Wanted instances; between bounds, as many as are wanted now.
    pub replicas: u32,
    /// Between which bounds the number follows the load, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub autoscale: Option<AutoscaleBounds>,
    /// Ready instances, as observed.
    #[serde(default)]
    pub ready: u32,
    /// Thousandths of a core for each.
    pub cpu_millis: u32,
    /// Bytes for each.
    pub memory_bytes: u64,
}

/// Between which bounds, and at what load, the number of a process's instances changes by itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AutoscaleBounds {
    /// The fewest instances.
    pub min: u32,
    /// The most.
    pub max: u32,
    /// The load of the processor to hold, percent of an instance's cores.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_percent: Option<u32>,
    /// The load of the memory to hold, percent of an instance's memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_percent: Option<u32>,
}

/// Sets the bounds of a process, whole. Makes no release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AutoscaleRequest {
    /// The process.
    pub process: String,
    /// The fewest instances, at least 1.
    pub min: u32,
    /// The most.
    pub max: u32,
    /// The load of the processor to hold, 5 to 95 percent; 70 when neither load is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_percent: Option<u32>,
    /// The load of the memory to hold, 5 to 95 percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_percent: Option<u32>,
}

/// A process whose number of instances follows its load, as observed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Autoscaler {
    /// The process.
    pub process: String,
    /// Its bounds, and the loads to hold.
    pub bounds: AutoscaleBounds,
    /// Instances that are wanted now.
    pub replicas: u32,
    /// Ready instances.
    pub ready: u32,
    /// The processor's load now, percent of an instance's cores on average, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_percent: Option<u32>,
    /// The memory's load now, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_percent: Option<u32>,
    /// Why the number doesn't follow the load, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Changes scale. Makes no release.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ScaleRequest {
    /// Process → wanted instances.
    #[serde(default)]
    pub replicas: BTreeMap<String, u32>,
    /// Process → thousandths of a core.
    #[serde(default)]
    pub cpu_millis: BTreeMap<String, u32>,
    /// Process → bytes.
    #[serde(default)]
    pub memory_bytes: BTreeMap<String, u64>,
}

/// Everything about an app at a glance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Status {
    /// The app.
    pub app: App,
    /// Its instances, as observed.
    pub instances: Vec<Instance>,
    /// The newest deployment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployment: Option<Deployment>,
    /// Its domains.
    pub domains: Vec<Domain>,
    /// Its published TCP ports.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<Port>,
    /// Things that people should know: runs as root, env staged but not deployed.
    pub notices: Vec<String>,
}
