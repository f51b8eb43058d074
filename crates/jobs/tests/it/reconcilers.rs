//! Reconcilers: one at a time, woken by notices, visible.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use panda_jobs::{Notices, Outcome, Reconciler, Reconcilers};
use panda_store::Backend;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::support::{LONG, Log, on_each};

/// Runs only as often as it is let, and notices if it runs twice at once.
struct Gated {
    log: Log,
    gate: Semaphore,
    running: AtomicBool,
    runs: AtomicUsize,
    outcomes: Vec<Outcome>,
}

impl Gated {
    fn new(log: &Log, outcomes: Vec<Outcome>) -> Arc<Self> {
        let gate = Semaphore::new(0);
        Arc::new(Self {
            log: log.clone(),
            gate,
            running: AtomicBool::new(false),
            runs: AtomicUsize::new(0),
            outcomes,
        })
    }
}

#[async_trait]
impl Reconciler for Gated {
    fn name(&self) -> &'static str {
        "gated"
    }

    async fn activate(&self) -> Outcome {
        assert!(!self.running.swap(true, Ordering::SeqCst), "twice at once");
        self.log.add("began");
        self.gate.acquire().await.unwrap().forget();
        self.running.store(false, Ordering::SeqCst);
        let n = self.runs.fetch_add(1, Ordering::SeqCst);
        self.log.add("ended");
        self.outcomes.get(n).cloned().unwrap_or(Outcome::Skipped)
    }
}

#[tokio::test]
async fn many_notices_during_a_run_lead_to_one_more_run_at_once() {
    on_each(async |test| {
        let log = Log::new();
        let gated = Gated::new(&log, vec![]);
        let (notices, cancel) = (Notices::new(), CancellationToken::new());
        let set = Reconcilers::new(test.store.clone(), "a");
        let running = {
            let (set, gated, notices, cancel) = (set.clone(), gated.clone(), notices.clone(), cancel.clone());
            tokio::spawn(async move { set.run(gated, Duration::from_hours(1), notices, cancel).await })
        };
        log.wait_for("began", 1).await;
        assert!(set.status()[0].running_since.is_some());
        for _ in 0..10 {
            notices.notify();
        }
        gated.gate.add_permits(1);
        log.wait_for("began", 2).await;
        gated.gate.add_permits(10);
        log.wait_for("ended", 2).await;
        notices.notify();
        log.wait_for("ended", 3).await;
        cancel.cancel();
        running.await.unwrap();
        assert_eq!((log.count("ended"), set.status()[0].runs), (3, 3));
    })
    .await;
}

#[tokio::test]
async fn a_change_of_the_store_is_a_notice() {
    on_each(async |test| {
        let log = Log::new();
        let gated = Gated::new(&log, vec![]);
        gated.gate.add_permits(10);
        let (notices, cancel) = (Notices::with_changes(test.store.changes()), CancellationToken::new());
        let set = Reconcilers::new(test.store.clone(), "a");
        let (stop, reconciler) = (cancel.clone(), gated.clone());
        let running =
            tokio::spawn(async move { set.run(reconciler, Duration::from_hours(1), notices, stop).await });
        log.wait_for("ended", 1).await;
        let mut tx = test.store.begin().await.unwrap();
        tx.wake();
        tx.commit().await.unwrap();
        log.wait_for("ended", 2).await;
        cancel.cancel();
        running.await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn two_activations_never_overlap_however_they_come() {
    on_each(async |test| {
        let log = Log::new();
        let gated = Gated::new(&log, vec![]);
        gated.gate.add_permits(20);
        let set = Reconcilers::new(test.store.clone(), "a");
        let mut activations = tokio::task::JoinSet::new();
        for _ in 0..10 {
            let (set, gated) = (set.clone(), gated.clone());
            activations.spawn(async move { set.activate(gated.as_ref()).await });
        }
        while let Some(outcome) = activations.join_next().await {
            assert_eq!(outcome.unwrap(), Some(Outcome::Skipped));
        }
    })
    .await;
}

#[tokio::test]
async fn of_two_servers_one_runs_a_reconciler() {
    on_each(async |test| {
        if test.backend() == Backend::Sqlite {
            return; // there is no second server
        }
        let log = Log::new();
        let gated = Gated::new(&log, vec![]);
        gated.gate.add_permits(10);
        let (a, b) = (Reconcilers::new(test.store.clone(), "a"), Reconcilers::new(test.store.clone(), "b"));
        assert_eq!(a.activate(gated.as_ref()).await, Some(Outcome::Skipped));
        assert_eq!(b.activate(gated.as_ref()).await, None);
        test.clock.advance(Duration::from_mins(1));
        assert_eq!(b.activate(gated.as_ref()).await, Some(Outcome::Skipped));
        assert_eq!(a.activate(gated.as_ref()).await, None);
    })
    .await;
}

struct Frightened;

#[async_trait]
impl Reconciler for Frightened {
    fn name(&self) -> &'static str {
        "frightened"
    }

    async fn activate(&self) -> Outcome {
        panic!("of the dark")
    }
}

#[tokio::test]
async fn failures_and_panics_are_seen_by_operators_with_their_object() {
    on_each(async |test| {
        let log = Log::new();
        let failed = Outcome::Failed { object: "placement `x`".to_owned(), reason: "engine gone".to_owned() };
        let gated = Gated::new(&log, vec![failed.clone(), failed.clone(), Outcome::Applied]);
        gated.gate.add_permits(10);
        let set = Reconcilers::new(test.store.clone(), "a");
        for failures in 1..=2 {
            assert_eq!(set.activate(gated.as_ref()).await.as_ref(), Some(&failed));
            assert_eq!(
                (set.status()[0].failures, set.status()[0].outcome.as_ref()),
                (failures, Some(&failed))
            );
        }
        set.activate(gated.as_ref()).await;
        assert_eq!((set.status()[0].failures, set.status()[0].ended_at), (0, Some(test.clock.now())));

        let reason = "panicked: of the dark".to_owned();
        let outcome = set.activate(&Frightened).await;
        assert_eq!(outcome, Some(Outcome::Failed { object: "frightened".to_owned(), reason }));
        let names: Vec<_> = set.status().into_iter().map(|status| status.name).collect();
        assert_eq!(names, ["frightened", "gated"]);
    })
    .await;
}

#[tokio::test]
async fn one_that_waits_is_looked_at_again_at_its_time_and_one_that_failed_after_a_pause() {
    on_each(async |test| {
        let log = Log::new();
        let failed = Outcome::Failed { object: "x".to_owned(), reason: "y".to_owned() };
        let soon = Outcome::Waiting { until: test.clock.now() + Duration::from_millis(10) };
        let gated = Gated::new(&log, vec![soon, failed]);
        gated.gate.add_permits(10);
        let (notices, cancel) = (Notices::new(), CancellationToken::new());
        let set = Reconcilers::new(test.store.clone(), "a");
        let (stop, reconciler, wake) = (cancel.clone(), gated.clone(), notices.clone());
        let running =
            tokio::spawn(async move { set.run(reconciler, Duration::from_hours(1), notices, stop).await });
        log.wait_for("ended", 2).await;
        wake.notify();
        log.wait_for("ended", 3).await;
        cancel.cancel();
        tokio::time::timeout(LONG, running).await.unwrap().unwrap();
    })
    .await;
}
