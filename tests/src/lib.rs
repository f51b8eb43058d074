//! End-to-end tests: a whole installation as real processes, and stories about what it does and survives.
//!
//! The library is the story's furniture: [`Installation`] (edge, server and CLI, private to a test), [`App`] (one app in it),
//! [`Ground`] (what `tests/ground/test.sh` set up). The stories are in `tests/it/`.

pub mod api;
pub mod app;
pub mod boundaries;
pub mod docker;
pub mod ground;
pub mod host;
pub mod installation;
pub mod proxy;
mod range;
pub mod source;
mod story;

pub use api::{Api, Refusal};
pub use app::{App, image, tree};
pub use ground::Ground;
pub use host::DockerHost;
pub use installation::{Database, Installation, Options};
pub use source::Source;
pub use story::{host_story, long, story, story_with};
