//! The Kubernetes driver: the seam of `panda-deployer` carried out by a cluster.
//!
//! Owns the objects that carry this installation's label, and touches no others. What it needs to know after a crash stands on
//! the objects themselves. Must not know the store, deployments or users.

mod autoscalers;
mod causes;
mod check;
mod cluster;
mod config;
mod covers;
mod environments;
mod exec;
pub mod export;
mod images;
mod keepsakes;
mod labels;
mod listening;
mod logs;
mod manifest;
mod names;
pub mod objects;
mod pods;
mod quantity;
mod reasons;
mod routes;
mod runtime;
mod services;
mod tasks;
mod usage;
mod view;
mod workloads;

pub use config::{Acme, DefaultLimits, EgressRules, KubernetesConfig, Quota, RegistryEndpoint, Requests};
pub use keepsakes::{Keepsakes, Parts};
pub use runtime::KubernetesRuntime;
