//! End-to-end tests: a whole installation as real processes, and stories about what it does and survives.
//!
//! The library is the story's furniture: [`Installation`] (edge, server and CLI, private to a test), [`App`] (one app in it),
//! [`Ground`] (what `tests/ground/test.sh` set up). The stories are in `tests/it/`.

pub mod api;
pub mod app;
pub mod boundaries;
pub mod cluster;
pub mod docker;
pub mod ground;
pub mod host;
pub mod installation;
pub mod proxy;
mod range;
pub mod second;
pub mod source;
mod story;

pub use api::{Api, Refusal};
pub use app::{App, image, tree};
pub use cluster::Cluster;
pub use ground::Ground;
pub use host::DockerHost;
pub use installation::{Database, Installation, Options};
pub use second::SecondServer;
pub use source::Source;
pub use story::{cluster_story, cluster_story_with, host_story, long, story, story_with};

/// Tells a story, an `async fn` of this name, once on each runtime: as `NAME::on_docker` and `NAME::on_kubernetes`.
#[macro_export]
macro_rules! on_both_runtimes {
    // Of the full matrix: make test-long.
    (long $story:ident) => {
        mod $story {
            #[test]
            fn on_docker() {
                if $crate::long() {
                    $crate::story(super::$story);
                }
            }

            #[test]
            fn on_kubernetes() {
                if $crate::long() {
                    $crate::cluster_story(super::$story);
                }
            }
        }
    };
    ($story:ident) => {
        mod $story {
            #[test]
            fn on_docker() {
                $crate::story(super::$story);
            }

            #[test]
            fn on_kubernetes() {
                $crate::cluster_story(super::$story);
            }
        }
    };
}
