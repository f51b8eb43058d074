//! Tests of the Kubernetes driver.

mod export;
mod kubernetes;
mod objects;
