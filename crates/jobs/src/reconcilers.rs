//! Activates reconcilers: by time, by notice, one run at a time.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt as _;
use jiff::Timestamp;
use panda_store::{Backend, Result, Store};
use tokio::sync::Semaphore;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::notices::Notices;
use crate::panic_text;

/// How long a server holds the right to run a reconciler without prolonging it.
const LEASE: Duration = Duration::from_secs(30);
/// The longest pause that failures in a row lead to.
const MAX_PAUSE: Duration = Duration::from_secs(30);

/// Keeps something true. Takes no arguments: what is to do is in the store and in what can be observed.
#[async_trait]
pub trait Reconciler: Send + Sync + 'static {
    /// Returns its name, such as `rollouts`.
    fn name(&self) -> &'static str;

    /// Looks, acts once, and answers; never loops until something works.
    async fn activate(&self) -> Outcome;
}

/// What one activation did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Something was changed.
    Applied,
    /// Something is under way; look again at `until` at the latest.
    Waiting {
        /// When to look again without a notice.
        until: Timestamp,
    },
    /// There was nothing to do.
    Skipped,
    /// Something couldn't be done.
    Failed {
        /// On what.
        object: String,
        /// Why.
        reason: String,
    },
}

/// What operators see of a reconciler.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReconcilerStatus {
    /// Its name.
    pub name: &'static str,
    /// Since when it runs, if it does.
    pub running_since: Option<Timestamp>,
    /// When it last ended.
    pub ended_at: Option<Timestamp>,
    /// How it last ended.
    pub outcome: Option<Outcome>,
    /// Activations since the server started.
    pub runs: u64,
    /// Failures in a row.
    pub failures: u32,
}

struct Entry {
    status: ReconcilerStatus,
    /// One permit: never two runs at once.
    turn: Arc<Semaphore>,
}

/// The reconcilers of one server. Clones share everything.
#[derive(Clone)]
pub struct Reconcilers {
    store: Store,
    owner: String,
    entries: Arc<Mutex<BTreeMap<&'static str, Entry>>>,
}

impl Reconcilers {
    /// Makes an empty set. `owner` names this process, and no other one at any time.
    pub fn new(store: Store, owner: impl Into<String>) -> Self {
        Self { store, owner: owner.into(), entries: Arc::default() }
    }

    /// Returns how each reconciler is doing, by name.
    pub fn status(&self) -> Vec<ReconcilerStatus> {
        let entries = self.entries.lock().expect("nothing panics while it holds this lock");
        entries.values().map(|entry| entry.status.clone()).collect()
    }

    /// Activates `reconciler` now, then after each notice and at least every `period`, until `cancel`. A run that is
    /// under way then is dropped where it stands.
    pub async fn run(
        &self,
        reconciler: Arc<dyn Reconciler>,
        period: Duration,
        mut notices: Notices,
        cancel: CancellationToken,
    ) {
        loop {
            let outcome = tokio::select! {
                () = cancel.cancelled() => return,
                outcome = self.activate(reconciler.as_ref()) => outcome,
            };
            let failures = self.failures(reconciler.name());
            let wait = self.next_look(outcome.as_ref(), period);
            let pause = pause_after(failures);
            tokio::select! {
                () = cancel.cancelled() => return,
                // After a failure notices wait a little: its own writes may be what gives them.
                () = async { sleep(pause).await; notices.wait().await } => {}
                () = sleep(wait.max(pause)) => {}
            }
        }
    }

    /// Activates `reconciler` once. `None` if another server is at it.
    pub async fn activate(&self, reconciler: &dyn Reconciler) -> Option<Outcome> {
        let name = reconciler.name();
        let turn = self.change(name, |entry| entry.turn.clone());
        let _permit = turn.acquire().await.expect("the semaphore is never closed");
        match self.take_lease(name).await {
            Ok(true) => {}
            Ok(false) => return None,
            Err(error) => {
                let outcome =
                    Outcome::Failed { object: format!("lease of `{name}`"), reason: error.to_string() };
                return Some(self.end(name, outcome));
            }
        }
        let now = self.store.clock().now();
        self.change(name, |entry| {
            entry.status.running_since = Some(now);
            entry.status.runs += 1;
        });
        let outcome = tokio::select! {
            outcome = AssertUnwindSafe(reconciler.activate()).catch_unwind() => outcome.unwrap_or_else(|panic| {
                let reason = format!("panicked: {}", panic_text(panic.as_ref()));
                Outcome::Failed { object: name.to_owned(), reason }
            }),
            () = self.keep_lease(name) => {
                let reason = "another server has taken over".to_owned();
                Outcome::Failed { object: format!("lease of `{name}`"), reason }
            }
        };
        Some(self.end(name, outcome))
    }

    fn end(&self, name: &'static str, outcome: Outcome) -> Outcome {
        let now = self.store.clock().now();
        let known = self.change(name, |entry| {
            entry.status.running_since = None;
            entry.status.ended_at = Some(now);
            let known = entry.status.outcome.as_ref() == Some(&outcome);
            entry.status.outcome = Some(outcome.clone());
            entry.status.failures = if matches!(outcome, Outcome::Failed { .. }) {
                entry.status.failures.saturating_add(1)
            } else {
                0
            };
            known
        });
        if let Outcome::Failed { object, reason } = &outcome
            && !known
        {
            tracing::warn!(reconciler = name, "reconciler `{name}` failed on {object}: {reason}");
        }
        outcome
    }

    fn next_look(&self, outcome: Option<&Outcome>, period: Duration) -> Duration {
        match outcome {
            Some(Outcome::Waiting { until }) => {
                let ms = until.as_millisecond() - self.store.clock().now_ms();
                Duration::from_millis(u64::try_from(ms).unwrap_or(0)).min(period)
            }
            // Whoever has the lease may die.
            None => period.min(LEASE),
            Some(_) => period,
        }
    }

    fn failures(&self, name: &'static str) -> u32 {
        self.change(name, |entry| entry.status.failures)
    }

    fn change<T>(&self, name: &'static str, change: impl FnOnce(&mut Entry) -> T) -> T {
        let mut entries = self.entries.lock().expect("nothing panics while it holds this lock");
        change(entries.entry(name).or_insert_with(|| Entry {
            status: ReconcilerStatus {
                name,
                running_since: None,
                ended_at: None,
                outcome: None,
                runs: 0,
                failures: 0,
            },
            turn: Arc::new(Semaphore::new(1)),
        }))
    }

    /// With SQLite there is no other server to agree with.
    async fn take_lease(&self, name: &str) -> Result<bool> {
        if self.store.backend() == Backend::Sqlite {
            return Ok(true);
        }
        let mut tx = self.store.begin().await?;
        let taken = tx.take_lease(&format!("reconciler/{name}"), &self.owner, LEASE).await?;
        tx.commit().await?;
        Ok(taken)
    }

    /// Returns when the lease is lost.
    async fn keep_lease(&self, name: &str) {
        let mut failed = 0;
        loop {
            sleep(LEASE / 4).await;
            match self.take_lease(name).await {
                Ok(true) => failed = 0,
                // Twice may be the database's bad moment; the lease still holds then.
                Err(_) if failed < 2 => failed += 1,
                Ok(false) | Err(_) => return,
            }
        }
    }
}

fn pause_after(failures: u32) -> Duration {
    match failures {
        0 => Duration::ZERO,
        n => Duration::from_millis(250).saturating_mul(1 << n.min(10)).min(MAX_PAUSE),
    }
}

impl Outcome {
    /// Says that something couldn't be done, with the whole chain of causes for operators.
    pub fn failed(object: impl Into<String>, error: &dyn std::error::Error) -> Self {
        let mut reason = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            reason = format!("{reason}: {cause}");
            source = cause.source();
        }
        Self::Failed { object: object.into(), reason }
    }
}
