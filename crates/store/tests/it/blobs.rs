//! Uploaded content: rows and bytes.

use std::time::Duration;

use panda_store::{BlobDir, BlobError};

use crate::support::{begin, on_each, world};

const HELLO: &str = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";

#[tokio::test]
async fn each_team_has_only_what_it_uploaded() {
    on_each(async |test| {
        let (ours, theirs) = (world(&test.store, "acme").await, world(&test.store, "other").await);
        let mut tx = begin(test).await;
        let (a, b) = ("a".repeat(64), "b".repeat(64));
        tx.add_blob(&ours.team.id, &a, 5).await.unwrap();
        tx.add_blob(&ours.team.id, &a, 5).await.unwrap();
        let asked = [a.clone(), b.clone()];
        assert_eq!(tx.have_blobs(&ours.team.id, &asked).await.unwrap(), [a.clone()].into());
        assert!(tx.have_blobs(&theirs.team.id, &asked).await.unwrap().is_empty());
        assert!(tx.have_blobs(&ours.team.id, &[]).await.unwrap().is_empty());

        tx.add_tree(&ours.team.id, "sha256:t", 10, 2).await.unwrap();
        assert!(tx.has_tree(&ours.team.id, "sha256:t").await.unwrap());
        assert!(!tx.has_tree(&theirs.team.id, "sha256:t").await.unwrap());

        tx.add_blob(&theirs.team.id, &a, 5).await.unwrap();
        assert_eq!(tx.known_blobs(&asked).await.unwrap(), [a.clone()].into());
    })
    .await;
}

#[tokio::test]
async fn what_was_used_lately_or_is_needed_is_not_forgotten() {
    on_each(async |test| {
        let team = world(&test.store, "acme").await.team.id;
        let mut tx = begin(test).await;
        for tree in ["sha256:a", "sha256:b", "sha256:c"] {
            tx.add_tree(&team, tree, 10, 2).await.unwrap();
        }
        test.clock.advance(Duration::from_secs(10));
        let later = test.clock.now();
        assert!(tx.touch_tree(&team, "sha256:b").await.unwrap());
        assert!(!tx.touch_tree(&team, "sha256:x").await.unwrap());
        let needed = [(team.clone(), "sha256:c".to_owned())].into();
        let unused = tx.unused_trees(later, &needed, 10).await.unwrap();
        assert_eq!(unused.iter().map(|row| row.tree.as_str()).collect::<Vec<_>>(), ["sha256:a"]);
        assert!(!tx.delete_tree(&team, "sha256:b", later).await.unwrap());
        assert!(tx.delete_tree(&team, "sha256:a", later).await.unwrap());
        assert!(!tx.has_tree(&team, "sha256:a").await.unwrap());
    })
    .await;
}

#[tokio::test]
async fn contents_are_forgotten_only_when_no_new_directory_may_have_them() {
    on_each(async |test| {
        let team = world(&test.store, "acme").await.team.id;
        let hashes: Vec<String> = ["a", "b", "c"].map(|digit| digit.repeat(64)).into();
        let mut tx = begin(test).await;
        for hash in &hashes {
            tx.add_blob(&team, hash, 5).await.unwrap();
        }
        test.clock.advance(Duration::from_secs(10));
        let later = test.clock.now();
        let page = tx.unused_blobs(&team, later, &hashes[0], 1).await.unwrap();
        assert_eq!(page.iter().map(|row| &row.sha256).collect::<Vec<_>>(), [&hashes[1]]);

        let seen = tx.trees_of(&team).await.unwrap();
        tx.add_tree(&team, "sha256:t", 10, 2).await.unwrap();
        assert_eq!(tx.delete_blobs(&team, &hashes, &seen, later).await.unwrap(), 0);
        let seen = tx.trees_of(&team).await.unwrap();
        tx.add_blob(&team, &hashes[2], 5).await.unwrap();
        assert_eq!(tx.delete_blobs(&team, &hashes, &seen, later).await.unwrap(), 2);
        assert_eq!(tx.known_blobs(&hashes).await.unwrap(), [hashes[2].clone()].into());
    })
    .await;
}

#[tokio::test]
async fn nobody_tidies_where_somebody_writes() {
    let folder = tempfile::TempDir::new().unwrap();
    let blobs = BlobDir::open(folder.path()).await.unwrap();
    blobs.put_stream(HELLO, 100, &b"hello"[..]).await.unwrap();
    let shard = blobs.shard_of(HELLO).unwrap();
    assert_eq!(shard, 0x2c);
    let writing = blobs.clone().writing(HELLO).await.unwrap();
    assert!(blobs.lock_shard(shard).is_none(), "clones share the locks");
    assert!(blobs.lock_shard(shard + 1).is_some());
    drop(writing);
    let locked = blobs.lock_shard(shard).unwrap();
    assert_eq!(blobs.contents(&locked).await.unwrap(), [HELLO]);
    assert!(blobs.lock_shard(256).is_none());
}

#[tokio::test]
async fn bytes_are_kept_only_under_their_own_hash() {
    let folder = tempfile::TempDir::new().unwrap();
    let blobs = BlobDir::open(folder.path()).await.unwrap();
    assert_eq!(blobs.put_stream(HELLO, 100, &b"hello"[..]).await.unwrap(), 5);
    assert_eq!(blobs.put_stream(&format!("sha256:{HELLO}"), 5, &b"hello"[..]).await.unwrap(), 5);
    assert!(blobs.has(HELLO).await.unwrap());
    assert_eq!(std::fs::read(blobs.path(HELLO).unwrap()).unwrap(), b"hello");

    let wrong = "0".repeat(64);
    let refused = blobs.put_stream(&wrong, 100, &b"hello"[..]).await;
    assert!(matches!(refused, Err(BlobError::WrongHash { .. })));
    assert!(matches!(blobs.put_stream(HELLO, 4, &b"hello"[..]).await, Err(BlobError::TooLarge { .. })));
    assert!(!blobs.has(&wrong).await.unwrap());
    for odd in ["../../etc/passwd", "", "ZZ", &"A".repeat(64)] {
        assert!(matches!(blobs.path(odd), Err(BlobError::NoHash(_))), "{odd}");
    }
    let left = std::fs::read_dir(folder.path().join("incoming")).unwrap().count();
    assert_eq!(left, 0);

    blobs.remove(HELLO).await.unwrap();
    blobs.remove(HELLO).await.unwrap();
    assert!(blobs.open_blob(HELLO).await.unwrap().is_none());
}
