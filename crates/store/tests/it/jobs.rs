//! Rows of jobs, and leases.

use std::time::Duration;

use panda_domain::ids::JobId;
use panda_domain::job::JobPayload;
use panda_store::testing::TestStore;
use panda_store::{JobEnd, JobQueueDepth};
use serde_json::json;

use crate::support::{begin, on_each, read};

const LEASE: Duration = Duration::from_secs(30);
const KINDS: &[&str] = &["build", "destroy_app"];

fn payload(test: &TestStore) -> JobPayload {
    JobPayload::Build { team: test.store.ids().next(), deployment: test.store.ids().next() }
}

async fn enqueue(test: &TestStore, key: &str) -> JobId {
    let mut tx = begin(test).await;
    let id = tx.enqueue(&payload(test), key, test.clock.now()).await.unwrap();
    tx.commit().await.unwrap();
    test.clock.advance(Duration::from_millis(1));
    id
}

async fn claim(test: &TestStore, owner: &str) -> Option<panda_store::JobRow> {
    let mut tx = begin(test).await;
    let job = tx.claim_job(owner, KINDS, LEASE).await.unwrap();
    tx.commit().await.unwrap();
    job
}

#[tokio::test]
async fn a_job_runs_when_it_is_due_and_one_at_a_time_per_key() {
    on_each(async |test| {
        let (first, second) = (enqueue(test, "app-1").await, enqueue(test, "app-1").await);
        let other = enqueue(test, "app-2").await;
        let one = claim(test, "a").await.unwrap();
        assert_eq!((&one.id, one.attempt, one.lease_owner.as_str()), (&first, 1, "a"));
        assert!(matches!(one.typed_payload().unwrap(), JobPayload::Build { .. }));
        assert_eq!(claim(test, "a").await.unwrap().id, other);
        assert!(claim(test, "a").await.is_none());
        let depth = read(test).await.job_queue_depth().await.unwrap();
        assert_eq!(depth, [JobQueueDepth { kind: "build".to_owned(), queued: 1, running: 2 }]);
        let mut tx = begin(test).await;
        assert!(tx.finish_job(&one, &JobEnd::Done).await.unwrap());
        assert!(!tx.finish_job(&one, &JobEnd::Done).await.unwrap());
        tx.commit().await.unwrap();
        assert_eq!(claim(test, "b").await.unwrap().id, second);
        assert_eq!(read(test).await.job_state(&first).await.unwrap(), Some(("done".to_owned(), None)));
    })
    .await;
}

#[tokio::test]
async fn of_eight_claimers_exactly_one_gets_each_job() {
    on_each(async |test| {
        for n in 0..10 {
            enqueue(test, &format!("key-{}", n % 5)).await;
        }
        let mut claimers = tokio::task::JoinSet::new();
        for n in 0..8 {
            let store = test.store.clone();
            claimers.spawn(async move {
                let mut got = Vec::new();
                loop {
                    let mut tx = store.begin().await.unwrap();
                    let job = tx.claim_job(&format!("claimer-{n}"), KINDS, LEASE).await.unwrap();
                    tx.commit().await.unwrap();
                    match job {
                        Some(job) => got.push(job),
                        None => return got,
                    }
                }
            });
        }
        let mut jobs = Vec::new();
        while let Some(got) = claimers.join_next().await {
            jobs.extend(got.unwrap());
        }
        let mut keys: Vec<_> = jobs.iter().map(|job| job.key.as_str()).collect();
        keys.sort_unstable();
        assert_eq!(keys, ["key-0", "key-1", "key-2", "key-3", "key-4"]);
    })
    .await;
}

#[tokio::test]
async fn who_lost_the_lease_can_not_write() {
    on_each(async |test| {
        enqueue(test, "app").await;
        let old = claim(test, "a").await.unwrap();
        let mut tx = begin(test).await;
        assert!(tx.save_output(&old, "fetch", &json!({ "n": 1 })).await.unwrap());
        tx.commit().await.unwrap();
        test.clock.advance(LEASE.saturating_sub(Duration::from_millis(1)));
        assert!(claim(test, "b").await.is_none());
        let mut tx = begin(test).await;
        assert!(tx.heartbeat(&old, LEASE).await.unwrap());
        tx.commit().await.unwrap();
        test.clock.advance(Duration::from_secs(1));
        assert!(claim(test, "b").await.is_none());
        test.clock.advance(LEASE);
        let new = claim(test, "b").await.unwrap();
        assert_eq!((&new.id, new.attempt), (&old.id, 2));
        let mut tx = begin(test).await;
        assert!(!tx.heartbeat(&old, LEASE).await.unwrap());
        assert!(!tx.hold_job(&old).await.unwrap());
        assert!(!tx.save_output(&old, "fetch", &json!(2)).await.unwrap());
        assert!(!tx.finish_job(&old, &JobEnd::Done).await.unwrap());
        assert!(!tx.retry_job(&old, test.clock.now(), "no").await.unwrap());
        assert!(!tx.release_job(&old).await.unwrap());
        assert_eq!(tx.job_outputs(&new).await.unwrap(), [("fetch".to_owned(), json!({ "n": 1 }))]);
        assert!(tx.save_output(&new, "fetch", &json!(3)).await.unwrap());
        assert!(tx.finish_job(&new, &JobEnd::Failed { error: "b\0".to_owned() }).await.unwrap());
        let state = tx.job_state(&new.id).await.unwrap().unwrap();
        assert_eq!(state, ("failed".to_owned(), Some("b\u{fffd}".to_owned())));
        assert_eq!(tx.job_outputs(&new).await.unwrap(), []);
    })
    .await;
}

#[tokio::test]
async fn a_job_is_put_back_let_go_or_canceled() {
    on_each(async |test| {
        enqueue(test, "app").await;
        let job = claim(test, "a").await.unwrap();
        let later = test.clock.now() + Duration::from_mins(5);
        let mut tx = begin(test).await;
        assert!(tx.retry_job(&job, later, "registry down").await.unwrap());
        assert_eq!(tx.next_job_at().await.unwrap(), Some(later));
        assert!(tx.cancel_job("app").await.unwrap());
        assert!(!tx.cancel_job("nothing").await.unwrap());
        tx.commit().await.unwrap();
        let again = claim(test, "a").await.unwrap();
        assert_eq!((again.attempt, again.cancel_requested), (2, true));
        assert_eq!(again.last_error.as_deref(), Some("registry down"));
        assert!(read(test).await.job_cancel_requested(&again).await.unwrap());
        let mut tx = begin(test).await;
        assert!(tx.release_job(&again).await.unwrap());
        tx.commit().await.unwrap();
        let third = claim(test, "b").await.unwrap();
        let mut tx = begin(test).await;
        assert_eq!(tx.end_all_leases().await.unwrap(), 1);
        tx.commit().await.unwrap();
        let fourth = claim(test, "c").await.unwrap();
        assert_eq!((fourth.id.clone(), fourth.attempt), (third.id, 4));
        let mut tx = begin(test).await;
        assert!(tx.finish_job(&fourth, &JobEnd::Canceled).await.unwrap());
        assert_eq!(tx.next_job_at().await.unwrap(), None);
        assert_eq!(tx.delete_ended_jobs(test.clock.now() + LEASE, 10).await.unwrap(), 1);
    })
    .await;
}

#[tokio::test]
async fn jobs_of_unknown_kinds_are_left_until_they_are_long_overdue() {
    on_each(async |test| {
        enqueue(test, "app").await;
        let hour = Duration::from_hours(1);
        let mut tx = begin(test).await;
        assert!(tx.claim_job("a", &["destroy_app"], LEASE).await.unwrap().is_none());
        assert!(tx.claim_unknown_job("a", &["destroy_app"], hour, LEASE).await.unwrap().is_none());
        test.clock.advance(hour);
        assert!(tx.claim_unknown_job("a", &["build"], hour, LEASE).await.unwrap().is_none());
        assert!(tx.claim_unknown_job("a", &["destroy_app"], hour, LEASE).await.unwrap().is_some());
    })
    .await;
}

#[tokio::test]
async fn a_lease_has_one_owner_until_it_ends() {
    on_each(async |test| {
        let mut tx = begin(test).await;
        assert!(tx.take_lease("reconciler/routes", "a", LEASE).await.unwrap());
        assert!(tx.take_lease("reconciler/routes", "a", LEASE).await.unwrap());
        assert!(!tx.take_lease("reconciler/routes", "b", LEASE).await.unwrap());
        tx.release_lease("reconciler/routes", "b").await.unwrap();
        assert!(!tx.take_lease("reconciler/routes", "b", LEASE).await.unwrap());
        test.clock.advance(LEASE);
        assert!(tx.take_lease("reconciler/routes", "b", LEASE).await.unwrap());
        tx.release_lease("reconciler/routes", "b").await.unwrap();
        assert!(tx.take_lease("reconciler/routes", "a", LEASE).await.unwrap());
    })
    .await;
}

#[tokio::test]
async fn a_commit_that_wakes_is_heard_and_one_that_was_dropped_is_not() {
    on_each(async |test| {
        let mut changes = test.store.changes();
        changes.mark_unchanged();
        let mut tx = begin(test).await;
        tx.wake();
        drop(tx);
        assert!(!changes.has_changed().unwrap());
        let mut tx = begin(test).await;
        tx.wake();
        tx.commit().await.unwrap();
        tokio::time::timeout(Duration::from_secs(10), changes.changed()).await.unwrap().unwrap();
    })
    .await;
}
