//! The Docker driver: the seam of `panda-deployer` carried out by one Docker engine.
//!
//! Owns containers, networks and addresses of this installation. What it needs to know after a crash stands in the
//! labels of the objects, what labels can't hold (drains, released addresses) in small files of its state folder.
//! Must not know the store, deployments or users.

mod addresses;
mod check;
mod config;
mod create;
mod drain;
mod engine;
mod environments;
mod events;
mod exec;
pub mod export;
mod files;
mod images;
mod instances;
mod inventory;
mod labels;
mod listening;
mod logs;
mod manifest;
mod memory;
pub mod platform;
mod probe;
mod pulled;
mod routes;
mod runtime;
mod state_file;
mod tasks;
mod usage;
mod workloads;

pub use config::DockerConfig;
pub use runtime::DockerRuntime;
