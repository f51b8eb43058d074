//! Builds that want more than the builder has: they end with a reason, and the daemon lives on.

use std::time::{Duration, Instant};

use panda_builder::buildkit::BuildkitConfig;
use panda_builder::failure::BuildError;
use panda_builder::log::BuildEvent;
use panda_domain::failure::FailureCode;
use panda_test_support::spare_builder::SpareBuilder;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::ground::{Ground, app, dockerfile, failed, variable};

#[tokio::test]
async fn a_build_that_eats_memory_is_killed_and_says_so_and_the_next_one_works() {
    let Some(ground) = Ground::find() else { return };
    // Set only where the builder runs in its container, with a memory limit.
    if variable("PANDA_TEST_BUILD_PUSH").is_none() {
        return;
    }
    let failure = failed(
        ground.build(ground.request(&app("build-eats-memory"), &dockerfile("build-eats-memory"))).await.0,
    );
    assert_eq!(failure.failure.code, FailureCode::P106);
    assert!(failure.failure.cause.contains("out of memory (limit 2048 MiB)"), "{failure}");
    let mut next = ground.request(&app("hello-node"), "FROM node:22-slim\nRUN echo fine\n");
    next.use_cache = false;
    ground.build(next).await.0.unwrap();
}

#[tokio::test]
async fn a_build_that_loses_a_child_to_the_memory_limit_says_so_though_its_own_exit_code_does_not() {
    let Some(ground) = Ground::find() else { return };
    if variable("PANDA_TEST_BUILD_PUSH").is_none() {
        return;
    }
    // As `make` does it: the child's death is printed, and the exit code is another one.
    let text = dockerfile("build-eats-memory").trim_end().to_owned()
        + " || { echo \"make: *** Error $?\"; exit 2; }\n";
    let failure = failed(ground.build(ground.request(&app("build-eats-memory"), &text)).await.0);
    assert_eq!(failure.failure.code, FailureCode::P106, "{failure:?}");
    assert!(failure.failure.cause.contains("out of memory (limit 2048 MiB)"), "{failure}");
}

#[tokio::test]
async fn a_build_that_starts_processes_without_end_says_so_and_the_next_one_works() {
    // A daemon of its own: builds beside it would miss the processes, too.
    let Some(spare) = SpareBuilder::prepare("forks").unwrap() else { return };
    spare.start(&[]).unwrap();
    let Some(ground) = Ground::at(&BuildkitConfig { address: spare.address(), tls: None }) else { return };
    let text = "FROM node:22-slim\nRUN while true; do sleep 1000 & done\n";
    let failure = failed(ground.build(ground.request(&app("hello-node"), text)).await.0);
    assert_eq!(failure.failure.code, FailureCode::P109, "{failure:?}");
    assert!(failure.failure.cause.contains("more processes than the builder allows"), "{failure}");
    let next = ground.request(&app("hello-node"), "FROM node:22-slim\nRUN echo fine\n");
    ground.build(next).await.0.unwrap();
}

/// Starts processes for as long as it lives, and says so when it can't for the first time.
const BOMB: &str = r#"FROM node:22-slim
RUN node -e "let said; const full = () => said || console.log(said = 'no more'); setInterval(() => { for (let i = 0; i < 200; i++) \
    try { require('child_process').spawn('sleep', ['1000']).on('error', full) } catch { full() } }, 10)"
"#;

#[tokio::test]
async fn a_build_that_holds_all_processes_can_be_canceled_and_the_builder_is_free_again() {
    let Some(spare) = SpareBuilder::prepare("bomb").unwrap() else { return };
    spare.start(&[]).unwrap();
    let Some(ground) = Ground::at(&BuildkitConfig { address: spare.address(), tls: None }) else { return };
    let fine = || {
        let mut request = ground.request(&app("hello-node"), "FROM node:22-slim\nRUN echo fine\n");
        request.use_cache = false;
        ground.build(request)
    };
    let (sink, mut events) = mpsc::channel(64);
    let cancel = CancellationToken::new();
    let stop = async {
        while let Some(event) = events.recv().await {
            if matches!(&event, BuildEvent::Line { text, .. } if text == "no more") {
                break;
            }
        }
        // What it meets passes: the job tries it again.
        let beside = async { failed(fine().await.0) };
        let rest = async { while events.recv().await.is_some() {} };
        tokio::pin!(rest);
        let beside = tokio::select! { beside = beside => beside, () = &mut rest => panic!("the bomb ended by itself") };
        assert_eq!((beside.failure.code, beside.transient), (FailureCode::P111, true), "{beside:?}");
        cancel.cancel();
        rest.await;
    };
    let bomb = ground.request(&app("hello-node"), BOMB);
    let (result, ()) = tokio::join!(ground.builder.build(bomb, sink, cancel.clone()), stop);
    assert!(matches!(result, Err(BuildError::Canceled)), "{result:?}");
    let canceled = Instant::now();
    while let Err(error) = fine().await.0 {
        assert!(canceled.elapsed() < Duration::from_secs(20), "the builder isn't free again: {error}");
    }
}
