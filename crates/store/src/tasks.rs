//! One-off commands: release commands and `panda run`.

use std::collections::HashSet;

use jiff::Timestamp;
use panda_domain::event::Actor;
use panda_domain::ids::{PlacementId, ReleaseId, TaskId, TeamId};

use crate::error::Result;
use crate::page::Cursor;
use crate::sql::{Row, to_json};
use crate::tx::Tx;

/// One task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskRow {
    /// Its id.
    pub id: TaskId,
    /// Whose.
    pub team: TeamId,
    /// In which app and environment.
    pub placement: PlacementId,
    /// In whose image.
    pub release: ReleaseId,
    /// What runs, as argv.
    pub command: Vec<String>,
    /// Whether it has a terminal.
    pub tty: bool,
    /// How long it may run, seconds.
    pub timeout_s: u32,
    /// Where it stands.
    pub state: TaskState,
    /// Who started it.
    pub actor: Actor,
    /// When.
    pub created_at: Timestamp,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
}

/// Where a task stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TaskState {
    /// Asked for, or running.
    Running,
    /// Somebody asked for its end.
    Canceling,
    /// Over.
    Ended {
        /// Its exit code; `None` if it never ran or was stopped.
        exit_code: Option<i64>,
        /// Why it ended, where that isn't the command itself.
        reason: Option<String>,
    },
}

/// A task to be started.
#[derive(Debug, Clone)]
pub struct NewTask {
    /// Whose.
    pub team: TeamId,
    /// In which app and environment.
    pub placement: PlacementId,
    /// In whose image.
    pub release: ReleaseId,
    /// What runs, as argv.
    pub command: Vec<String>,
    /// Whether it has a terminal.
    pub tty: bool,
    /// How long it may run, seconds.
    pub timeout_s: u32,
    /// Who starts it.
    pub actor: Actor,
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "select id, team_id, placement_id, release_id, command, tty, timeout_s, state, exit_code, reason, actor,
                created_at, finished_at from tasks ",
            $rest
        )
    };
}

fn read(row: &Row) -> Result<TaskRow> {
    let state = match row.text("state")?.as_str() {
        "running" => TaskState::Running,
        "canceling" => TaskState::Canceling,
        "ended" => TaskState::Ended { exit_code: row.opt_int("exit_code")?, reason: row.opt_text("reason")? },
        other => return Err(row.odd(format!("has an unknown `state`: `{other}`"))),
    };
    Ok(TaskRow {
        id: row.parse("id")?,
        team: row.parse("team_id")?,
        placement: row.parse("placement_id")?,
        release: row.parse("release_id")?,
        command: row.json("command")?,
        tty: row.bool("tty")?,
        timeout_s: row.number("timeout_s")?,
        state,
        actor: row.json("actor")?,
        created_at: row.time("created_at")?,
        finished_at: row.opt_time("finished_at")?,
    })
}

impl Tx {
    /// Makes a task that counts as running.
    pub async fn insert_task(&mut self, new: &NewTask) -> Result<TaskRow> {
        let (id, now): (TaskId, _) = (self.next_id(), self.now());
        let sql =
            "insert into tasks (id, team_id, placement_id, release_id, command, tty, timeout_s, state, actor,
                created_at) values ($1, $2, $3, $4, $5, $6, $7, 'running', $8, $9)";
        self.sql("tasks", sql)
            .bind(&id)
            .bind(&new.team)
            .bind(&new.placement)
            .bind(&new.release)
            .bind(to_json(&new.command))
            .bind(new.tty)
            .bind(new.timeout_s)
            .bind(to_json(&new.actor))
            .bind(now)
            .run()
            .await?;
        Ok(TaskRow {
            id,
            team: new.team.clone(),
            placement: new.placement.clone(),
            release: new.release.clone(),
            command: new.command.clone(),
            tty: new.tty,
            timeout_s: new.timeout_s,
            state: TaskState::Running,
            actor: new.actor.clone(),
            created_at: now,
            finished_at: None,
        })
    }

    /// Returns the placement's task with this id.
    pub async fn task(
        &mut self,
        team: &TeamId,
        placement: &PlacementId,
        id: &TaskId,
    ) -> Result<Option<TaskRow>> {
        self.sql("tasks", select!("where id = $1 and placement_id = $2 and team_id = $3"))
            .bind(id)
            .bind(placement)
            .bind(team)
            .maybe(read)
            .await
    }

    /// Returns the task with this id whoever owns it: for reconcilers.
    pub async fn task_by_id(&mut self, id: &TaskId) -> Result<Option<TaskRow>> {
        self.sql("tasks", select!("where id = $1")).bind(id).maybe(read).await
    }

    /// Returns a placement's tasks, newest first.
    pub async fn tasks(
        &mut self,
        team: &TeamId,
        placement: &PlacementId,
        page: &Cursor,
    ) -> Result<Vec<TaskRow>> {
        self.sql(
            "tasks",
            select!("where placement_id = $1 and team_id = $2 and id < $3 order by id desc limit $4"),
        )
        .bind(placement)
        .bind(team)
        .bind(page.before_id()?)
        .bind(page.limit())
        .list(read)
        .await
    }

    /// Returns the running tasks of all teams, oldest first: for reconcilers.
    pub async fn running_tasks(&mut self) -> Result<Vec<TaskRow>> {
        self.sql("tasks", select!("where state <> 'ended' order by id")).list(read).await
    }

    /// Returns which of these tasks are known: those that have a row, and release commands of deployments that are under way
    /// or ended since `since`.
    pub async fn known_tasks(&mut self, ids: &[TaskId], since: Timestamp) -> Result<HashSet<TaskId>> {
        let sql = (
            "select id from tasks where id in (select value from json_each($1))
            union select task_id as id from deployments where (active = $3 or finished_at >= $2)
                and task_id in (select value from json_each($1))",
            "select id from tasks where id in (select jsonb_array_elements_text($1::jsonb))
            union select task_id as id from deployments where (active = $3 or finished_at >= $2)
                and task_id in (select jsonb_array_elements_text($1::jsonb))",
        );
        let statement = self.sql_by("tasks", sql.0, sql.1).bind(to_json(ids)).bind(since).bind(true);
        Ok(statement.list(|row| row.parse("id")).await?.into_iter().collect())
    }

    /// Removes at most `limit` tasks that ended before `before`. Returns how many.
    pub async fn delete_ended_tasks(&mut self, before: Timestamp, limit: u32) -> Result<u64> {
        let sql = "delete from tasks where id in (
            select id from tasks where state = 'ended' and finished_at < $1 limit $2)";
        self.sql("tasks", sql).bind(before).bind(limit).run().await
    }

    /// Notes that somebody asked for a task's end. Returns false if it has ended.
    pub async fn cancel_task_row(&mut self, id: &TaskId) -> Result<bool> {
        let sql = "update tasks set state = 'canceling' where id = $1 and state <> 'ended'";
        self.sql("tasks", sql).bind(id).changed().await
    }

    /// Ends a task. Returns false if it had ended before: the first end counts.
    pub async fn end_task(
        &mut self,
        id: &TaskId,
        exit_code: Option<i64>,
        reason: Option<&str>,
    ) -> Result<bool> {
        let now = self.now();
        let sql = "update tasks set state = 'ended', exit_code = $2, reason = $3, finished_at = $4
            where id = $1 and state <> 'ended'";
        self.sql("tasks", sql).bind(id).bind(exit_code).bind(reason).bind(now).changed().await
    }
}
