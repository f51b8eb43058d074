//! Jobs through crashes, cancels, shutdowns and lost leases.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use panda_domain::ids::{PlacementId, TeamId};
use panda_jobs::{Handler, JobContext, JobOutcome, StepError, Stop};
use panda_store::Backend;
use panda_store::testing::TestStore;
use tokio_util::sync::CancellationToken;

use crate::support::{LONG, Log, enqueue, on_each, placement, runner, state, wait_for_state};

const STEPS: [&str; 3] = ["fetch", "build", "push"];

/// Where the first run hangs, until it is killed or told to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hang {
    Never,
    /// In this step, its effect done, its output not kept.
    In(usize),
    /// Behind this step, its output kept.
    Behind(usize),
}

struct ThreeSteps {
    log: Log,
    hang: Hang,
}

impl ThreeSteps {
    async fn go(&self, context: &JobContext) -> Result<(), StepError<String>> {
        let mut sum = 0;
        for (n, name) in STEPS.into_iter().enumerate() {
            let first = context.attempt() == 1;
            let output: usize = context
                .step(name, || async {
                    self.log.add(name);
                    if first && self.hang == Hang::In(n) {
                        self.log.add("hangs");
                        pending::<()>().await;
                    }
                    Ok::<_, String>(n + 1)
                })
                .await?;
            sum += output;
            if first && self.hang == Hang::Behind(n) {
                self.log.add("hangs");
                context.stopped().cancelled().await;
            }
        }
        assert_eq!(sum, 6, "kept outputs are those of the first run");
        Ok(())
    }
}

#[async_trait]
impl Handler for ThreeSteps {
    async fn run(&self, context: &JobContext) -> JobOutcome {
        match self.go(context).await {
            Ok(()) => JobOutcome::Done,
            Err(StepError::Stopped(stop)) => {
                self.log.add(format!("{stop:?}"));
                JobOutcome::Canceled
            }
            Err(error) => JobOutcome::Fail { error: error.to_string() },
        }
    }
}

fn three_steps(log: &Log, hang: Hang) -> Arc<dyn Handler> {
    Arc::new(ThreeSteps { log: log.clone(), hang })
}

/// Makes what a dead runner held claimable, in the way that its database has.
fn outlive(test: &TestStore) {
    match test.backend() {
        // The next server takes over at once.
        Backend::Sqlite => {}
        Backend::Postgres => test.clock.advance(Duration::from_mins(2)),
    }
}

#[tokio::test]
async fn a_job_killed_at_any_point_goes_on_from_its_last_kept_step() {
    on_each(async |test| {
        for n in 0..STEPS.len() {
            for (hang, runs_of_step) in [(Hang::In(n), 2), (Hang::Behind(n), 1)] {
                let log = Log::new();
                let job = enqueue(test, "app").await;
                let dead = runner(test, "dead").handle("build", 1, three_steps(&log, hang));
                let dead = tokio::spawn(dead.run(CancellationToken::new()));
                log.wait_for("hangs", 1).await;
                dead.abort();
                assert!(dead.await.unwrap_err().is_cancelled());
                assert_eq!(state(test, &job).await, "running");
                outlive(test);

                let shutdown = CancellationToken::new();
                let next = runner(test, "next").handle("build", 1, three_steps(&log, Hang::Never));
                let next = tokio::spawn(next.run(shutdown.clone()));
                wait_for_state(test, &job, "done").await;
                for (m, step) in STEPS.iter().enumerate() {
                    let expected = if m == n { runs_of_step } else { 1 };
                    assert_eq!(log.count(step), expected, "`{step}` with {hang:?}");
                }
                shutdown.cancel();
                next.await.unwrap();
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_job_canceled_at_any_point_stops_there() {
    on_each(async |test| {
        for n in 0..STEPS.len() {
            let log = Log::new();
            let job = enqueue(test, "app").await;
            let shutdown = CancellationToken::new();
            let running = runner(test, "a").handle("build", 1, three_steps(&log, Hang::In(n)));
            let running = tokio::spawn(running.run(shutdown.clone()));
            log.wait_for("hangs", 1).await;
            let mut tx = test.store.begin().await.unwrap();
            assert!(tx.cancel_job("app").await.unwrap());
            tx.wake();
            tx.commit().await.unwrap();
            wait_for_state(test, &job, "canceled").await;
            let mut expected: Vec<&str> = STEPS[..=n].to_vec();
            expected.extend(["hangs", "Canceled"]);
            assert_eq!(log.entries(), expected);
            shutdown.cancel();
            running.await.unwrap();
        }
    })
    .await;
}

#[tokio::test]
async fn a_job_canceled_before_it_ran_does_no_step() {
    on_each(async |test| {
        let log = Log::new();
        let job = enqueue(test, "app").await;
        let mut tx = test.store.begin().await.unwrap();
        tx.cancel_job("app").await.unwrap();
        tx.commit().await.unwrap();
        runner(test, "a").handle("build", 1, three_steps(&log, Hang::Never)).run_until_idle().await;
        assert_eq!(
            (state(test, &job).await.as_str(), log.entries()),
            ("canceled", vec!["Canceled".to_owned()])
        );
    })
    .await;
}

#[tokio::test]
async fn a_server_that_stops_lets_go_and_the_next_one_goes_on_at_once() {
    on_each(async |test| {
        let log = Log::new();
        let job = enqueue(test, "app").await;
        let shutdown = CancellationToken::new();
        let stopping = runner(test, "a").handle("build", 1, three_steps(&log, Hang::In(1)));
        let stopping = tokio::spawn(stopping.run(shutdown.clone()));
        log.wait_for("hangs", 1).await;
        shutdown.cancel();
        tokio::time::timeout(LONG, stopping).await.unwrap().unwrap();
        assert_eq!((state(test, &job).await.as_str(), log.count("ShuttingDown")), ("queued", 1));
        runner(test, "b").handle("build", 1, three_steps(&log, Hang::Never)).run_until_idle().await;
        assert_eq!(
            (state(test, &job).await.as_str(), log.count("fetch"), log.count("build")),
            ("done", 1, 2)
        );
    })
    .await;
}

struct Deaf(Log);

#[async_trait]
impl Handler for Deaf {
    async fn run(&self, _: &JobContext) -> JobOutcome {
        self.0.add("hangs");
        pending().await
    }
}

#[tokio::test]
async fn a_handler_that_does_not_listen_is_dropped_after_its_grace() {
    on_each(async |test| {
        let log = Log::new();
        let job = enqueue(test, "app").await;
        let shutdown = CancellationToken::new();
        let running = runner(test, "a").handle("build", 1, Arc::new(Deaf(log.clone())));
        let running = tokio::spawn(running.run(shutdown.clone()));
        log.wait_for("hangs", 1).await;
        shutdown.cancel();
        tokio::time::timeout(LONG, running).await.unwrap().unwrap();
        assert_eq!(state(test, &job).await, "queued");
    })
    .await;
}

#[tokio::test]
async fn who_loses_the_lease_keeps_nothing_and_says_so() {
    on_each(async |test| {
        let log = Log::new();
        let job = enqueue(test, "app").await;
        let go_on = CancellationToken::new();
        let slow = Arc::new(Slow { log: log.clone(), go_on: go_on.clone() });
        let slow = runner(test, "slow").handle("build", 1, slow);
        let slow = tokio::spawn(async move { slow.run_until_idle().await });
        log.wait_for("works", 1).await;
        test.clock.advance(Duration::from_mins(2));
        runner(test, "quick").handle("build", 1, three_steps(&log, Hang::Never)).run_until_idle().await;
        assert_eq!(state(test, &job).await, "done");
        go_on.cancel();
        tokio::time::timeout(LONG, slow).await.unwrap().unwrap();
        assert_eq!((log.count("LeaseLost"), log.count("fenced")), (1, 1));
        assert_eq!(state(test, &job).await, "done");
    })
    .await;
}

struct Slow {
    log: Log,
    go_on: CancellationToken,
}

#[async_trait]
impl Handler for Slow {
    async fn run(&self, context: &JobContext) -> JobOutcome {
        self.log.add("works");
        self.go_on.cancelled().await;
        let mut tx = context.store().begin().await.unwrap();
        if context.fence::<String>(&mut tx).await.is_err() {
            self.log.add("fenced");
        }
        drop(tx);
        let kept = context.step("late", || async { Ok::<_, String>(1) }).await;
        if let Err(StepError::Stopped(Stop::LeaseLost)) = kept {
            self.log.add("LeaseLost");
        }
        JobOutcome::Fail { error: "must not be written".to_owned() }
    }
}

struct Counting {
    log: Log,
    now: AtomicUsize,
    most: AtomicUsize,
}

#[async_trait]
impl Handler for Counting {
    async fn run(&self, context: &JobContext) -> JobOutcome {
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        let read = context.step("look", || async {
            context
                .store()
                .read()
                .await
                .map_err(|e| e.to_string())?
                .setting("x")
                .await
                .map_err(|e| e.to_string())
        });
        assert!(read.await.is_ok());
        self.now.fetch_sub(1, Ordering::SeqCst);
        self.log.add(context.job().key.clone());
        JobOutcome::Done
    }
}

#[tokio::test]
async fn eight_runners_run_each_job_once() {
    on_each(async |test| {
        let log = Log::new();
        for n in 0..24 {
            enqueue(test, &format!("key-{n}")).await;
        }
        let handler =
            Arc::new(Counting { log: log.clone(), now: AtomicUsize::new(0), most: AtomicUsize::new(0) });
        let mut runners = tokio::task::JoinSet::new();
        for n in 0..8 {
            let runner = runner(test, &format!("runner-{n}")).handle("build", 2, handler.clone());
            runners.spawn(async move { runner.run_until_idle().await });
        }
        while let Some(done) = runners.join_next().await {
            done.unwrap();
        }
        let mut ran = log.entries();
        ran.sort();
        let mut expected: Vec<String> = (0..24).map(|n| format!("key-{n}")).collect();
        expected.sort();
        assert_eq!(ran, expected);
    })
    .await;
}

#[tokio::test]
async fn no_more_jobs_of_a_kind_run_at_once_than_allowed_and_one_per_key() {
    on_each(async |test| {
        for (keys, allowed, expected) in [(9, 3, 3), (1, 3, 1)] {
            let log = Log::new();
            for n in 0..9 {
                enqueue(test, &format!("key-{}", n % keys)).await;
            }
            let handler =
                Arc::new(Counting { log: log.clone(), now: AtomicUsize::new(0), most: AtomicUsize::new(0) });
            runner(test, "a").handle("build", allowed, handler.clone()).run_until_idle().await;
            assert_eq!(log.entries().len(), 9);
            assert!(handler.most.load(Ordering::SeqCst) <= expected);
        }
    })
    .await;
}

struct Scripted {
    log: Log,
    panics: bool,
}

#[async_trait]
impl Handler for Scripted {
    async fn run(&self, context: &JobContext) -> JobOutcome {
        self.log.add("ran");
        assert!(!self.panics, "out of sheer fright");
        match context.attempt() {
            1 => JobOutcome::Retry { after: Duration::from_mins(5), error: "registry down".to_owned() },
            _ => JobOutcome::Fail { error: "no such image".to_owned() },
        }
    }
}

#[tokio::test]
async fn a_retry_waits_for_its_time_and_a_failure_is_kept() {
    on_each(async |test| {
        let log = Log::new();
        let job = enqueue(test, "app").await;
        let runner =
            runner(test, "a").handle("build", 1, Arc::new(Scripted { log: log.clone(), panics: false }));
        runner.run_until_idle().await;
        runner.run_until_idle().await;
        assert_eq!((log.count("ran"), state(test, &job).await.as_str()), (1, "queued"));
        test.clock.advance(Duration::from_mins(5));
        runner.run_until_idle().await;
        let kept = test.store.read().await.unwrap().job_state(&job).await.unwrap();
        assert_eq!(kept, Some(("failed".to_owned(), Some("no such image".to_owned()))));
    })
    .await;
}

#[tokio::test]
async fn a_panic_is_tried_again_and_in_the_end_kept_as_the_failure() {
    on_each(async |test| {
        let log = Log::new();
        let job = enqueue(test, "app").await;
        let runner =
            runner(test, "a").handle("build", 1, Arc::new(Scripted { log: log.clone(), panics: true }));
        for _ in 0..5 {
            runner.run_until_idle().await;
            test.clock.advance(Duration::from_mins(1));
        }
        let (state, error) = test.store.read().await.unwrap().job_state(&job).await.unwrap().unwrap();
        assert_eq!((log.count("ran"), state.as_str()), (5, "failed"));
        assert!(error.unwrap().contains("out of sheer fright"));
    })
    .await;
}

#[tokio::test]
async fn a_job_that_nobody_knows_waits_an_hour_and_is_dropped() {
    on_each(async |test| {
        let log = Log::new();
        let job = enqueue(test, "app").await;
        let runner = runner(test, "a").handle("destroy_app", 1, three_steps(&log, Hang::Never));
        runner.run_until_idle().await;
        assert_eq!(state(test, &job).await, "queued");
        test.clock.advance(Duration::from_hours(1));
        runner.run_until_idle().await;
        assert_eq!(state(test, &job).await, "failed");
    })
    .await;
}

#[tokio::test]
async fn a_notice_starts_a_job_without_waiting_for_the_next_look() {
    on_each(async |test| {
        let log = Log::new();
        let shutdown = CancellationToken::new();
        let running = runner(test, "a").handle("build", 1, three_steps(&log, Hang::Never));
        let running = tokio::spawn(running.run(shutdown.clone()));
        // The second one comes while the runner surely waits: the first has ended.
        for key in ["one", "two"] {
            let begun = std::time::Instant::now();
            let job = enqueue(test, key).await;
            wait_for_state(test, &job, "done").await;
            assert!(begun.elapsed() < Duration::from_secs(8), "the next look is after 10 s");
        }
        shutdown.cancel();
        running.await.unwrap();
    })
    .await;
}

/// Begins alone in the placement, and says so when it is there.
struct Alone {
    log: Log,
    team: TeamId,
    placement: PlacementId,
}

#[async_trait]
impl Handler for Alone {
    async fn run(&self, context: &JobContext) -> JobOutcome {
        self.log.add("begins");
        match context.begin_on(&self.team, &self.placement).await {
            Ok(tx) => {
                tx.commit().await.unwrap();
                self.log.add("committed");
            }
            Err(error) => self.log.add(error.to_string()),
        }
        JobOutcome::Done
    }
}

/// As a new deploy overtakes a build that is just handing over its image. On SQLite there is one writer at a time anyway.
#[tokio::test]
async fn who_cancels_the_jobs_of_a_placement_and_such_a_job_never_wait_for_each_other() {
    let Some(test) = TestStore::postgres().await else { return };
    let log = Log::new();
    let (team, placement) = placement(&test).await;
    let job = enqueue(&test, "overtaken").await;
    let mut overtaking = test.store.begin().await.unwrap();
    overtaking.lock_placement(&team, &placement).await.unwrap();
    let alone = Arc::new(Alone { log: log.clone(), team, placement });
    let runner = runner(&test, "one").handle("build", 1, alone);
    let running = tokio::spawn(async move { runner.run_until_idle().await });
    log.wait_for("begins", 1).await;
    let early = tokio::time::timeout(Duration::from_millis(300), log.wait_for("committed", 1)).await;
    assert!(early.is_err(), "the placement is held");
    assert!(overtaking.cancel_job("overtaken").await.unwrap());
    overtaking.commit().await.unwrap();
    running.await.unwrap();
    assert_eq!(log.entries(), ["begins", "committed"]);
    assert_eq!(state(&test, &job).await, "done");
}
