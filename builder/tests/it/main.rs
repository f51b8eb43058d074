//! Tests of the builder through its public door.

mod build;
mod extract;
mod ground;
mod plan;
mod stacks;
