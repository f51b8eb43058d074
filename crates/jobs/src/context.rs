//! What a running job may use: its payload, its steps, and the news that it should stop.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Mutex, OnceLock};

use panda_domain::ids::{PlacementId, TeamId};
use panda_domain::job::JobPayload;
use panda_store::{JobRow, Store, StoreError, Tx};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

/// Why a job has to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Somebody asked for it: clean up, then answer canceled.
    Canceled,
    /// Another server has it: nothing may be written any more.
    LeaseLost,
    /// This server stops: the next one goes on from the last saved step.
    ShuttingDown,
}

/// Why a step gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum StepError<E> {
    /// The job has to stop.
    #[error("the job has to stop ({0:?})")]
    Stopped(Stop),
    /// Its output couldn't be kept.
    #[error("keep the output of step `{step}`")]
    Store {
        /// The step.
        step: String,
        /// What the store said.
        #[source]
        source: StoreError,
    },
    /// What an earlier run kept can't be read by this version of the program.
    #[error("the kept output of step `{step}` is of another form: {problem}")]
    OtherForm {
        /// The step.
        step: String,
        /// What doesn't fit.
        problem: String,
    },
    /// The step itself failed.
    #[error(transparent)]
    Failed(E),
}

/// One run of a job.
pub struct JobContext {
    store: Store,
    job: JobRow,
    payload: JobPayload,
    outputs: Mutex<HashMap<String, Value>>,
    pub(crate) stop: CancellationToken,
    reason: OnceLock<Stop>,
}

impl JobContext {
    pub(crate) fn new(store: Store, job: JobRow, payload: JobPayload, outputs: Vec<(String, Value)>) -> Self {
        Self {
            store,
            job,
            payload,
            outputs: Mutex::new(outputs.into_iter().collect()),
            stop: CancellationToken::new(),
            reason: OnceLock::new(),
        }
    }

    /// Returns what the job is about.
    pub fn payload(&self) -> &JobPayload {
        &self.payload
    }

    /// Returns the job's row as it was claimed.
    pub fn job(&self) -> &JobRow {
        &self.job
    }

    /// Returns how often the job was started, this time included.
    pub fn attempt(&self) -> u32 {
        self.job.attempt
    }

    /// Returns the store.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Returns the token that is set when the job has to stop. Hand it to what takes long.
    pub fn stopped(&self) -> &CancellationToken {
        &self.stop
    }

    /// Returns why the job has to stop, `None` while it may go on.
    pub fn stop_reason(&self) -> Option<Stop> {
        self.reason.get().copied()
    }

    /// Sets the token; the first reason counts, except that a lost lease overrides nothing that was said before.
    pub(crate) fn tell_to_stop(&self, reason: Stop) {
        let _ = self.reason.set(reason);
        self.stop.cancel();
    }

    /// Runs `work` once: if an earlier run of this job has kept the step's output, returns that instead.
    ///
    /// `work` is dropped where it stands when the job has to stop, and may have been done in part, or wholly, by an
    /// earlier run that died before its output was kept. So it has to bear being done twice.
    pub async fn step<T, E, F, W>(&self, name: &str, work: W) -> Result<T, StepError<E>>
    where
        T: Serialize + DeserializeOwned,
        W: FnOnce() -> F,
        F: Future<Output = Result<T, E>>,
    {
        if let Some(kept) = self.kept(name)? {
            return Ok(kept);
        }
        self.go_on()?;
        let output = tokio::select! {
            biased;
            () = self.stop.cancelled() => return Err(self.stopped_error()),
            output = work() => output.map_err(StepError::Failed)?,
        };
        self.keep(name, &output).await?;
        Ok(output)
    }

    /// Begins a transaction that can only be committed while the job is held: the door for everything that a handler
    /// writes. `Stale` when another server has the job; then it has to stop, too.
    pub async fn begin(&self) -> Result<Tx, StoreError> {
        let mut tx = self.store.begin().await?;
        if tx.hold_job(&self.job).await? {
            return Ok(tx);
        }
        self.tell_to_stop(Stop::LeaseLost);
        Err(StoreError::Stale { what: format!("the lease of job `{}`", self.job.id) })
    }

    /// Like [`JobContext::begin`], alone in a placement: for what gives a release or moves the placement's pointers. The placement
    /// comes first, as with everybody who cancels jobs of a placement: two who want both never wait for each other.
    pub async fn begin_on(&self, team: &TeamId, placement: &PlacementId) -> Result<Tx, StoreError> {
        let mut tx = self.store.begin().await?;
        tx.lock_placement(team, placement).await?;
        if tx.hold_job(&self.job).await? {
            return Ok(tx);
        }
        self.tell_to_stop(Stop::LeaseLost);
        Err(StoreError::Stale { what: format!("the lease of job `{}`", self.job.id) })
    }

    /// Makes sure, at the start of a transaction of the handler, that the job is still held when it commits.
    pub async fn fence<E>(&self, tx: &mut Tx) -> Result<(), StepError<E>> {
        let held = tx.hold_job(&self.job).await.map_err(|source| store_error("fence", source))?;
        if held {
            return Ok(());
        }
        self.tell_to_stop(Stop::LeaseLost);
        Err(StepError::Stopped(Stop::LeaseLost))
    }

    fn kept<T: DeserializeOwned, E>(&self, name: &str) -> Result<Option<T>, StepError<E>> {
        let outputs = self.outputs.lock().expect("nothing panics while it holds this lock");
        let Some(kept) = outputs.get(name) else { return Ok(None) };
        serde_json::from_value(kept.clone())
            .map(Some)
            .map_err(|e| StepError::OtherForm { step: name.to_owned(), problem: e.to_string() })
    }

    async fn keep<T: Serialize, E>(&self, name: &str, output: &T) -> Result<(), StepError<E>> {
        let value = serde_json::to_value(output)
            .map_err(|e| StepError::OtherForm { step: name.to_owned(), problem: e.to_string() })?;
        let save = async {
            let mut tx = self.store.begin().await?;
            let held = tx.save_output(&self.job, name, &value).await?;
            tx.commit().await?;
            Ok(held)
        };
        if !save.await.map_err(|source| store_error(name, source))? {
            self.tell_to_stop(Stop::LeaseLost);
            return Err(StepError::Stopped(Stop::LeaseLost));
        }
        self.outputs.lock().expect("nothing panics while it holds this lock").insert(name.to_owned(), value);
        Ok(())
    }

    fn go_on<E>(&self) -> Result<(), StepError<E>> {
        if self.stop.is_cancelled() { Err(self.stopped_error()) } else { Ok(()) }
    }

    fn stopped_error<E>(&self) -> StepError<E> {
        StepError::Stopped(self.stop_reason().unwrap_or(Stop::ShuttingDown))
    }
}

fn store_error<E>(step: &str, source: StoreError) -> StepError<E> {
    StepError::Store { step: step.to_owned(), source }
}
