//! The edge: TLS, routing and holding of requests, the Docker runtime's ingress.
//!
//! Owns what happens between a client's connection and an instance. Knows only the snapshot of
//! routes and certificates that it was given; no database, no container engine, no API.

pub mod client;
pub mod local_ca;
pub mod protocol;
