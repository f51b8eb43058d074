//! Backup and restore, also from one database into the other.

use std::path::{Path, PathBuf};

use panda_domain::clock::Clock;
use panda_domain::env::{EnvChange, EnvValue};
use panda_domain::ids::IdSource;
use panda_domain::job::JobPayload;
use panda_domain::secret::Secret;
use panda_store::testing::{Database, TestStore};
use panda_store::{
    BackupFolder, KeySource, Keyring, NewEvent, RestoreOptions, Store, StoreConfig, StoreError,
    inspect_backup, restore,
};
use serde_json::json;

use crate::support::{World, name, new_deployment, on_each, world};

fn passphrase() -> Secret {
    Secret::new("correct horse battery")
}

async fn fill(test: &TestStore) -> World {
    let world = world(&test.store, "acme").await;
    let mut tx = test.store.begin().await.unwrap();
    let value = EnvValue { value: Secret::new("s3cret"), secret: true };
    let changes = [(name("KEY"), EnvChange::Set(value))].into();
    tx.change_env(&world.team.id, &world.placement, &changes, &world.actor).await.unwrap();
    let new = new_deployment(&world.team.id, &world.placement, &world.actor);
    let deployment = tx.insert_deployment(&new).await.unwrap();
    let payload = JobPayload::Build { team: world.team.id.clone(), deployment: deployment.id };
    tx.enqueue(&payload, "key", test.clock.now()).await.unwrap();
    let event = NewEvent {
        team: Some(world.team.id.clone()),
        app: None,
        kind: "test",
        actor: &world.actor,
        text: "ünï\ncode".to_owned(),
        data: json!({ "a": [1, null] }),
    };
    tx.add_event(&event).await.unwrap();
    tx.commit().await.unwrap();
    world
}

fn folder(name: &str, path: PathBuf) -> BackupFolder {
    BackupFolder { name: name.to_owned(), path }
}

fn sqlite_at(path: &Path) -> StoreConfig {
    StoreConfig::new(format!("sqlite://{}", path.display()))
}

async fn open(config: &StoreConfig, key: &Path) -> Store {
    let keyring = Keyring::load(KeySource::File(key.to_owned())).await.unwrap();
    // Later than the clock of the stores for tests, so that restored jobs are due.
    let clock = Clock::manual("2031-01-01T00:00:00Z".parse().unwrap());
    Store::open(config, keyring, clock.clone(), IdSource::random(clock)).await.unwrap()
}

async fn prove(store: &Store, world: &World) {
    let mut tx = store.begin().await.unwrap();
    let env = tx.env_at(&world.team.id, &world.placement, 1).await.unwrap();
    assert_eq!(env[&name("KEY")].value.reveal(), "s3cret");
    assert_eq!(tx.user(&world.user.id).await.unwrap().as_ref(), Some(&world.user));
    let events = tx.events_after(&world.team.id, None, 0, 10).await.unwrap();
    assert_eq!((events.len(), events[0].text.as_str()), (1, "ünï\ncode"));
    // Numbers go on behind those that were restored.
    let event = NewEvent {
        team: Some(world.team.id.clone()),
        app: None,
        kind: "test",
        actor: &world.actor,
        text: "next".to_owned(),
        data: json!(null),
    };
    assert!(tx.add_event(&event).await.unwrap() > events[0].id);
    assert!(tx.claim_job("a", &["build"], std::time::Duration::from_secs(1)).await.unwrap().is_some());
}

#[tokio::test]
async fn a_backup_comes_back_whole_in_either_database() {
    on_each(async |test| {
        let world = fill(test).await;
        let edge = test.folder().join("edge");
        std::fs::create_dir_all(edge.join("certs")).unwrap();
        std::fs::write(edge.join("certs/a.pem"), vec![7; 600_000]).unwrap();
        std::fs::write(edge.join("empty"), "").unwrap();
        let file = test.folder().join("backup.panda");
        let written = test.store.backup(&file, &passphrase(), &[folder("edge", edge)]).await.unwrap();
        assert_eq!((written.files, written.rows["env_versions"], written.rows["users"]), (2, 1, 1));
        let text = std::fs::read_to_string(&file).unwrap();
        let key = std::fs::read_to_string(&test.key_file).unwrap();
        assert!(!text.contains(key.trim()) && !text.contains("s3cret"));

        let mut targets = vec![(sqlite_at(&test.folder().join("restored/panda.db")), None)];
        if let Some(database) = Database::create().await {
            targets.push((StoreConfig::new(database.url.clone()), Some(database)));
        }
        for (n, (config, _database)) in targets.iter().enumerate() {
            let key = test.folder().join(format!("restored/key-{n}"));
            let edge = test.folder().join(format!("restored/edge-{n}"));
            let folders = [folder("edge", edge.clone())];
            let options = RestoreOptions::default();
            let came = restore(&file, config, &key, &folders, &passphrase(), options).await.unwrap();
            assert_eq!((came.secrets_proven, &came.rows), (1, &written.rows));
            assert_eq!(std::fs::read(edge.join("certs/a.pem")).unwrap(), vec![7; 600_000]);
            assert_eq!(std::fs::read(edge.join("empty")).unwrap(), b"");
            let store = open(config, &key).await;
            assert_eq!(store.installation().await.unwrap(), written.installation);
            prove(&store, &world).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_wrong_passphrase_or_a_damaged_file_changes_nothing() {
    let test = TestStore::sqlite().await;
    fill(&test).await;
    let file = test.folder().join("backup.panda");
    test.store.backup(&file, &passphrase(), &[]).await.unwrap();
    let weak = test.store.backup(&file, &Secret::new("short"), &[]).await;
    assert!(matches!(weak, Err(StoreError::WeakPassphrase { .. })));

    let target = test.folder().join("target/panda.db");
    let key = test.folder().join("target/key");
    let attempt = async |file: &Path, words: &Secret| {
        restore(file, &sqlite_at(&target), &key, &[], words, RestoreOptions::default()).await.unwrap_err()
    };
    let wrong = attempt(&file, &Secret::new("wrong horse battery")).await;
    assert!(matches!(wrong, StoreError::WrongPassphrase));
    let good = std::fs::read_to_string(&file).unwrap();
    let bad = test.folder().join("bad.panda");
    let cut = good.len() - good.len() / 3;
    let lines: Vec<&str> = good.lines().collect();
    let without_a_row = [&lines[..lines.len() - 3], &lines[lines.len() - 2..]].concat().join("\n");
    for damaged in [
        String::new(),
        "hello\n".to_owned(),
        good[..cut].to_owned(),
        good.replacen("acme@example.com", "evil@example.com", 1),
        without_a_row,
        format!("{good}{{\"row\":[]}}\n"),
    ] {
        std::fs::write(&bad, damaged).unwrap();
        let error = attempt(&bad, &passphrase()).await;
        assert!(matches!(error, StoreError::BadBackup { .. }), "{error}");
        assert!(matches!(inspect_backup(&bad, &passphrase()).await, Err(StoreError::BadBackup { .. })));
    }
    assert!(!target.exists() && !key.exists());
    assert!(inspect_backup(&file, &passphrase()).await.is_ok());
}

#[tokio::test]
async fn restoring_over_state_needs_the_flag_and_then_keeps_the_old_key() {
    on_each(async |test| {
        let world = fill(test).await;
        let file = test.folder().join("backup.panda");
        test.store.backup(&file, &passphrase(), &[]).await.unwrap();

        let there = match test.backend() {
            panda_store::Backend::Sqlite => TestStore::sqlite().await,
            panda_store::Backend::Postgres => TestStore::postgres().await.unwrap(),
        };
        crate::support::world(&there.store, "other").await;
        there.store.close().await;
        let (config, key, keep) = there.release();
        let old_key = std::fs::read_to_string(&key).unwrap();
        let options = RestoreOptions { overwrite: false };
        let refused = restore(&file, &config, &key, &[], &passphrase(), options).await.unwrap_err();
        assert!(matches!(refused, StoreError::NotEmpty { .. }), "{refused}");
        let fresh_key = keep.path().join("fresh-key");
        let refused = restore(&file, &config, &fresh_key, &[], &passphrase(), options).await.unwrap_err();
        assert!(matches!(refused, StoreError::NotEmpty { .. }), "{refused}");
        assert!(!fresh_key.exists());
        open(&config, &key).await.close().await;

        let options = RestoreOptions { overwrite: true };
        restore(&file, &config, &key, &[], &passphrase(), options).await.unwrap();
        prove(&open(&config, &key).await, &world).await;
        let kept = std::fs::read_to_string(keep.path().join("key.before-restore")).unwrap();
        assert_eq!(kept, old_key);
    })
    .await;
}

#[tokio::test]
async fn a_lost_or_damaged_database_comes_back_with_the_flag() {
    for damage in
        [None, Some(&b""[..]), Some(&b"rubbish that is no database at all, for sure, not one bit"[..])]
    {
        let test = TestStore::sqlite().await;
        let world = fill(&test).await;
        let file = test.folder().join("backup.panda");
        test.store.backup(&file, &passphrase(), &[]).await.unwrap();
        let overwrite = RestoreOptions { overwrite: true };
        let busy = restore(&file, &test.config, &test.key_file, &[], &passphrase(), overwrite).await;
        assert!(matches!(busy, Err(StoreError::Locked { .. })));
        test.store.close().await;
        let (config, key, keep) = test.release();
        let database = keep.path().join("panda.db");
        match damage {
            None => std::fs::remove_file(&database).unwrap(),
            Some(bytes) => std::fs::write(&database, bytes).unwrap(),
        }
        let refused = restore(&file, &config, &key, &[], &passphrase(), RestoreOptions::default()).await;
        assert!(matches!(refused, Err(StoreError::NotEmpty { .. })));
        restore(&file, &config, &key, &[], &passphrase(), RestoreOptions { overwrite: true }).await.unwrap();
        prove(&open(&config, &key).await, &world).await;
        assert_eq!(keep.path().join("panda.db.before-restore").exists(), damage.is_some());
        assert!(!keep.path().join("panda.db.restoring").exists());
    }
}
