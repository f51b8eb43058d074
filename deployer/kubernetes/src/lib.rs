//! The Kubernetes driver: the seam of `panda-deployer` carried out by a cluster.
//!
//! Owns the objects that carry this installation's label, and touches no others. What it needs to know after a crash stands on
//! the objects themselves. Must not know the store, deployments or users.

mod config;
mod labels;
mod names;
pub mod objects;

pub use config::{Acme, DefaultLimits, EgressRules, KubernetesConfig, Quota, RegistryEndpoint, Requests};
