//! The rows of durable jobs. The engine that runs them is the crate `panda-jobs`.
//!
//! Every write of a running job is fenced by its owner and attempt: who has lost the lease can't change anything.

use std::time::Duration;

use jiff::Timestamp;
use panda_domain::ids::JobId;
use panda_domain::job::JobPayload;
use serde_json::Value;

use crate::error::Result;
use crate::sql::{Row, to_json};
use crate::tx::Tx;

/// A job that was claimed.
#[derive(Debug, Clone, PartialEq)]
pub struct JobRow {
    /// Its id.
    pub id: JobId,
    /// Its kind's word.
    pub kind: String,
    /// One at a time per key.
    pub key: String,
    /// What it is about, as JSON: a newer server may have written what this one can't read.
    pub payload: Value,
    /// How often it was started, this time included.
    pub attempt: u32,
    /// Who runs it.
    pub lease_owner: String,
    /// Until when others leave it alone.
    pub lease_until: Timestamp,
    /// Whether it should stop.
    pub cancel_requested: bool,
    /// What went wrong the last time.
    pub last_error: Option<String>,
    /// When it was asked for.
    pub created_at: Timestamp,
}

impl JobRow {
    /// Returns what the job is about, if this program knows such jobs.
    pub fn typed_payload(&self) -> Result<JobPayload, serde_json::Error> {
        serde_json::from_value(self.payload.clone())
    }
}

/// How a job ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobEnd {
    /// Its work is done.
    Done,
    /// It can't be done.
    Failed {
        /// Why.
        error: String,
    },
    /// It was asked to stop, and did.
    Canceled,
}

/// How many jobs of a kind wait and run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobQueueDepth {
    /// The kind's word.
    pub kind: String,
    /// Waiting, those for later included.
    pub queued: u64,
    /// Running.
    pub running: u64,
}

fn read(row: &Row) -> Result<JobRow> {
    Ok(JobRow {
        id: row.parse("id")?,
        kind: row.text("kind")?,
        key: row.text("key")?,
        payload: row.json("payload")?,
        attempt: row.number("attempt")?,
        lease_owner: row.text("lease_owner")?,
        lease_until: row.time("lease_until")?,
        cancel_requested: row.bool("cancel_requested")?,
        last_error: row.opt_text("last_error")?,
        created_at: row.time("created_at")?,
    })
}

/// The job to claim: due and waiting, or running under a lease that ended; and no other of its key running.
/// `$5` is `,kind,kind,`, `$6` whether kinds in that list are wanted, or those that aren't.
macro_rules! claim {
    ($lock:literal) => {
        concat!(
            "update jobs set state = 'running', lease_owner = $1, lease_until = $2, attempt = attempt + 1
            where id = (
                select j.id from jobs j
                where ((j.state = 'queued' and j.run_at <= $4 and not exists (
                        select 1 from jobs o where o.key = j.key and o.state = 'running'))
                    or (j.state = 'running' and j.lease_until <= $3))
                    and ($5 like '%,' || j.kind || ',%') = $6
                order by j.run_at, j.id limit 1 ",
            $lock,
            ")
            returning id, kind, key, payload, attempt, lease_owner, lease_until, cancel_requested, last_error, created_at"
        )
    };
}

impl Tx {
    /// Asks for a job, in the same transaction as the change that wants it. Call [`Tx::wake`] to have it run at once.
    pub async fn enqueue(&mut self, payload: &JobPayload, key: &str, run_at: Timestamp) -> Result<JobId> {
        let (id, now): (JobId, _) = (self.next_id(), self.now());
        let sql = "insert into jobs (id, kind, key, payload, state, run_at, created_at)
            values ($1, $2, $3, $4, 'queued', $5, $6)";
        self.sql("jobs", sql)
            .bind(&id)
            .bind(payload.kind())
            .bind(key)
            .bind(to_json(payload))
            .bind(run_at)
            .bind(now)
            .run()
            .await?;
        Ok(id)
    }

    /// Claims the job that is due longest, of one of these kinds, for `lease`. Nobody else gets it, nor another one with
    /// the same key, until it ends or the lease does.
    pub async fn claim_job(
        &mut self,
        owner: &str,
        kinds: &[&str],
        lease: Duration,
    ) -> Result<Option<JobRow>> {
        let now = self.now().as_millisecond();
        self.claim_due(owner, kinds, true, now, lease).await
    }

    /// Claims a job that has been due for `overdue` and is of none of these kinds: nobody here can run it.
    pub async fn claim_unknown_job(
        &mut self,
        owner: &str,
        kinds: &[&str],
        overdue: Duration,
        lease: Duration,
    ) -> Result<Option<JobRow>> {
        let due = self.now().as_millisecond() - millis(overdue);
        self.claim_due(owner, kinds, false, due, lease).await
    }

    async fn claim_due(
        &mut self,
        owner: &str,
        kinds: &[&str],
        wanted: bool,
        due: i64,
        lease: Duration,
    ) -> Result<Option<JobRow>> {
        let now = self.now().as_millisecond();
        // Claims are made one after the other: only then does a claim see what runs under the same key.
        self.in_order("jobs").await?;
        self.sql_by("jobs", claim!(""), claim!("for update skip locked"))
            .bind(owner)
            .bind(now.saturating_add(millis(lease)))
            .bind(now)
            .bind(due)
            .bind(format!(",{},", kinds.join(",")))
            .bind(wanted)
            .maybe(read)
            .await
    }

    /// Prolongs the lease. Returns false if it is lost.
    pub async fn heartbeat(&mut self, job: &JobRow, lease: Duration) -> Result<bool> {
        let until = self.now().as_millisecond().saturating_add(millis(lease));
        let sql = "update jobs set lease_until = $4
            where id = $1 and lease_owner = $2 and attempt = $3 and state = 'running'";
        self.fenced(sql, job).bind(until).changed().await
    }

    /// Makes sure that the job is still held until this transaction ends: a fence for what else it writes. Returns false
    /// if the lease is lost.
    pub async fn hold_job(&mut self, job: &JobRow) -> Result<bool> {
        // Writes the row as it is, so that nobody can take the lease between this and the commit.
        let sql = "update jobs set attempt = attempt
            where id = $1 and lease_owner = $2 and attempt = $3 and state = 'running'";
        self.fenced(sql, job).changed().await
    }

    /// Returns what the job's named steps gave so far.
    pub async fn job_outputs(&mut self, job: &JobRow) -> Result<Vec<(String, Value)>> {
        let sql = "select step, output from job_outputs where job_id = $1 order by at, step";
        self.sql("job_outputs", sql)
            .bind(&job.id)
            .list(|row| Ok((row.text("step")?, row.json("output")?)))
            .await
    }

    /// Keeps what a named step gave. Returns false if the lease is lost.
    pub async fn save_output(&mut self, job: &JobRow, step: &str, output: &Value) -> Result<bool> {
        if !self.hold_job(job).await? {
            return Ok(false);
        }
        let now = self.now();
        let sql = "insert into job_outputs (job_id, step, output, at) values ($1, $2, $3, $4)
            on conflict (job_id, step) do update set output = excluded.output";
        self.sql("job_outputs", sql)
            .bind(&job.id)
            .bind(step)
            .bind(output.to_string())
            .bind(now)
            .run()
            .await?;
        Ok(true)
    }

    /// Ends a job. Returns false if the lease is lost.
    pub async fn finish_job(&mut self, job: &JobRow, end: &JobEnd) -> Result<bool> {
        let now = self.now();
        let (state, error) = match end {
            JobEnd::Done => ("done", None),
            JobEnd::Failed { error } => ("failed", Some(error.replace('\0', "\u{fffd}"))),
            JobEnd::Canceled => ("canceled", None),
        };
        let sql = "update jobs set state = $4, last_error = coalesce($5, last_error), finished_at = $6,
                lease_owner = null, lease_until = null
            where id = $1 and lease_owner = $2 and attempt = $3 and state = 'running'";
        let ended = self.fenced(sql, job).bind(state).bind(error).bind(now).changed().await?;
        if ended {
            let sql = "delete from job_outputs where job_id = $1";
            self.sql("job_outputs", sql).bind(&job.id).run().await?;
        }
        Ok(ended)
    }

    /// Puts a job back, to be run again at `run_at`. Returns false if the lease is lost.
    pub async fn retry_job(&mut self, job: &JobRow, run_at: Timestamp, error: &str) -> Result<bool> {
        let sql = "update jobs set state = 'queued', run_at = $4, last_error = $5, lease_owner = null, lease_until = null
            where id = $1 and lease_owner = $2 and attempt = $3 and state = 'running'";
        self.fenced(sql, job).bind(run_at).bind(error.replace('\0', "\u{fffd}")).changed().await
    }

    /// Lets go of a job, because this server stops: the next one goes on at once. Returns false if the lease is lost.
    pub async fn release_job(&mut self, job: &JobRow) -> Result<bool> {
        let now = self.now();
        let sql = "update jobs set state = 'queued', run_at = case when run_at < $4 then run_at else $4 end,
                lease_owner = null, lease_until = null
            where id = $1 and lease_owner = $2 and attempt = $3 and state = 'running'";
        self.fenced(sql, job).bind(now).changed().await
    }

    /// Asks all jobs of a key that haven't ended to stop. Returns false if there is none.
    pub async fn cancel_job(&mut self, key: &str) -> Result<bool> {
        // One that waits for a later time has to hear of it now.
        let now = self.now();
        let sql =
            "update jobs set cancel_requested = $2, run_at = case when run_at < $3 then run_at else $3 end
            where key = $1 and state in ('queued', 'running')";
        self.sql("jobs", sql).bind(key).bind(true).bind(now).changed().await
    }

    /// Tells whether a job was asked to stop, or is gone.
    pub async fn job_cancel_requested(&mut self, job: &JobRow) -> Result<bool> {
        let sql = "select cancel_requested from jobs where id = $1";
        let flag = self.sql("jobs", sql).bind(&job.id).maybe(|row| row.bool("cancel_requested")).await?;
        Ok(flag.unwrap_or(true))
    }

    /// Ends the leases of all running jobs and of everything else. Only for a server that knows it is alone.
    pub async fn end_all_leases(&mut self) -> Result<u64> {
        self.sql("leases", "delete from leases").run().await?;
        self.sql("jobs", "update jobs set lease_until = 0 where state = 'running'").run().await
    }

    /// Returns when the next waiting job is due or the next lease ends, whatever its kind.
    pub async fn next_job_at(&mut self) -> Result<Option<Timestamp>> {
        let sql = "select min(case when state = 'queued' then run_at else lease_until end) as next from jobs
            where state in ('queued', 'running')";
        self.sql("jobs", sql).one().await?.opt_time("next")
    }

    /// Returns how many jobs of each kind wait and run.
    pub async fn job_queue_depth(&mut self) -> Result<Vec<JobQueueDepth>> {
        let sql = "select kind, count(case when state = 'queued' then 1 end) as queued,
                count(case when state = 'running' then 1 end) as running
            from jobs where state in ('queued', 'running') group by kind order by kind";
        self.sql("jobs", sql)
            .list(|row| {
                Ok(JobQueueDepth {
                    kind: row.text("kind")?,
                    queued: row.number("queued")?,
                    running: row.number("running")?,
                })
            })
            .await
    }

    /// Returns a job's state word and last error, for tests and operators.
    pub async fn job_state(&mut self, id: &JobId) -> Result<Option<(String, Option<String>)>> {
        let sql = "select state, last_error from jobs where id = $1";
        self.sql("jobs", sql)
            .bind(id)
            .maybe(|row| Ok((row.text("state")?, row.opt_text("last_error")?)))
            .await
    }

    /// Removes at most `limit` jobs that ended before `before`. Returns how many.
    pub async fn delete_ended_jobs(&mut self, before: Timestamp, limit: u32) -> Result<u64> {
        let sql = "delete from jobs where id in (select id from jobs where finished_at < $1 limit $2)";
        self.sql("jobs", sql).bind(before).bind(limit).run().await
    }

    fn fenced<'t>(&'t mut self, sql: &'static str, job: &JobRow) -> crate::sql::Statement<'t> {
        self.sql("jobs", sql).bind(&job.id).bind(&job.lease_owner).bind(job.attempt)
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
