//! Tests of the Kubernetes driver.

mod objects;
