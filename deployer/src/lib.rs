//! Release → running.
//!
//! Owns the seam to the runtimes ([`runtime`]), the pure decisions ([`mod@plan`], [`desired`], [`diagnosis`]) and the
//! reconcilers that carry them out ([`rollout`], [`routes`], [`certificates`], [`garbage`]). Must not know Docker or Kubernetes.

pub mod autoscale;
pub mod certificates;
pub mod deadlines;
pub mod desired;
pub mod destroy;
pub mod diagnosis;
pub mod dns;
pub mod error;
pub mod export;
pub mod garbage;
pub mod listening;
pub mod log_line;
pub mod plan;
pub mod resolve;
pub mod rollout;
pub mod routes;
pub mod runtime;
pub mod settings;
pub mod tasks;
mod waiting;
