//! Events: the audit log and the timeline.

use jiff::Timestamp;
use panda_domain::event::Actor;
use panda_domain::ids::{AppId, TeamId};
use serde_json::Value;

use crate::error::Result;
use crate::page::Cursor;
use crate::sql::{Row, to_json};
use crate::tx::Tx;

/// Something that happened.
#[derive(Debug, Clone, PartialEq)]
pub struct EventRow {
    /// Goes up: what a stream resumes after.
    pub id: i64,
    /// When.
    pub at: Timestamp,
    /// What kind: `app.created`, …
    pub kind: String,
    /// Who did it.
    pub actor: Actor,
    /// To which app.
    pub app: Option<AppId>,
    /// What happened, a line for people.
    pub text: String,
    /// Details.
    pub data: Value,
}

/// An event to be written. Never holds a secret.
#[derive(Debug, Clone)]
pub struct NewEvent<'a> {
    /// Whose; `None` for the installation itself.
    pub team: Option<TeamId>,
    /// To which app.
    pub app: Option<AppId>,
    /// What kind.
    pub kind: &'a str,
    /// Who did it.
    pub actor: &'a Actor,
    /// What happened, a line for people.
    pub text: String,
    /// Details.
    pub data: Value,
}

fn read(row: &Row) -> Result<EventRow> {
    Ok(EventRow {
        id: row.int("id")?,
        at: row.time("at")?,
        kind: row.text("kind")?,
        actor: row.json("actor")?,
        app: row.opt_parse("app_id")?,
        text: row.text("text")?,
        data: row.json("data")?,
    })
}

impl Tx {
    /// Writes an event. Belongs at the end of a transaction: others of the same team wait until it is committed.
    pub async fn add_event(&mut self, new: &NewEvent<'_>) -> Result<i64> {
        let now = self.now();
        let team = new.team.as_ref();
        self.in_order(team.map_or("installation", TeamId::as_str)).await?;
        let sql = "insert into events (team_id, app_id, kind, actor, text, data, at) values ($1, $2, $3, $4, $5, $6, $7)
            returning id";
        self.sql("events", sql)
            .bind(team)
            .bind(new.app.as_ref())
            .bind(new.kind)
            .bind(to_json(new.actor))
            // PostgreSQL has no text with a zero byte in it.
            .bind(new.text.replace('\0', "\u{fffd}"))
            .bind(new.data.to_string())
            .bind(now)
            .one()
            .await?
            .int("id")
    }

    /// Returns a team's events, or those of one app, newest first. The cursor names an event's number.
    pub async fn events(
        &mut self,
        team: &TeamId,
        app: Option<&AppId>,
        page: &Cursor,
    ) -> Result<Vec<EventRow>> {
        let sql = "select id, app_id, kind, actor, text, data, at from events
            where team_id = $1 and ($2 = '' or app_id = $2) and id < $3 order by id desc limit $4";
        self.sql("events", sql)
            .bind(team)
            .bind(app.map_or("", AppId::as_str))
            .bind(page.before_number()?)
            .bind(page.limit())
            .list(read)
            .await
    }

    /// Returns at most `limit` events that follow the one with number `after`, oldest first.
    pub async fn events_after(
        &mut self,
        team: &TeamId,
        app: Option<&AppId>,
        after: i64,
        limit: u32,
    ) -> Result<Vec<EventRow>> {
        let sql = "select id, app_id, kind, actor, text, data, at from events
            where team_id = $1 and ($2 = '' or app_id = $2) and id > $3 order by id limit $4";
        self.sql("events", sql)
            .bind(team)
            .bind(app.map_or("", AppId::as_str))
            .bind(after)
            .bind(limit)
            .list(read)
            .await
    }

    /// Returns the number of the team's newest event, 0 if it has none: where a stream without a past begins.
    pub async fn newest_event(&mut self, team: &TeamId) -> Result<i64> {
        let sql = "select coalesce(max(id), 0) as newest from events where team_id = $1";
        self.sql("events", sql).bind(team).one().await?.int("newest")
    }
}
