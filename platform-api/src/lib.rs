//! What Panda does when it is asked: use-cases ([`app`]), the HTTP API in front of them ([`http`]), and who may ask ([`auth`]).
//!
//! A use-case takes parsed words of the domain and a [`auth::Principal`], never types of a transport; a handler parses, calls
//! one use-case and shows the outcome. Knows the store and the seam to the runtimes, never a concrete driver.

pub mod app;
pub mod auth;
pub mod error;
pub mod http;
mod platform;

pub use error::{Error, Result};
pub use platform::{Platform, PlatformParts, PlatformSettings};
