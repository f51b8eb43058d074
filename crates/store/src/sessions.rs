//! Signed-in browsers.

use jiff::Timestamp;
use panda_domain::ids::{SessionId, TeamId, UserId};
use panda_domain::team::Role;

use crate::error::Result;
use crate::sql::Row;
use crate::tx::Tx;
use crate::users::User;

/// How often the time of the last sight is written, ms.
const SIGHT_STEP_MS: i64 = 60_000;

/// One signed-in browser.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionRow {
    /// Its id.
    pub id: SessionId,
    /// Who signed in.
    pub user: UserId,
    /// The team that they look at.
    pub team: TeamId,
    /// What the browser calls itself, as it said.
    pub user_agent: String,
    /// When they signed in.
    pub created_at: Timestamp,
    /// When it was last used, to the minute.
    pub last_seen_at: Timestamp,
    /// When it ends.
    pub expires_at: Timestamp,
}

/// A session to be made.
#[derive(Clone)]
pub struct NewSession {
    /// Who signs in.
    pub user: UserId,
    /// The team that they look at.
    pub team: TeamId,
    /// Hash of the cookie's secret.
    pub secret_hash: String,
    /// What the browser calls itself.
    pub user_agent: String,
    /// When it ends.
    pub expires_at: Timestamp,
}

fn read(row: &Row) -> Result<SessionRow> {
    Ok(SessionRow {
        id: row.parse("id")?,
        user: row.parse("user_id")?,
        team: row.parse("team_id")?,
        user_agent: row.text("user_agent")?,
        created_at: row.time("created_at")?,
        last_seen_at: row.time("last_seen_at")?,
        expires_at: row.time("expires_at")?,
    })
}

impl Tx {
    /// Makes a session.
    pub async fn insert_session(&mut self, new: &NewSession) -> Result<SessionRow> {
        let (id, now): (SessionId, _) = (self.next_id(), self.now());
        let sql = "insert into sessions
            (id, user_id, team_id, secret_hash, user_agent, created_at, last_seen_at, expires_at)
            values ($1, $2, $3, $4, $5, $6, $6, $7)";
        self.sql("sessions", sql)
            .bind(&id)
            .bind(&new.user)
            .bind(&new.team)
            .bind(&new.secret_hash)
            .bind(&new.user_agent)
            .bind(now)
            .bind(new.expires_at)
            .run()
            .await?;
        Ok(SessionRow {
            id,
            user: new.user.clone(),
            team: new.team.clone(),
            user_agent: new.user_agent.clone(),
            created_at: now,
            last_seen_at: now,
            expires_at: new.expires_at,
        })
    }

    /// Returns who is behind a session's secret and their role in its team, if it hasn't ended, they aren't disabled
    /// and still are in the team.
    pub async fn session_principal(&mut self, secret_hash: &str) -> Result<Option<(SessionRow, User, Role)>> {
        let now = self.now();
        let sql =
            "select s.id, s.user_id, s.team_id, s.user_agent, s.created_at, s.last_seen_at, s.expires_at,
            u.email, u.password_hash, u.created_at as user_created_at, m.role
            from sessions s
            join users u on u.id = s.user_id and u.disabled_at is null
            join memberships m on m.team_id = s.team_id and m.user_id = s.user_id
            where s.secret_hash = $1 and s.expires_at > $2";
        self.sql("sessions", sql)
            .bind(secret_hash)
            .bind(now)
            .maybe(|row| {
                let session = read(row)?;
                let user = User {
                    id: session.user.clone(),
                    email: row.parse("email")?,
                    password_hash: row.text("password_hash")?,
                    created_at: row.time("user_created_at")?,
                    disabled_at: None,
                };
                Ok((session, user, row.word("role")?))
            })
            .await
    }

    /// Notes that a session was used; writes at most once a minute.
    pub async fn touch_session(&mut self, id: &SessionId) -> Result<()> {
        let now = self.now();
        let sql = "update sessions set last_seen_at = $2 where id = $1 and last_seen_at <= $3";
        self.sql("sessions", sql).bind(id).bind(now).bind(now.as_millisecond() - SIGHT_STEP_MS).run().await?;
        Ok(())
    }

    /// Returns a person's sessions that haven't ended, newest first.
    pub async fn sessions_of(&mut self, user: &UserId) -> Result<Vec<SessionRow>> {
        let now = self.now();
        let sql =
            "select id, user_id, team_id, user_agent, created_at, last_seen_at, expires_at from sessions
            where user_id = $1 and expires_at > $2 order by id desc";
        self.sql("sessions", sql).bind(user).bind(now).list(read).await
    }

    /// Ends one of a person's sessions. Returns false if they have no such session.
    pub async fn delete_session(&mut self, user: &UserId, id: &SessionId) -> Result<bool> {
        self.sql("sessions", "delete from sessions where user_id = $1 and id = $2")
            .bind(user)
            .bind(id)
            .changed()
            .await
    }

    /// Ends a person's sessions but the one to keep. Returns how many.
    pub async fn delete_other_sessions(&mut self, user: &UserId, keep: Option<&SessionId>) -> Result<u64> {
        let keep = keep.map_or("", SessionId::as_str);
        self.sql("sessions", "delete from sessions where user_id = $1 and id <> $2")
            .bind(user)
            .bind(keep)
            .run()
            .await
    }

    /// Removes sessions, device codes, rate counts, leases and API tokens whose time is over, at most `limit` of each.
    /// Returns how many rows went.
    pub async fn delete_expired(&mut self, limit: u32) -> Result<u64> {
        /// Codes, counts and leases are kept a day, so that their state can still be told.
        const DAY_MS: i64 = 86_400_000;
        /// Who wonders why a token doesn't work any more finds it in the list.
        const MONTH_MS: i64 = 30 * DAY_MS;
        let now = self.now().as_millisecond();
        let over = [
            ("sessions", "delete from sessions where id in (select id from sessions where expires_at <= $1 limit $2)", now),
            (
                "device_codes",
                "delete from device_codes where id in (select id from device_codes where expires_at <= $1 limit $2)",
                now - DAY_MS,
            ),
            (
                "rate_windows",
                "delete from rate_windows where key in (select key from rate_windows where started_at <= $1 limit $2)
                    and started_at <= $1",
                now - DAY_MS,
            ),
            (
                "leases",
                "delete from leases where name in (select name from leases where until <= $1 limit $2) and until <= $1",
                now - DAY_MS,
            ),
            (
                "tokens",
                "delete from tokens where id in (select id from tokens where expires_at <= $1 limit $2)",
                now - MONTH_MS,
            ),
        ];
        let mut gone = 0;
        for (table, sql, before) in over {
            gone += self.sql(table, sql).bind(before).bind(limit).run().await?;
        }
        Ok(gone)
    }
}
