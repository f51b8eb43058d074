//! A builder whose disk is full: the build says so, the apps don't notice, and all goes on once there is room.

use panda_api_types::Deployment;
use panda_e2e::{App, Options, Source, story_with, tree};
use panda_test_support::spare_builder::SpareBuilder;

/// Room for a base image and a little more.
const DISK_MB: u32 = 900;
/// Takes what is left on the builder's disk.
const FILLER: &str = "/var/lib/buildkit/filler";

#[test]
fn a_builder_whose_disk_is_full_fails_builds_with_the_reason_and_builds_again_once_there_is_room() {
    let spare = SpareBuilder::prepare("disk").expect("the ground's scripts answer");
    let Some(spare) = spare.map(|spare| spare.with_disk(DISK_MB).expect("the engine makes a volume")) else {
        return;
    };
    spare.start(&[]).expect("buildkitd starts");
    story_with(
        |_| {
            let builder = ("PANDA_BUILDER__ADDRESS".to_owned(), spare.address());
            Ok(Options { settings: vec![builder], ..Options::default() })
        },
        async |panda| {
            let app = App::create(panda, "web").await?;
            let source = Source::sample("hello-node")?;
            app.deploy_source(&source).await?;
            let prober = app.probe()?;

            // A build that fills it by itself, to the last block.
            let fill = "RUN dd if=/dev/zero of=/most bs=1M || dd if=/dev/zero of=/rest bs=4k";
            let greedy = Source::of(&[("Dockerfile", &format!("FROM node:22-slim\n{fill}\n"))])?;
            let ended = app.deploy(&tree(&app.upload(&greedy).await?)).await?;
            full(&ended);
            assert!(ended.fix.is_some_and(|fix| fix.contains("has emptied its cache")));

            // Somebody else has filled it: nothing of a build finds room.
            let _ = spare.inside(&["dd", "if=/dev/zero", &format!("of={FILLER}"), "bs=4k"]);
            source.change("server.js", "'v1'", "'v2'")?;
            full(&app.deploy(&tree(&app.upload(&source).await?)).await?);
            spare.inside(&["rm", FILLER])?;

            source.change("server.js", "'v2'", "'v3'")?;
            app.deploy_source(&source).await?;
            assert!(app.fetch("/").await?.1.starts_with("hello from v3"));
            prober.stop().assert_no_failures();
            Ok(())
        },
    );
}

/// Demands an end that names the disk and what to do.
#[track_caller]
fn full(ended: &Deployment) {
    assert_eq!(
        (ended.state.as_str(), ended.failure_code.as_deref()),
        ("build_failed", Some("P110")),
        "{ended:#?}"
    );
    let (cause, fix) = (ended.cause.as_deref().unwrap_or_default(), ended.fix.as_deref().unwrap_or_default());
    assert!(cause.contains("the builder's disk is full") && fix.contains("disk"), "{ended:#?}");
}
