//! Environment variables: versions, secrets, and what happens when they can't be read.

use std::collections::BTreeMap;

use panda_domain::env::{EnvChange, EnvValue};
use panda_domain::names::EnvKey;
use panda_domain::secret::Secret;
use panda_store::{Cursor, StoreError};

use crate::support::{World, begin, name, on_each, world};

fn set(key: &str, value: &str, secret: bool) -> (EnvKey, EnvChange) {
    (name(key), EnvChange::Set(EnvValue { value: Secret::new(value), secret }))
}

fn shown(env: &BTreeMap<EnvKey, EnvValue>) -> Vec<(String, String, bool)> {
    env.iter().map(|(k, v)| (k.to_string(), v.value.reveal().to_owned(), v.secret)).collect()
}

async fn change(
    test: &panda_store::testing::TestStore,
    world: &World,
    changes: Vec<(EnvKey, EnvChange)>,
) -> i64 {
    let mut tx = begin(test).await;
    let changes = changes.into_iter().collect();
    let version = tx.change_env(&world.team.id, &world.placement, &changes, &world.actor).await.unwrap();
    tx.commit().await.unwrap();
    version
}

#[tokio::test]
async fn every_version_can_be_read_again() {
    on_each(async |test| {
        let world = world(&test.store, "acme").await;
        assert_eq!(change(test, &world, vec![set("A", "1", false), set("B", "päß\n", true)]).await, 1);
        assert_eq!(change(test, &world, vec![set("A", "2", false)]).await, 2);
        assert_eq!(change(test, &world, vec![(name("B"), EnvChange::Unset)]).await, 3);
        let mut tx = begin(test).await;
        let team = &world.team.id;
        let at = async |tx: &mut panda_store::Tx, version| {
            shown(&tx.env_at(team, &world.placement, version).await.unwrap())
        };
        let text = |k: &str, v: &str, s| (k.to_owned(), v.to_owned(), s);
        assert_eq!(at(&mut tx, 0).await, []);
        assert_eq!(at(&mut tx, 1).await, [text("A", "1", false), text("B", "päß\n", true)]);
        assert_eq!(at(&mut tx, 2).await, [text("A", "2", false), text("B", "päß\n", true)]);
        assert_eq!(at(&mut tx, 3).await, [text("A", "2", false)]);
        let rows = tx.env_rows(team, &world.placement).await.unwrap();
        assert_eq!((rows.len(), rows[0].version, &rows[0].actor), (1, 2, &world.actor));
        assert_eq!(rows[0].fingerprint.len(), 8);

        assert!(matches!(tx.env_at(team, &world.placement, 4).await, Err(StoreError::NotFound { .. })));
        let foreign = test.store.ids().next();
        assert!(matches!(tx.env_at(&foreign, &world.placement, 1).await, Err(StoreError::NotFound { .. })));

        let page = tx.env_history(&world.placement, &Cursor::first(2)).await.unwrap();
        let seen: Vec<_> =
            page.iter().map(|row| (row.version, row.key.as_str(), row.set, row.secret)).collect();
        assert_eq!(seen, [(3, "B", false, true), (2, "A", true, false)]);
        let rest = tx.env_history(&world.placement, &Cursor::after("2", 2)).await.unwrap();
        assert_eq!(rest.iter().map(|row| row.version).collect::<Vec<_>>(), [1, 1]);
    })
    .await;
}

#[tokio::test]
async fn unchanged_values_make_no_version_and_a_secret_stays_one() {
    on_each(async |test| {
        let world = world(&test.store, "acme").await;
        assert_eq!(change(test, &world, vec![set("A", "1", true)]).await, 1);
        assert_eq!(change(test, &world, vec![set("A", "1", true), (name("X"), EnvChange::Unset)]).await, 1);
        assert_eq!(change(test, &world, vec![set("A", "1", false)]).await, 1);
        assert_eq!(change(test, &world, vec![set("A", "2", false)]).await, 2);
        let env = begin(test).await.env_at(&world.team.id, &world.placement, 2).await.unwrap();
        assert_eq!(shown(&env), [("A".to_owned(), "2".to_owned(), true)]);
    })
    .await;
}

#[tokio::test]
async fn values_lie_sealed_and_open_only_where_they_belong() {
    on_each(async |test| {
        let world = world(&test.store, "acme").await;
        change(test, &world, vec![set("A", "open sesame", true), set("B", "other", true)]).await;
        // A's sealed value under B's name: the same key opens neither.
        test.tamper("update env_versions set sealed = (select sealed from env_versions where key = 'A') where key = 'B'")
            .await;
        let mut tx = begin(test).await;
        let error = tx.env_at(&world.team.id, &world.placement, 1).await.unwrap_err();
        let what = format!("variable `B` of placement `{}`", world.placement);
        assert!(matches!(error, StoreError::Undecryptable { what: w } if w == what));
    })
    .await;
}

#[tokio::test]
async fn two_changes_at_once_both_last() {
    on_each(async |test| {
        let world = world(&test.store, "acme").await;
        let mut changes = tokio::task::JoinSet::new();
        for n in 0..6 {
            let (store, team, placement) =
                (test.store.clone(), world.team.id.clone(), world.placement.clone());
            let actor = world.actor.clone();
            changes.spawn(async move {
                let mut tx = store.begin().await.unwrap();
                let wished = [set(&format!("KEY_{n}"), "1", false)].into_iter().collect();
                tx.change_env(&team, &placement, &wished, &actor).await.unwrap();
                tx.commit().await.unwrap();
            });
        }
        while let Some(done) = changes.join_next().await {
            done.unwrap();
        }
        let env = begin(test).await.env_at(&world.team.id, &world.placement, 6).await.unwrap();
        assert_eq!(env.len(), 6);
    })
    .await;
}
