//! The edge: TLS, routing and holding of requests, the Docker runtime's ingress.
//!
//! Owns what happens between a client's connection and an instance. Knows only the snapshot of
//! routes and certificates that it was given; no database, no container engine, no API.

mod access_log;
mod account;
mod answer;
pub mod client;
mod client_io;
mod control;
mod guard;
mod handover;
mod headers;
mod hold;
pub mod local_ca;
mod metrics;
mod page;
mod persist;
pub mod port_holder;
mod ports;
pub mod protocol;
mod proxy;
mod registry;
mod server;
mod shared;
mod table;
mod tcp;
mod tls;
mod upgrade;
mod upstream;
mod worker;

pub use access_log::AccessLogTarget;
pub use persist::PersistError;
pub use server::{Edge, EdgeConfig, StartError};
pub use shared::{InvalidNetwork, Limits, Network};
pub use tls::{CertificateError, TlsError};
