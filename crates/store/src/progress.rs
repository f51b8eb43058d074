//! What people watch while a deployment goes on.

use jiff::Timestamp;
use panda_domain::ids::DeploymentId;
use serde_json::Value;

use crate::error::Result;
use crate::sql::Row;
use crate::tx::Tx;

/// One step that a deployment made.
#[derive(Debug, Clone, PartialEq)]
pub struct ProgressRow {
    /// Goes up: what a stream resumes after.
    pub id: i64,
    /// What kind of step: `state`, …
    pub kind: String,
    /// The step.
    pub body: Value,
    /// When.
    pub at: Timestamp,
}

fn read(row: &Row) -> Result<ProgressRow> {
    Ok(ProgressRow {
        id: row.int("id")?,
        kind: row.text("kind")?,
        body: row.json("body")?,
        at: row.time("at")?,
    })
}

impl Tx {
    /// Appends a step.
    pub async fn add_progress(&mut self, deployment: &DeploymentId, kind: &str, body: &Value) -> Result<()> {
        let now = self.now();
        self.in_order(deployment.as_str()).await?;
        let sql = "insert into deployment_progress (deployment_id, kind, body, at) values ($1, $2, $3, $4)";
        self.sql("deployment_progress", sql)
            .bind(deployment)
            .bind(kind)
            .bind(body.to_string())
            .bind(now)
            .run()
            .await?;
        Ok(())
    }

    /// Returns the newest step of this kind.
    pub async fn newest_progress(
        &mut self,
        deployment: &DeploymentId,
        kind: &str,
    ) -> Result<Option<ProgressRow>> {
        let sql = "select id, kind, body, at from deployment_progress
            where deployment_id = $1 and kind = $2 order by id desc limit 1";
        self.sql("deployment_progress", sql).bind(deployment).bind(kind).maybe(read).await
    }

    /// Removes at most `limit` steps of deployments that ended before `before`: nobody resumes their stream any more.
    /// Returns how many.
    pub async fn delete_old_progress(&mut self, before: Timestamp, limit: u32) -> Result<u64> {
        let sql = "delete from deployment_progress where id in (
            select p.id from deployment_progress p join deployments d on d.id = p.deployment_id
            where d.active = $3 and d.finished_at < $1 limit $2)";
        self.sql("deployment_progress", sql).bind(before).bind(limit).bind(false).run().await
    }

    /// Returns at most `limit` steps that follow the one with id `after`, oldest first; 0 starts at the first.
    pub async fn progress_after(
        &mut self,
        deployment: &DeploymentId,
        after: i64,
        limit: u32,
    ) -> Result<Vec<ProgressRow>> {
        let sql = "select id, kind, body, at from deployment_progress
            where deployment_id = $1 and id > $2 order by id limit $3";
        self.sql("deployment_progress", sql).bind(deployment).bind(after).bind(limit).list(read).await
    }
}
