//! Release → running.
//!
//! Owns the seam to the runtimes ([`runtime`]), the pure decisions ([`mod@plan`], [`desired`], [`diagnosis`]) and the
//! reconcilers that carry them out. Must not know Docker or Kubernetes.

pub mod desired;
pub mod diagnosis;
pub mod plan;
pub mod runtime;
