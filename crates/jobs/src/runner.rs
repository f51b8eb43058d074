//! Claims jobs, runs them, writes how they ended.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt as _;
use panda_store::{Backend, JobEnd, JobRow, Result, Store};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::context::{JobContext, Stop};
use crate::{heartbeat, panic_text};

/// A job of a kind that nobody here knows waits this long for a server that does.
const UNKNOWN_AFTER: Duration = Duration::from_hours(1);
/// How often a job may panic before it counts as failed.
const MAX_PANICKING_ATTEMPT: u32 = 5;

/// Does the work of one kind of job.
#[async_trait]
pub trait Handler: Send + Sync + 'static {
    /// Runs the job from its start; steps that an earlier run finished give their kept output.
    ///
    /// Called again after a crash, and after [`JobOutcome::Retry`]. Stops soon after `context.stopped()` is set; who
    /// doesn't is dropped.
    async fn run(&self, context: &JobContext) -> JobOutcome;
}

/// How one run of a job ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobOutcome {
    /// The work is done.
    Done,
    /// Try again later.
    Retry {
        /// How long to wait.
        after: Duration,
        /// What went wrong, for operators.
        error: String,
    },
    /// It can't be done.
    Fail {
        /// Why, for operators.
        error: String,
    },
    /// It was asked to stop, and did.
    Canceled,
}

/// Times of a runner.
#[derive(Debug, Clone)]
pub struct RunnerSettings {
    /// How long a claim holds without a heartbeat.
    pub lease: Duration,
    /// How often a running job's lease is prolonged; at most a third of `lease`.
    pub heartbeat: Duration,
    /// How often to look for work that no notice announced.
    pub poll: Duration,
    /// How long a job that has to stop may take for it.
    pub grace: Duration,
}

impl Default for RunnerSettings {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self { lease: seconds(30), heartbeat: seconds(10), poll: seconds(5), grace: seconds(5) }
    }
}

#[derive(Clone)]
struct Registered {
    handler: Arc<dyn Handler>,
    concurrency: usize,
}

/// Runs the jobs of one server.
#[derive(Clone)]
pub struct Runner {
    store: Store,
    owner: String,
    settings: RunnerSettings,
    handlers: HashMap<&'static str, Registered>,
}

impl Runner {
    /// Makes a runner without handlers. `owner` names this process, and no other one at any time.
    pub fn new(store: Store, owner: impl Into<String>) -> Self {
        Self { store, owner: owner.into(), settings: RunnerSettings::default(), handlers: HashMap::new() }
    }

    /// Returns a name for this process that no other one has.
    pub fn unique_owner() -> String {
        format!("{}-{:016x}", std::process::id(), rand::random::<u64>())
    }

    /// Sets the times.
    #[must_use]
    pub fn with_settings(mut self, settings: RunnerSettings) -> Self {
        self.settings = settings;
        self
    }

    /// Adds the handler of a kind, of which at most `concurrency` jobs run at once.
    #[must_use]
    pub fn handle(mut self, kind: &'static str, concurrency: usize, handler: Arc<dyn Handler>) -> Self {
        self.handlers.insert(kind, Registered { handler, concurrency: concurrency.max(1) });
        self
    }

    /// Runs jobs until `shutdown`; then lets go of what runs, so that the next server goes on at once.
    ///
    /// On SQLite this server is the only one: it takes over at once what a dead one held.
    pub async fn run(self, shutdown: CancellationToken) {
        if self.store.backend() == Backend::Sqlite {
            self.take_over().await;
        }
        let runner = Arc::new(self);
        let mut changes = runner.store.changes();
        let mut running: JoinSet<&'static str> = JoinSet::new();
        let mut count: HashMap<&'static str, usize> = HashMap::new();
        while !shutdown.is_cancelled() {
            let wait = runner.clone().claim_all(&mut running, &mut count, &shutdown).await;
            tokio::select! {
                () = shutdown.cancelled() => {}
                Some(ended) = running.join_next() => forget(&mut count, ended),
                changed = changes.changed() => if changed.is_err() { break },
                () = sleep(wait) => runner.drain_unknown().await,
            }
        }
        while running.join_next().await.is_some() {}
    }

    /// Runs everything that is due, and returns when nothing is: how tests and one-off commands turn the wheel.
    pub async fn run_until_idle(&self) {
        let runner = Arc::new(self.clone());
        let never = CancellationToken::new();
        let mut running: JoinSet<&'static str> = JoinSet::new();
        let mut count: HashMap<&'static str, usize> = HashMap::new();
        loop {
            runner.clone().claim_all(&mut running, &mut count, &never).await;
            match running.join_next().await {
                Some(ended) => forget(&mut count, ended),
                None => break,
            }
        }
        self.drain_unknown().await;
    }

    /// Claims as long as there is work and room. Returns how long to wait for more.
    async fn claim_all(
        self: Arc<Self>,
        running: &mut JoinSet<&'static str>,
        count: &mut HashMap<&'static str, usize>,
        shutdown: &CancellationToken,
    ) -> Duration {
        loop {
            let free: Vec<&'static str> = self
                .handlers
                .iter()
                .filter(|(kind, registered)| count.get(*kind).copied().unwrap_or(0) < registered.concurrency)
                .map(|(kind, _)| *kind)
                .collect();
            if free.is_empty() || shutdown.is_cancelled() {
                return self.settings.poll;
            }
            match self.claim(&free).await {
                Ok(Some(job)) => {
                    let Some((kind, registered)) = self.handlers.get_key_value(job.kind.as_str()) else {
                        unreachable!("only kinds with a handler were asked for");
                    };
                    *count.entry(kind).or_default() += 1;
                    let (runner, kind, handler) = (self.clone(), *kind, registered.handler.clone());
                    let shutdown = shutdown.clone();
                    running.spawn(async move {
                        runner.work(job, handler.as_ref(), &shutdown).await;
                        kind
                    });
                }
                Ok(None) => return self.wait_for_next().await,
                Err(error) => {
                    tracing::warn!("claim a job: {error}");
                    return self.settings.poll.min(Duration::from_secs(1));
                }
            }
        }
    }

    async fn claim(&self, kinds: &[&str]) -> Result<Option<JobRow>> {
        // Most looks find nothing: those cost a read, not a write.
        let now = self.store.clock().now();
        let next = self.store.read().await?.next_job_at().await?;
        if next.is_none_or(|next| next > now) {
            return Ok(None);
        }
        let mut tx = self.store.begin().await?;
        let job = tx.claim_job(&self.owner, kinds, self.settings.lease).await?;
        tx.commit().await?;
        Ok(job)
    }

    async fn wait_for_next(&self) -> Duration {
        let next = async { self.store.read().await?.next_job_at().await };
        let now = self.store.clock().now_ms();
        match next.await {
            // What is due already is held back by its key or kind: its end is a notice.
            Ok(Some(at)) if at.as_millisecond() > now => {
                let ms = u64::try_from(at.as_millisecond() - now).unwrap_or(0);
                Duration::from_millis(ms).min(self.settings.poll)
            }
            _ => self.settings.poll,
        }
    }

    async fn take_over(&self) {
        let take = async {
            let mut tx = self.store.begin().await?;
            let jobs = tx.end_all_leases().await?;
            tx.commit().await?;
            Ok::<_, panda_store::StoreError>(jobs)
        };
        match take.await {
            Ok(0) => {}
            Ok(jobs) => tracing::info!("took over {jobs} jobs that another run of the server had begun"),
            Err(error) => tracing::warn!("take over jobs; they go on when their leases end: {error}"),
        }
    }

    async fn work(&self, job: JobRow, handler: &dyn Handler, shutdown: &CancellationToken) {
        let payload = match job.typed_payload() {
            Ok(payload) => payload,
            Err(error) => {
                let error = format!("read the payload of kind `{}`: {error}", job.kind);
                return self.settle(&job, &JobOutcome::Fail { error }, None).await;
            }
        };
        let outputs = match self.outputs(&job).await {
            Ok(outputs) => outputs,
            Err(error) => {
                let outcome = JobOutcome::Retry { after: self.settings.poll, error: error.to_string() };
                return self.settle(&job, &outcome, None).await;
            }
        };
        let context = JobContext::new(self.store.clone(), job, payload, outputs);
        if context.job().cancel_requested {
            context.tell_to_stop(Stop::Canceled);
        }
        let outcome = tokio::select! {
            outcome = self.run_handler(&context, handler) => outcome,
            never = async {
                heartbeat::watch(&context, &self.settings, shutdown).await;
                sleep(self.settings.grace).await;
            } => {
                let () = never;
                tracing::warn!(job.id = %context.job().id, "job `{}` did not stop by itself", context.job().id);
                JobOutcome::Canceled
            }
        };
        self.settle(context.job(), &outcome, context.stop_reason()).await;
    }

    async fn outputs(&self, job: &JobRow) -> Result<Vec<(String, serde_json::Value)>> {
        self.store.read().await?.job_outputs(job).await
    }

    async fn run_handler(&self, context: &JobContext, handler: &dyn Handler) -> JobOutcome {
        match AssertUnwindSafe(handler.run(context)).catch_unwind().await {
            Ok(outcome) => outcome,
            Err(panic) => {
                let error = format!("panicked: {}", panic_text(panic.as_ref()));
                tracing::error!(job.id = %context.job().id, "job `{}` {error}", context.job().id);
                if context.attempt() >= MAX_PANICKING_ATTEMPT {
                    JobOutcome::Fail { error }
                } else {
                    JobOutcome::Retry { after: Duration::from_secs(5) * context.attempt(), error }
                }
            }
        }
    }

    /// Writes how a run ended, as long as the lease is sure to hold; after that the job is run again anyway.
    async fn settle(&self, job: &JobRow, outcome: &JobOutcome, stop: Option<Stop>) {
        let give_up = Instant::now() + self.settings.lease;
        loop {
            match self.write_end(job, outcome, stop).await {
                Ok(true) => return,
                Ok(false) => {
                    tracing::warn!(job.id = %job.id, "job `{}` was taken by another server", job.id);
                    return;
                }
                Err(error) if Instant::now() < give_up && error.is_temporary() => {
                    tracing::warn!(job.id = %job.id, "write the end of job `{}`: {error}", job.id);
                    sleep(Duration::from_millis(500)).await;
                }
                Err(error) => {
                    tracing::error!(job.id = %job.id, "write the end of job `{}`: {error}", job.id);
                    return;
                }
            }
        }
    }

    async fn write_end(&self, job: &JobRow, outcome: &JobOutcome, stop: Option<Stop>) -> Result<bool> {
        if stop == Some(Stop::LeaseLost) {
            return Ok(false);
        }
        let mut tx = self.store.begin().await?;
        let held = match (outcome, stop) {
            (JobOutcome::Done, _) => tx.finish_job(job, &JobEnd::Done).await?,
            // Whatever it says: it was interrupted, not refuted.
            (_, Some(Stop::ShuttingDown)) => tx.release_job(job).await?,
            (JobOutcome::Canceled | JobOutcome::Retry { .. }, Some(Stop::Canceled)) => {
                tx.finish_job(job, &JobEnd::Canceled).await?
            }
            (JobOutcome::Canceled, _) => tx.finish_job(job, &JobEnd::Canceled).await?,
            (JobOutcome::Fail { error }, _) => {
                tx.finish_job(job, &JobEnd::Failed { error: error.clone() }).await?
            }
            (JobOutcome::Retry { after, error }, _) => {
                let at = self.store.clock().now().saturating_add(*after).unwrap_or(jiff::Timestamp::MAX);
                tx.retry_job(job, at, error).await?
            }
        };
        // Another one of the same key may be waiting for this.
        tx.wake();
        tx.commit().await?;
        Ok(held)
    }

    /// Ends jobs that were left by another version and that nobody has come for.
    async fn drain_unknown(&self) {
        let kinds: Vec<&str> = self.handlers.keys().copied().collect();
        let drain = async {
            let mut tx = self.store.begin().await?;
            while let Some(job) =
                tx.claim_unknown_job(&self.owner, &kinds, UNKNOWN_AFTER, self.settings.lease).await?
            {
                tracing::warn!(job.id = %job.id, "job `{}` is of the unknown kind `{}`: dropped", job.id, job.kind);
                let error = format!("no handler for the kind `{}`", job.kind);
                tx.finish_job(&job, &JobEnd::Failed { error }).await?;
            }
            tx.commit().await
        };
        if let Err(error) = drain.await {
            tracing::warn!("look for jobs of unknown kinds: {error}");
        }
    }
}

fn forget(
    count: &mut HashMap<&'static str, usize>,
    ended: std::result::Result<&'static str, tokio::task::JoinError>,
) {
    match ended {
        Ok(kind) => *count.entry(kind).or_default() -= 1,
        // Handlers' panics are caught inside; a panic of the engine itself must not pass unseen.
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
