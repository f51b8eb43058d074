//! What has to stay and what may go: releases, builds, images.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use panda_domain::deployment::DeploymentState;
use panda_domain::ids::ReleaseId;
use panda_domain::image::Digest;
use panda_domain::release::{HttpConfig, ReleaseConfig, ReleaseImage};
use panda_domain::source::Source;
use panda_store::testing::TestStore;
use panda_store::{BuildRow, DoomedImage, NewBuild, NewRelease, ReleaseRow, Tx};

use crate::support::{World, begin, new_deployment, on_each, world};

const REPOSITORY: &str = "acme/shop";

fn digest(n: usize) -> Digest {
    format!("sha256:{n:064}").parse().unwrap()
}

/// A build that succeeded with image `n`.
pub(crate) async fn build(test: &TestStore, tx: &mut Tx, world: &World, n: usize) -> BuildRow {
    let new = NewBuild {
        team: world.team.id.clone(),
        placement: world.placement.clone(),
        deployment: test.store.ids().next(),
        build_key: format!("key {n}"),
    };
    let row = tx.insert_build(&new).await.unwrap();
    tx.finish_build(&row.id, REPOSITORY, &digest(n), "{}", "{}").await.unwrap();
    tx.build(&world.team.id, &row.id).await.unwrap().unwrap()
}

pub(crate) async fn release(tx: &mut Tx, world: &World, build: &BuildRow) -> ReleaseRow {
    let config = ReleaseConfig {
        processes: BTreeMap::new(),
        release_command: None,
        files: BTreeMap::new(),
        ports: Vec::new(),
        http: HttpConfig::default(),
        rollout_timeout_s: 300,
        release_timeout_s: 600,
        auto_rollback: true,
    };
    let image = ReleaseImage {
        repository: REPOSITORY.to_owned(),
        digest: build.digest.clone().unwrap(),
        own_registry: true,
        built_here: true,
    };
    let new = NewRelease {
        team: world.team.id.clone(),
        placement: world.placement.clone(),
        image,
        config,
        source: Source::Upload { tree: "sha256:aa".to_owned(), git_sha: None },
        env_version: 0,
        build: Some(build.id.clone()),
        copy_of: None,
        actor: world.actor.clone(),
    };
    tx.insert_release(&new).await.unwrap()
}

async fn kept(tx: &mut Tx, keep: u32) -> Vec<ReleaseId> {
    let mut kept: Vec<_> = tx.kept_releases(keep).await.unwrap().into_iter().map(|r| r.release).collect();
    kept.sort();
    kept
}

async fn unneeded(tx: &mut Tx, keep: u32, before: Timestamp) -> Vec<BuildRow> {
    tx.unneeded_builds(keep, before, 100).await.unwrap()
}

#[tokio::test]
async fn the_newest_releases_stay_and_those_that_are_in_use_or_were_live_last() {
    on_each(async |test| {
        let world = world(&test.store, "acme").await;
        let mut tx = begin(test).await;
        let mut made = Vec::new();
        for n in 1..=9 {
            test.clock.advance(Duration::from_secs(1));
            let built = build(test, &mut tx, &world, n).await;
            made.push(release(&mut tx, &world, &built).await.id);
        }
        assert_eq!(kept(&mut tx, 2).await, made[7..]);
        tx.set_desired(&world.placement, &made[0], 0).await.unwrap();
        tx.set_last_good(&world.placement, &made[1], 0).await.unwrap();
        assert_eq!(kept(&mut tx, 2).await, [&made[..2], &made[7..]].concat());

        let new = new_deployment(&world.team.id, &world.placement, &world.actor);
        for of in [2, 3, 4, 5] {
            test.clock.advance(Duration::from_secs(1));
            let queued = tx.insert_deployment(&new).await.unwrap();
            tx.attach_release(&queued.id, &made[of]).await.unwrap();
            let releasing = tx.advance_deployment(&queued, DeploymentState::Releasing).await.unwrap();
            assert!(kept(&mut tx, 2).await.contains(&made[of]), "a deployment is about it");
            let rolling = tx.advance_deployment(&releasing, DeploymentState::Rolling).await.unwrap();
            let live = tx.advance_deployment(&rolling, DeploymentState::Live).await.unwrap();
            tx.advance_deployment(&live, DeploymentState::Superseded).await.unwrap();
        }
        let lived = [&made[..2], &made[4..6], &made[7..]].concat();
        assert_eq!(kept(&mut tx, 2).await, lived, "the two that were live last");
    })
    .await;
}

#[tokio::test]
async fn a_build_goes_when_nothing_needs_it_and_its_image_with_it() {
    on_each(async |test| {
        let world = world(&test.store, "acme").await;
        let mut tx = begin(test).await;
        let (old, twin, new) = (
            build(test, &mut tx, &world, 1).await,
            build(test, &mut tx, &world, 1).await,
            build(test, &mut tx, &world, 2).await,
        );
        for built in [&old, &twin, &new] {
            release(&mut tx, &world, built).await;
        }
        let before = test.clock.now() + Duration::from_secs(1);
        assert_eq!(unneeded(&mut tx, 1, test.clock.now()).await, [], "it ended a moment ago");
        let gone = unneeded(&mut tx, 1, before).await;
        assert_eq!(gone.len(), 2);
        assert!(!tx.delete_unneeded_build(&new, 1, before).await.unwrap());
        assert!(tx.delete_unneeded_build(&old, 1, before).await.unwrap());
        assert_eq!(tx.take_doomed_images(1, 10).await.unwrap(), [], "another build has the same image");
        assert!(tx.delete_unneeded_build(&twin, 1, before).await.unwrap());
        let doomed = DoomedImage { repository: REPOSITORY.to_owned(), digest: digest(1).to_string() };

        assert!(tx.rescue_image(REPOSITORY, &doomed.digest).await.unwrap());
        assert_eq!(tx.take_doomed_images(1, 10).await.unwrap(), [], "it was pushed again");
        let again = build(test, &mut tx, &world, 1).await;
        assert!(tx.delete_unneeded_build(&again, 1, before).await.unwrap());
        release(&mut tx, &world, &twin).await;
        assert_eq!(tx.take_doomed_images(1, 10).await.unwrap(), [], "the newest release went back to it");
        release(&mut tx, &world, &new).await;
        let again = build(test, &mut tx, &world, 1).await;
        assert!(tx.delete_unneeded_build(&again, 1, before).await.unwrap());
        for _ in 0..2 {
            assert_eq!(tx.take_doomed_images(1, 10).await.unwrap(), std::slice::from_ref(&doomed));
        }
        assert!(!tx.rescue_image(REPOSITORY, &doomed.digest).await.unwrap(), "its deletion is under way");
        tx.forget_doomed_image(&doomed).await.unwrap();
        assert!(tx.rescue_image(REPOSITORY, &doomed.digest).await.unwrap());
        let known = tx.known_builds(&[old.id, new.id.clone()]).await.unwrap();
        assert_eq!(known, [(new.id, false)]);
    })
    .await;
}

#[tokio::test]
async fn a_build_of_a_deployment_under_way_stays_however_old_it_is() {
    on_each(async |test| {
        let world = world(&test.store, "acme").await;
        let mut tx = begin(test).await;
        let used = build(test, &mut tx, &world, 1).await;
        let new = new_deployment(&world.team.id, &world.placement, &world.actor);
        let queued = tx.insert_deployment(&new).await.unwrap();
        tx.attach_build(&queued.id, &used.id).await.unwrap();
        test.clock.advance(Duration::from_hours(1000));
        let before = test.clock.now();
        assert_eq!(unneeded(&mut tx, 1, before).await, []);
        assert!(!tx.delete_unneeded_build(&used, 1, before).await.unwrap());
    })
    .await;
}

#[tokio::test]
async fn images_of_an_app_that_is_gone_are_to_be_deleted() {
    on_each(async |test| {
        let world = world(&test.store, "acme").await;
        let mut tx = begin(test).await;
        for n in [1, 1, 2] {
            build(test, &mut tx, &world, n).await;
        }
        assert!(tx.delete_app_rows(&world.team.id, &world.app.id).await.unwrap());
        let mut doomed = tx.take_doomed_images(1, 10).await.unwrap();
        doomed.sort_by(|a, b| a.digest.cmp(&b.digest));
        let expected =
            [1, 2].map(|n| DoomedImage { repository: REPOSITORY.to_owned(), digest: digest(n).to_string() });
        assert_eq!(doomed, expected);
    })
    .await;
}

#[tokio::test]
async fn an_image_that_is_kept_before_anything_needs_it_goes_when_nothing_came() {
    on_each(async |test| {
        let world = world(&test.store, "acme").await;
        let now = test.clock.now();
        let day = jiff::SignedDuration::from_hours(24);
        let mut tx = begin(test).await;
        for n in [1, 2] {
            tx.expect_image(REPOSITORY, digest(n).as_str(), now + day).await.unwrap();
        }
        // The second is released, the first isn't.
        assert!(tx.rescue_image(REPOSITORY, digest(2).as_str()).await.unwrap());
        build(test, &mut tx, &world, 2).await;
        tx.expect_image(REPOSITORY, digest(2).as_str(), now).await.unwrap();
        assert!(!tx.has_doomed_images().await.unwrap(), "its settings may be about to come");
        assert_eq!(tx.take_doomed_images(1, 10).await.unwrap(), []);
        tx.commit().await.unwrap();

        test.clock.advance(Duration::from_hours(24));
        let mut tx = begin(test).await;
        assert!(tx.has_doomed_images().await.unwrap());
        let first = DoomedImage { repository: REPOSITORY.to_owned(), digest: digest(1).to_string() };
        assert_eq!(tx.take_doomed_images(1, 10).await.unwrap(), [first]);
        assert!(!tx.rescue_image(REPOSITORY, digest(1).as_str()).await.unwrap(), "it goes at this moment");
        tx.commit().await.unwrap();
    })
    .await;
}
