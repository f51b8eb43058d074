//! The seam between the platform and what runs containers.
//!
//! Four narrow traits that one object implements. The contract of all calls: idempotent; none waits for readiness; all ids
//! are ours; everything a driver needs to find its objects again after a crash is written on the objects themselves. A
//! driver never reads the store. The conformance suite in `panda-test-support` runs the same tests against every driver.

mod error;
pub mod fake;
mod inspect;
mod routes;
mod tasks;
mod turns;
mod workloads;

pub use error::{RuntimeError, RuntimeResult};
pub use inspect::{
    Capabilities, Check, CheckState, ExecRequest, ExecSession, ExecSize, Inspect, LogChunk, LogQuery,
    LogStream, LogTarget, ObservedAutoscaler, Usage,
};
pub use routes::{
    CertificateSpec, ChallengeSpec, ObservedRoutes, OrderedCertificate, PortSpec, RouteSpec, RouteTable,
    RouteTarget, Routes,
};
pub use tasks::{TaskKey, TaskSpec, TaskStatus, Tasks};
pub use turns::{Turn, Turns};
pub use workloads::{
    EnvironmentKey, EnvironmentSpec, FileSpec, ImageUser, Inventory, ObservedInstance, ObservedWorkload,
    Progress, PullImage, ResolvedImage, RuntimeEvent, SecretEnv, WorkloadKey, WorkloadSpec, Workloads,
};

/// One runtime: everything the platform asks of Docker or Kubernetes.
pub trait Runtime: Workloads + Routes + Tasks + Inspect {}

impl<T: Workloads + Routes + Tasks + Inspect> Runtime for T {}
