//! The state out of one database and into the other.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use panda_domain::clock::Clock;
use panda_domain::ids::IdSource;
use panda_store::testing::{Database, Remains, TestStore};
use panda_store::{
    Backend, CopyError, CopyStep, CopySummary, KeySource, Keyring, NewEvent, Store, StoreConfig, StoreError,
    copy_store,
};
use serde_json::json;

use crate::filled::{Filled, fill, said};
use crate::support::{on_each, world};

/// A store that nobody uses any more, and what it said.
struct Source {
    config: StoreConfig,
    key: PathBuf,
    filled: Filled,
    said: Vec<String>,
    remains: Remains,
}

/// Fills the other store, bends it by `tamper` if it is given, and lets go of it.
async fn source(test: TestStore, tamper: &str) -> Source {
    let filled = fill(&test).await;
    let said = said(&test.store, &filled).await;
    if !tamper.is_empty() {
        test.tamper(tamper).await;
    }
    test.store.close().await;
    let (config, key, remains) = test.release();
    Source { config, key, filled, said, remains }
}

/// A place on the other database; none where there is no PostgreSQL.
async fn target_beside(backend: Backend, folder: &Path) -> Option<(StoreConfig, Option<Database>)> {
    match backend {
        Backend::Postgres => {
            Some((StoreConfig::new(format!("sqlite://{}/copied/panda.db", folder.display())), None))
        }
        Backend::Sqlite => {
            let database = Database::create().await?;
            Some((StoreConfig::new(database.url.clone()), Some(database)))
        }
    }
}

async fn keyring(key: &Path) -> Keyring {
    Keyring::load(KeySource::File(key.to_owned())).await.unwrap()
}

async fn copy(from: &StoreConfig, to: &StoreConfig, key: &Path) -> Result<CopySummary, CopyError> {
    copy_store(from, to, keyring(key).await, false, &mut |_| {}).await
}

async fn open(config: &StoreConfig, key: &Path) -> Store {
    let clock = Clock::manual("2030-01-01T00:00:00Z".parse().unwrap());
    Store::open(config, keyring(key).await, clock.clone(), IdSource::random(clock)).await.unwrap()
}

#[tokio::test]
async fn a_copy_reads_the_same_in_the_other_database() {
    for test in TestStore::each().await {
        let backend = test.backend();
        let source = source(test, "").await;
        let folder = source.remains.path();
        let Some((to, _database)) = target_beside(backend, folder).await else { continue };
        let (mut copied, mut compared) = (BTreeSet::new(), BTreeSet::new());
        let mut watch = |step: CopyStep<'_>| match step {
            CopyStep::Copied { table, rows, done: true } => assert!(copied.insert((table.to_owned(), rows))),
            CopyStep::Copied { .. } => {}
            CopyStep::Compared { table, rows } => assert!(compared.insert((table.to_owned(), rows))),
        };
        let keyring = keyring(&source.key).await;
        let summary = copy_store(&source.config, &to, keyring, false, &mut watch).await.unwrap();
        assert_eq!(copied, compared);
        assert_eq!(copied, summary.rows.clone().into_iter().collect());
        assert_eq!(summary.secrets_proven, 3);
        let empty: Vec<_> = summary.rows.iter().filter(|(_, rows)| **rows == 0).collect();
        assert!(
            empty.is_empty(),
            "write something into {empty:?} in filled.rs: unfilled, its copy isn't tested"
        );

        let target = open(&to, &source.key).await;
        assert_eq!(said(&target, &source.filled).await, source.said);
        target.close().await;
        let source_again = open(&source.config, &source.key).await;
        assert_eq!(said(&source_again, &source.filled).await, source.said);
    }
}

#[tokio::test]
async fn numbers_go_on_behind_those_that_are_gone() {
    for test in TestStore::each().await {
        let backend = test.backend();
        let source = source(test, "delete from events where id > 1").await;
        let Some((to, _database)) = target_beside(backend, source.remains.path()).await else { continue };
        copy(&source.config, &to, &source.key).await.unwrap();
        let world = &source.filled.world;
        let mut tx = open(&to, &source.key).await.begin().await.unwrap();
        let event = NewEvent {
            team: Some(world.team.id.clone()),
            app: None,
            kind: "test",
            actor: &world.actor,
            text: "next".to_owned(),
            data: json!(null),
        };
        assert_eq!(tx.add_event(&event).await.unwrap(), 4, "three were given before");
    }
}

#[tokio::test]
async fn a_table_of_more_rows_than_a_statement_takes_comes_whole() {
    for test in TestStore::each().await {
        let world = world(&test.store, "acme").await;
        let mut tx = test.store.begin().await.unwrap();
        for n in 0..1201 {
            let event = NewEvent {
                team: Some(world.team.id.clone()),
                app: None,
                kind: "test",
                actor: &world.actor,
                text: "x".repeat(n * 2),
                data: json!(n),
            };
            tx.add_event(&event).await.unwrap();
        }
        tx.commit().await.unwrap();
        let backend = test.backend();
        test.store.close().await;
        let (from, key, remains) = test.release();
        let Some((to, _database)) = target_beside(backend, remains.path()).await else { continue };
        assert_eq!(copy(&from, &to, &key).await.unwrap().rows["events"], 1201);
    }
}

#[tokio::test]
async fn a_dry_run_reads_everything_and_writes_nothing() {
    for test in TestStore::each().await {
        let backend = test.backend();
        let source = source(test, "").await;
        let Some((to, _database)) = target_beside(backend, source.remains.path()).await else { continue };
        let ring = keyring(&source.key).await;
        let dry = copy_store(&source.config, &to, ring, true, &mut |_| {}).await.unwrap();
        assert!(!source.remains.path().join("copied").exists());
        let real = copy(&source.config, &to, &source.key).await.unwrap();
        assert_eq!((dry.rows, dry.secrets_proven), (real.rows, 0));
    }
}

#[tokio::test]
async fn a_second_copy_is_refused_and_changes_nothing() {
    for test in TestStore::each().await {
        let backend = test.backend();
        let source = source(test, "").await;
        let Some((to, _database)) = target_beside(backend, source.remains.path()).await else { continue };
        copy(&source.config, &to, &source.key).await.unwrap();
        let again = copy(&source.config, &to, &source.key).await.unwrap_err();
        let full =
            matches!(again, CopyError::Store(StoreError::NotEmpty { .. }) | CopyError::FileExists { .. });
        assert!(full, "{again}");
        assert_eq!(said(&open(&to, &source.key).await, &source.filled).await, source.said);
    }
}

#[tokio::test]
async fn a_source_that_a_server_uses_is_refused() {
    on_each(async |test| {
        let _filled = fill(test).await;
        let Some((to, _database)) = target_beside(test.backend(), test.folder()).await else { return };
        let refused = copy(&test.config, &to, &test.key_file).await.unwrap_err();
        let used = matches!(refused, CopyError::Store(StoreError::Locked { .. }) | CopyError::InUse { .. });
        assert!(used, "{refused}");
    })
    .await;
}

#[tokio::test]
async fn a_row_that_is_stored_otherwise_is_noticed_and_leaves_the_target_empty() {
    let source = source(TestStore::sqlite().await, "").await;
    let Some(target) = TestStore::postgres().await else { return };
    // As a database that was made by hand may do it: whatever is written to teams is bent on its way in.
    target
        .tamper(
            "delete from data_keys; delete from settings where key = 'installation';
             create function bend() returns trigger language plpgsql as
               $$ begin new.created_at = new.created_at + 1; return new; end $$;
             create trigger bend before insert on teams for each row execute function bend()",
        )
        .await;
    let error = copy(&source.config, &target.config, &source.key).await.unwrap_err();
    let team = source.filled.world.team.id.to_string();
    match &error {
        CopyError::Differs { table, row, problem } => {
            assert_eq!(
                (table.as_str(), row.as_str(), problem.as_str()),
                ("teams", &*team, "`created_at` changed")
            );
        }
        other => panic!("{other}"),
    }
    target.tamper("drop trigger bend on teams").await;
    copy(&source.config, &target.config, &source.key).await.unwrap();
    let opened = open(&target.config, &source.key).await;
    assert_eq!(said(&opened, &source.filled).await, source.said);
}

#[tokio::test]
async fn a_schema_that_can_not_be_brought_up_to_date_is_told_and_the_rows_are_there() {
    // As an older version left it, whose copy ends with migrations.
    let older =
        "drop table ports; alter table formations drop column autoscale_min; alter table formations drop column autoscale_max;
        alter table formations drop column autoscale_cpu; alter table formations drop column autoscale_memory;
        delete from _sqlx_migrations where version >= 3";
    let source = source(TestStore::sqlite().await, older).await;
    let Some(target) = TestStore::postgres().await else { return };
    target
        .tamper(
            "drop schema public cascade; create schema public;
             create function refuse() returns event_trigger language plpgsql as
               $$ begin if current_query() like '%autoscale%' then raise exception 'not now'; end if; end $$;
             create event trigger refuse on ddl_command_start when tag in ('ALTER TABLE') execute function refuse()",
        )
        .await;
    let error = copy(&source.config, &target.config, &source.key).await.unwrap_err();
    assert!(matches!(error, CopyError::NotMigrated { .. }), "{error}");
    target.tamper("drop event trigger refuse").await;
    let opened = open(&target.config, &source.key).await;
    opened.migrate().await.unwrap();
    let mut tx = opened.read().await.unwrap();
    assert!(tx.setting("installation").await.unwrap().is_some(), "nothing has to be copied again");
}

#[tokio::test]
async fn values_that_postgres_can_not_hold_are_named() {
    for (tamper, column) in [
        ("update teams set created_at = 'soon'", "created_at"),
        ("update deployments set active = 2", "active"),
        ("update device_codes set client_name = 'a' || char(0)", "client_name"),
    ] {
        let source = source(TestStore::sqlite().await, tamper).await;
        let Some(database) = Database::create().await else { return };
        let to = StoreConfig::new(database.url.clone());
        for dry_run in [true, false] {
            let ring = keyring(&source.key).await;
            let error = copy_store(&source.config, &to, ring, dry_run, &mut |_| {}).await.unwrap_err();
            assert!(
                matches!(&error, CopyError::OddValue { column: found, .. } if found == column),
                "{error}"
            );
        }
    }
}

#[tokio::test]
async fn another_key_or_no_source_is_refused() {
    let source = source(TestStore::sqlite().await, "").await;
    let folder = source.remains.path();
    let to = StoreConfig::new(format!("sqlite://{}", folder.join("other/panda.db").display()));
    let other = folder.join("other-key");
    Keyring::create_file(&other).unwrap();
    let error = copy(&source.config, &to, &other).await.unwrap_err();
    assert!(matches!(error, CopyError::Store(StoreError::WrongKey { .. })), "{error}");
    let nowhere = StoreConfig::new(format!("sqlite://{}", folder.join("nowhere.db").display()));
    let error = copy(&nowhere, &to, &source.key).await.unwrap_err();
    assert!(matches!(error, CopyError::NoState { .. }), "{error}");
    assert!(!folder.join("nowhere.db").exists() && !folder.join("other/panda.db").exists());
}

#[tokio::test]
async fn a_database_with_tables_of_others_is_refused() {
    let source = source(TestStore::sqlite().await, "").await;
    let Some(target) = TestStore::postgres().await else { return };
    target.tamper("drop schema public cascade; create schema public; create table theirs (id bigint)").await;
    let error = copy(&source.config, &target.config, &source.key).await.unwrap_err();
    assert!(matches!(&error, CopyError::ForeignTable { table } if table == "theirs"), "{error}");
}

#[tokio::test]
async fn two_copies_at_once_leave_one() {
    let (first, second) =
        (source(TestStore::sqlite().await, "").await, source(TestStore::sqlite().await, "").await);
    let Some(database) = Database::create().await else { return };
    let to = StoreConfig::new(database.url.clone());
    let both = tokio::join!(copy(&first.config, &to, &first.key), copy(&second.config, &to, &second.key));
    let winner = match both {
        (Ok(_), Err(_)) => first,
        (Err(_), Ok(_)) => second,
        (a, b) => panic!("{a:?} {b:?}"),
    };
    assert_eq!(said(&open(&to, &winner.key).await, &winner.filled).await, winner.said);
}
