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

        test.clock.advance(Duration::from_secs(10));
        let later = test.clock.now();
        assert_eq!(tx.unused_blobs(later).await.unwrap().len(), 1);
        assert_eq!(tx.unused_trees(later).await.unwrap().len(), 1);
        tx.touch_blobs(&ours.team.id, &asked).await.unwrap();
        tx.touch_tree(&ours.team.id, "sha256:t").await.unwrap();
        assert_eq!(tx.unused_blobs(later).await.unwrap(), []);
        assert_eq!(tx.unused_trees(later).await.unwrap(), []);

        tx.add_blob(&theirs.team.id, &a, 5).await.unwrap();
        assert!(!tx.delete_blob(&ours.team.id, &a).await.unwrap());
        assert!(tx.delete_blob(&theirs.team.id, &a).await.unwrap());
        assert!(tx.delete_tree(&ours.team.id, "sha256:t").await.unwrap());
    })
    .await;
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
