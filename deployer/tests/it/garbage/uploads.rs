//! Uploads: what a deploy may still need stays.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use panda_jobs::{Outcome, Reconciler};
use panda_store::NewRelease;

use super::{DAY, Yard, almost, garbage, hash, source_of};

#[tokio::test]
async fn an_upload_waits_for_its_deploy_and_stays_while_that_is_under_way() {
    let yard = Yard::new().await;
    let tree = yard.upload(&["a", "b"]).await;
    yard.pass(Duration::from_mins(1));
    assert_eq!(yard.tidy().await, Outcome::Skipped);
    yard.pass(almost(DAY));
    assert_eq!(yard.tidy().await, Outcome::Skipped);
    let deployment = yard.accept(&tree).await.expect("nothing was lost");
    yard.pass(10 * DAY);
    yard.tidy().await;
    assert!(yard.has_tree(&tree).await);
    assert_eq!(yard.there(&["a", "b"]).await, ["a", "b"]);

    assert!(yard.rig.cancel(&deployment).await);
    assert_eq!(yard.tidy().await, Outcome::Applied);
    assert!(!yard.has_tree(&tree).await);
    assert!(yard.there(&["a", "b"]).await.is_empty());
    assert_eq!(yard.accept(&tree).await, None, "a deploy of it has to be refused now");
}

#[tokio::test]
async fn a_file_stays_as_long_as_one_directory_has_it() {
    let yard = Yard::new().await;
    yard.upload(&["a", "b"]).await;
    let second = yard.upload(&["b", "c"]).await;
    yard.pass(2 * DAY);
    yard.accept(&second).await.unwrap();
    yard.tidy().await;
    assert_eq!(yard.there(&["a", "b", "c"]).await, ["b", "c"]);
}

#[tokio::test]
async fn what_an_announcement_found_there_is_there_when_its_deploy_comes() {
    let yard = Yard::new().await;
    let old = yard.upload(&["a"]).await;
    yard.pass(2 * DAY);
    let (tree, missing) = yard.announce(&["a", "b"]).await;
    assert_eq!(missing, [hash("b")]);
    yard.tidy().await;
    assert!(!yard.has_tree(&old).await);
    yard.send("b").await;
    yard.accept(&tree).await.unwrap();
    yard.tidy().await;
    assert_eq!(yard.there(&["a", "b"]).await, ["a", "b"]);
}

#[tokio::test]
async fn sources_of_the_newest_releases_stay() {
    let yard = Yard::new().await;
    yard.rig.deploy_live('1').await;
    let mut trees = Vec::new();
    for text in ["one", "two", "three"] {
        let tree = yard.upload(&[text]).await;
        yard.release(|release| NewRelease { source: source_of(&tree), ..release }).await;
        trees.push(tree);
    }
    yard.pass(2 * DAY);
    yard.tidy().await;
    assert_eq!(yard.there(&["one", "two", "three"]).await, ["two", "three"]);
    assert!(!yard.has_tree(&trees[0]).await && yard.has_tree(&trees[1]).await);
}

#[tokio::test]
async fn files_without_a_row_go_but_not_while_they_are_being_written() {
    let yard = Yard::new().await;
    let lost = hash("lost");
    yard.blobs.put_stream(&lost, 100, &b"lost"[..]).await.unwrap();
    let writing = yard.blobs.writing(&lost).await.unwrap();
    yard.tidy().await;
    assert!(yard.blobs.has(&lost).await.unwrap());
    drop(writing);
    yard.tidy().await;
    assert!(!yard.blobs.has(&lost).await.unwrap());
}

#[tokio::test]
async fn while_a_listing_can_not_be_read_no_file_of_its_team_goes() {
    let yard = Yard::new().await;
    yard.upload(&["a"]).await;
    let kept = yard.upload(&["b"]).await;
    yard.pass(2 * DAY);
    yard.accept(&kept).await.unwrap();
    yard.blobs.put_listing(&yard.rig.team.id, &kept, b"torn").await.unwrap();
    let outcome = yard.garbage.activate().await;
    assert!(matches!(&outcome, Outcome::Failed { object, .. } if object == "uploads"), "{outcome:?}");
    assert_eq!(yard.there(&["a", "b"]).await, ["a", "b"]);
}

/// Uploads and deploys while the garbage reconciler runs all the time and waits for nothing: whatever is accepted has all
/// of its files.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_accepted_deploy_ever_loses_a_file() {
    let mut yard = Yard::new().await;
    yard.settings.upload_grace = Duration::ZERO;
    let hasty = garbage(&yard.rig, &yard.blobs, &yard.settings);
    let (yard, passes) = (Arc::new(yard), Arc::new(AtomicU32::new(0)));
    let (tidying, counted) = (yard.clone(), passes.clone());
    let tidier = tokio::spawn(async move {
        loop {
            tidying.pass(Duration::from_millis(1));
            hasty.activate().await;
            counted.fetch_add(1, Ordering::Relaxed);
        }
    });
    let (mut accepted, mut lost, mut round) = (0, 0, 0);
    while round < 40 || passes.load(Ordering::Relaxed) < 10 {
        round += 1;
        let own = format!("file {round}");
        let shared = format!("shared {}", round % 3);
        let files = [own.as_str(), shared.as_str()];
        let tree = yard.upload(&files).await;
        let Some(deployment) = yard.accept(&tree).await else { continue };
        accepted += 1;
        for text in files {
            let hash = hash(text);
            let row = yard.rig.store().read().await.unwrap().known_blobs(std::slice::from_ref(&hash)).await;
            let there = yard.blobs.has(&hash).await.unwrap() && !row.unwrap().is_empty();
            lost += u32::from(!there);
        }
        yard.rig.cancel(&deployment).await;
    }
    tidier.abort();
    assert_eq!(lost, 0, "of {accepted} accepted deploys");
    assert!(accepted > 0);
}
