//! Tests of the builder through its public door.

#![expect(clippy::unwrap_used, reason = "a test that can't go on may panic, its helpers too")]

mod build;
mod cache;
mod extract;
mod ground;
mod job;
mod limits;
mod plan;
mod push;
mod registry;
mod stacks;
mod tls;
