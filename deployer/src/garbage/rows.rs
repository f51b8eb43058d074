//! Rows whose time is over.

use std::time::Duration;

use super::Garbage;
use super::error::GarbageError;
use super::tally::Tally;

/// Rows that one transaction removes at most: it holds SQLite's only writer for a few milliseconds.
const ROWS: u32 = 500;
/// What people watch of a deployment can be resumed for so long after its end. The build log has its own, longer life.
const PROGRESS: Duration = Duration::from_hours(24);

impl Garbage {
    /// Removes expired sessions and the like, ended jobs and tasks, and the progress of ended deployments. A task's container
    /// has no row then, and goes as an orphan.
    pub(super) async fn rows(&self) -> Result<Tally, GarbageError> {
        let (progress, ended) = (self.ago(PROGRESS), self.ago(self.settings.keep));
        let mut tally = Tally::default();
        let mut took = |what, n: u64| {
            tally.count(what, n);
            tally.more |= n >= u64::from(ROWS);
        };
        let mut tx = self.store.begin().await?;
        took("expired rows", tx.delete_expired(ROWS).await?);
        tx.commit().await?;
        let mut tx = self.store.begin().await?;
        took("jobs", tx.delete_ended_jobs(ended, ROWS).await?);
        tx.commit().await?;
        let mut tx = self.store.begin().await?;
        took("tasks", tx.delete_ended_tasks(ended, ROWS).await?);
        tx.commit().await?;
        let mut tx = self.store.begin().await?;
        took("lines of progress", tx.delete_old_progress(progress, ROWS).await?);
        tx.commit().await?;
        Ok(tally)
    }
}
