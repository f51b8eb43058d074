//! From source to image: detect, plan, write a Dockerfile, build it on BuildKit, push it by digest.
//!
//! Planning is pure: [`plan::plan`] reads a [`source::SourceView`] and decides. Building has one door,
//! [`build::Builder`]. [`job::BuildJob`] makes builds durable and hands their releases to the rollout.

pub mod build;
pub mod buildkit;
mod detect;
pub mod dockerfile;
pub mod failure;
pub mod images;
pub mod job;
pub mod key;
pub mod log;
pub mod plan;
pub mod registry;
pub mod settings;
pub mod source;
