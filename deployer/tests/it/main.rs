//! Deployments from the wish to what runs, on a real store and the runtime in memory.
#![expect(clippy::unwrap_used, reason = "a test that can't go on has failed")]

mod autoscale;
mod crashes;
mod endings;
mod garbage;
mod ingress;
mod leases;
mod ordered;
mod own;
mod rollout;
mod routes;
mod servers;
mod support;
mod waiting;
mod walk;
