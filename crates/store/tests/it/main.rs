//! The store through its public door, on SQLite always, on PostgreSQL where there is one.
#![expect(clippy::unwrap_used, reason = "a test that can't go on has failed")]

mod accounts;
mod apps;
mod backups;
mod blobs;
mod copies;
mod deploys;
mod env;
mod filled;
mod given_certificates;
mod jobs;
mod kept;
mod keys;
mod ports;
mod rollouts;
mod sqlite;
mod support;
