//! What SQLite has to survive: other writers, a full disk, lost and damaged files, a second server, kill -9.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use panda_domain::clock::Clock;
use panda_domain::ids::IdSource;
use panda_store::testing::{OtherWriter, TestStore, skip};
use panda_store::{KeySource, Keyring, Store, StoreConfig, StoreError};
use tempfile::TempDir;

use crate::support::{begin, read};

async fn open_with(path: &Path, deadline: Duration) -> Result<Store, StoreError> {
    let key = path.with_extension("key");
    if !key.exists() {
        Keyring::create_file(&key).unwrap();
    }
    let keyring = Keyring::load(KeySource::File(key)).await.unwrap();
    let config = StoreConfig {
        statement_deadline: deadline,
        ..StoreConfig::new(format!("sqlite://{}", path.display()))
    };
    let clock = Clock::system();
    Store::open(&config, keyring, clock.clone(), IdSource::random(clock)).await
}

async fn open(path: &Path) -> Result<Store, StoreError> {
    open_with(path, Duration::from_secs(10)).await
}

async fn fresh() -> (TempDir, PathBuf) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("panda.db");
    let store = open(&path).await.unwrap();
    store.migrate().await.unwrap();
    store.close().await;
    (folder, path)
}

#[tokio::test]
async fn writers_of_one_server_wait_for_each_other_and_all_get_through() {
    let test = TestStore::sqlite().await;
    let mut writers = tokio::task::JoinSet::new();
    for n in 0..16 {
        let store = test.store.clone();
        writers.spawn(async move {
            for _ in 0..5 {
                let mut tx = store.begin().await.unwrap();
                let old = tx.setting("count").await.unwrap().map_or(0, |v| v.parse::<u32>().unwrap());
                tx.set_setting("count", &(old + 1).to_string()).await.unwrap();
                tx.set_setting(&format!("writer-{n}"), "was here").await.unwrap();
                tx.commit().await.unwrap();
            }
        });
    }
    while let Some(done) = writers.join_next().await {
        done.unwrap();
    }
    assert_eq!(read(&test).await.setting("count").await.unwrap().as_deref(), Some("80"));
}

#[tokio::test]
async fn a_database_that_somebody_locks_answers_unavailable_within_the_deadline_and_still_reads() {
    let (_folder, path) = fresh().await;
    let deadline = Duration::from_secs(1);
    let store = open_with(&path, deadline).await.unwrap();
    let other = OtherWriter::begin(&path).await;
    let begun = Instant::now();
    let (a, b) = tokio::join!(store.begin(), store.begin());
    assert!(matches!(a.err().unwrap(), StoreError::Unavailable { .. }));
    assert!(matches!(b.err().unwrap(), StoreError::Unavailable { .. }));
    assert!(begun.elapsed() < deadline * 2, "{:?}", begun.elapsed());
    assert!(store.read().await.unwrap().setting("installation").await.unwrap().is_some());
    other.end().await;
    let mut tx = store.begin().await.unwrap();
    tx.set_setting("after", "1").await.unwrap();
    tx.commit().await.unwrap();
}

#[tokio::test]
async fn a_second_server_is_kept_out_and_told_by_whom() {
    let (_folder, path) = fresh().await;
    let first = open(&path).await.unwrap();
    let refused = open(&path).await.err().unwrap();
    let holder = format!("process {}", std::process::id());
    assert!(matches!(&refused, StoreError::Locked { holder: h, .. } if h.contains(&holder)), "{refused}");
    first.close().await;
    drop(first);
    open(&path).await.unwrap();
}

#[tokio::test]
async fn a_database_that_is_gone_or_empty_is_never_taken_for_a_new_installation() {
    let (_folder, path) = fresh().await;
    for wal in ["-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{wal}", path.display()));
    }
    let kept = std::fs::read(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    let gone = open(&path).await.err().unwrap();
    assert!(matches!(gone, StoreError::StateMissing { .. }), "{gone}");
    assert!(!path.exists());
    std::fs::write(&path, b"").unwrap();
    let empty = open(&path).await.err().unwrap();
    assert!(matches!(empty, StoreError::StateMissing { .. }), "{empty}");
    std::fs::write(&path, &kept).unwrap();
    open(&path).await.unwrap().migrate().await.unwrap();
}

#[tokio::test]
async fn a_database_that_is_deleted_under_the_server_stops_it_from_writing() {
    let (_folder, path) = fresh().await;
    let store = open(&path).await.unwrap();
    let aside = path.with_extension("aside");
    std::fs::rename(&path, &aside).unwrap();
    let gone = store.begin().await.err().unwrap();
    assert!(matches!(&gone, StoreError::StateMissing { problem, .. } if problem == "was deleted"), "{gone}");
    assert!(store.check().await.is_err());
    std::fs::copy(&aside, &path).unwrap();
    let swapped = store.begin().await.err().unwrap();
    assert!(matches!(swapped, StoreError::StateMissing { .. }), "{swapped}");
    std::fs::rename(&aside, &path).unwrap();
    store.check().await.unwrap();
    store.begin().await.unwrap();
}

#[tokio::test]
async fn a_damaged_database_is_refused_with_that_word() {
    let (_folder, path) = fresh().await;
    let good = std::fs::read(&path).unwrap();
    let mut damaged = good.clone();
    for byte in &mut damaged[4096..40960] {
        *byte = 0x5a;
    }
    std::fs::write(&path, &damaged).unwrap();
    let refused = open(&path).await.err().unwrap();
    assert!(matches!(refused, StoreError::Corrupt { .. }), "{refused}");
    std::fs::write(&path, b"this is a text and no database, and long enough to be looked at").unwrap();
    let refused = open(&path).await.err().unwrap();
    assert!(matches!(refused, StoreError::Corrupt { .. }), "{refused}");
    std::fs::write(&path, &good).unwrap();
    open(&path).await.unwrap();
}

#[tokio::test]
async fn a_full_disk_is_called_that_and_nothing_is_half_written() {
    let folder = TempDir::new().unwrap();
    let Some(_mount) = SmallDisk::mount(folder.path()) else {
        skip("full-disk", "mounting a tmpfs needs root");
        return;
    };
    let path = folder.path().join("panda.db");
    let store = open(&path).await.unwrap();
    store.migrate().await.unwrap();
    let mut written = 0;
    let error = loop {
        let mut tx = store.begin().await.unwrap();
        let key = format!("key-{written}");
        let outcome = match tx.set_setting(&key, &"x".repeat(100_000)).await {
            Ok(()) => tx.commit().await,
            Err(error) => Err(error),
        };
        match outcome {
            Ok(()) => written += 1,
            Err(error) => break error,
        }
        assert!(written < 1000, "the disk should be full by now");
    };
    assert!(matches!(error, StoreError::DiskFull), "{error}");
    let mut tx = store.read().await.unwrap();
    assert!(tx.setting(&format!("key-{}", written - 1)).await.unwrap().is_some());
    assert_eq!(tx.setting(&format!("key-{written}")).await.unwrap(), None);
    drop(tx);
    store.close().await;
}

#[tokio::test]
async fn an_older_program_refuses_a_newer_schema_unless_that_lets_it_in() {
    for test in TestStore::each().await {
        test.tamper(
            "insert into _sqlx_migrations (version, description, success, checksum, execution_time)
             values (999, 'from the future', true, 'x', 0)",
        )
        .await;
        test.store.migrate().await.unwrap();
        test.tamper("update settings set value = '999' where key = 'schema_compatible_from'").await;
        let refused = test.store.migrate().await.unwrap_err();
        assert!(matches!(refused, StoreError::NewerSchema { found: 999, .. }), "{refused}");
    }
}

#[tokio::test]
async fn a_url_that_is_none_is_refused_without_showing_it() {
    let folder = TempDir::new().unwrap();
    for url in ["mysql://u:hunter2@h/d", "sqlite://", "sqlite::memory:", "sqlite:///a?mode=memory", "hunter2"]
    {
        let keyring = Keyring::create_file(&folder.path().join(format!("{}", url.len()))).unwrap();
        let clock = Clock::system();
        let ids = IdSource::random(clock.clone());
        let refused = Store::open(&StoreConfig::new(url), keyring, clock, ids).await.err().unwrap();
        assert!(matches!(refused, StoreError::Url { .. }), "{refused}");
        assert!(!format!("{refused} {refused:?}").contains("hunter2"));
    }
}

/// The other half of the next test: writes and says so until it is killed.
#[tokio::test]
async fn helper_that_writes_until_it_is_killed() {
    let Ok(path) = std::env::var("PANDA_TEST_WRITER_DB") else { return };
    let store = open(Path::new(&path)).await.unwrap();
    for n in 0.. {
        let mut tx = store.begin().await.unwrap();
        tx.set_setting("last", &n.to_string()).await.unwrap();
        tx.commit().await.unwrap();
        println!("\nwritten {n}");
    }
}

#[tokio::test]
async fn no_acknowledged_write_is_lost_by_kill_9() {
    let (_folder, path) = fresh().await;
    #[expect(clippy::disallowed_methods, reason = "only a real process can be killed for real")]
    let mut child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "sqlite::helper_that_writes_until_it_is_killed", "--nocapture"])
        .env("PANDA_TEST_WRITER_DB", &path)
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut acknowledged = 0;
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    while acknowledged < 50 {
        let line = lines.next().unwrap().unwrap();
        if let Some(n) = line.strip_prefix("written ") {
            acknowledged = n.parse().unwrap();
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
    for line in lines.map_while(Result::ok) {
        if let Some(n) = line.strip_prefix("written ") {
            acknowledged = n.parse().unwrap();
        }
    }
    let store = open(&path).await.unwrap();
    let last: i32 = store.read().await.unwrap().setting("last").await.unwrap().unwrap().parse().unwrap();
    assert!(last >= acknowledged, "{last} of {acknowledged}");
}

struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: &Path) -> Option<Self> {
        let mounted = run("mount", &["-t", "tmpfs", "-o", "size=3m", "tmpfs", at.to_str()?]);
        mounted.then(|| Self(at.to_owned()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        run("umount", &["--lazy", self.0.to_str().unwrap_or_default()]);
    }
}

#[expect(clippy::disallowed_methods, reason = "mounting has no API here, and the arguments are our own")]
fn run(program: &str, arguments: &[&str]) -> bool {
    std::process::Command::new(program).args(arguments).output().is_ok_and(|output| output.status.success())
}

#[tokio::test]
async fn what_was_written_in_one_transaction_is_seen_by_the_next_reader() {
    let test = TestStore::sqlite().await;
    for n in 0..20 {
        let mut tx = begin(&test).await;
        tx.set_setting("n", &n.to_string()).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(read(&test).await.setting("n").await.unwrap(), Some(n.to_string()));
    }
}
