//! Release → running.
//!
//! Owns the seam to the runtimes ([`runtime`]), the pure decisions (`desired`, `plan`) and the reconcilers that
//! carry them out. Must not know Docker or Kubernetes, nor where the state is kept beyond `panda-store`.

pub mod runtime;
