//! Tests of the builder through its public door.

mod build;
mod ground;
