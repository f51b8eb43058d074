//! The words of Panda as types: what may be known without doing anything.
//!
//! Owns names, ids, states and their legal transitions, and the shape of `panda.toml`. Knows no
//! database, no network, no clock of its own: time and ids come in as [`clock::Clock`] and
//! [`ids::IdSource`].

pub mod address;
pub mod app;
pub mod autoscale;
pub mod build;
pub mod clock;
pub mod deployment;
pub mod env;
pub mod event;
pub mod failure;
pub mod formation;
pub mod ids;
pub mod image;
pub mod instance;
pub mod job;
pub mod manifest;
pub mod names;
pub mod port;
pub mod release;
pub mod request;
pub mod route;
pub mod secret;
pub mod source;
pub mod source_tree;
pub mod team;
