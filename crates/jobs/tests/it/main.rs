//! The engine on real stores: SQLite always, PostgreSQL where there is one.
#![expect(clippy::unwrap_used, reason = "a test that can't go on has failed")]

mod reconcilers;
mod runner;
mod support;
