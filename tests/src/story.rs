//! Runs a story against an installation of its own.

use std::sync::{Condvar, Mutex, PoisonError};

use panda_test_support::skip::skip;

use crate::cluster::Cluster;
use crate::ground::Ground;
use crate::host::DockerHost;
use crate::installation::{Installation, Options};

/// Installations at the same time: more would only measure the machine.
const AT_ONCE: u32 = 2;

static RUNNING: Mutex<u32> = Mutex::new(0);
static ENDED: Condvar = Condvar::new();

struct Turn;

impl Turn {
    fn wait() -> Self {
        let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        while *running >= AT_ONCE {
            running = ENDED.wait(running).unwrap_or_else(PoisonError::into_inner);
        }
        *running += 1;
        Self
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        *RUNNING.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        ENDED.notify_one();
    }
}

/// Starts the usual installation and tells the story with it; skips by the test's name where the ground isn't set up.
#[track_caller]
pub fn story(body: impl AsyncFnOnce(&Installation) -> anyhow::Result<()>) {
    story_with(|_| Ok(Options::default()), body);
}

/// The same with an installation that differs.
#[track_caller]
pub fn story_with(
    options: impl FnOnce(&Ground) -> anyhow::Result<Options>,
    body: impl AsyncFnOnce(&Installation) -> anyhow::Result<()>,
) {
    // libtest runs each test on a thread of its name.
    let name = std::thread::current().name().unwrap_or("main").to_owned();
    let Some(ground) = Ground::or_skip(&name) else { return };
    let _turn = Turn::wait();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime starts");
    let told = runtime.block_on(async {
        let panda = Installation::start_with(&ground, options(&ground)?).await?;
        let told = body(&panda).await;
        if told.is_err() {
            panda.print_logs();
        }
        told
    });
    if let Err(error) = told {
        panic!("{error:#}");
    }
}

/// Tells the story with an installation on the run's cluster; skips where there is none.
#[track_caller]
pub fn cluster_story(body: impl AsyncFnOnce(&Installation) -> anyhow::Result<()>) {
    cluster_story_with(|_| Ok(Options::default()), body);
}

/// The same with an installation that differs.
#[track_caller]
pub fn cluster_story_with(
    options: impl FnOnce(&Ground) -> anyhow::Result<Options>,
    body: impl AsyncFnOnce(&Installation) -> anyhow::Result<()>,
) {
    let Some(cluster) = Cluster::of_the_run() else {
        return skip("kubernetes-runtime", "KUBECONFIG names no cluster with an ingress");
    };
    story_with(|ground| Ok(Options { cluster: Some(cluster), ..options(ground)? }), body);
}

/// Prepares a Docker host and tells the story with it; skips like [`story`].
#[track_caller]
pub fn host_story(body: impl AsyncFnOnce(DockerHost) -> anyhow::Result<()>) {
    let name = std::thread::current().name().unwrap_or("main").to_owned();
    let Some(ground) = Ground::or_skip(&name) else { return };
    let _turn = Turn::wait();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime starts");
    if let Err(error) = runtime.block_on(async { body(DockerHost::prepare(&ground)?).await }) {
        panic!("{error:#}");
    }
}

/// Tells whether the full matrix is wanted (`make test-long`).
pub fn long() -> bool {
    std::env::var("PANDA_TEST_LONG").is_ok_and(|value| value == "1")
}
