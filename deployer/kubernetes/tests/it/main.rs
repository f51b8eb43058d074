//! Tests of the Kubernetes driver.

mod kubernetes;
mod objects;
