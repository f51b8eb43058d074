//! API tokens: hashed, scoped, expiring.

use jiff::Timestamp;
use panda_domain::ids::{TeamId, TokenId, UserId};
use panda_domain::names::{Email, TeamName, TokenName};
use panda_domain::team::{Role, Scope};

use crate::error::Result;
use crate::page::Cursor;
use crate::sql::{Row, to_json};
use crate::tx::Tx;

/// How often the time of the last use is written, ms.
const USE_STEP_MS: i64 = 60_000;

/// One API token, without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRow {
    /// Its id.
    pub id: TokenId,
    /// The team that it works in.
    pub team: TeamId,
    /// The person that it acts for.
    pub user: UserId,
    /// Its name.
    pub name: TokenName,
    /// What it may do.
    pub scope: Scope,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends.
    pub expires_at: Timestamp,
    /// When it was last used, to the minute.
    pub last_used_at: Option<Timestamp>,
}

/// A token to be made.
#[derive(Clone)]
pub struct NewToken {
    /// The team that it works in.
    pub team: TeamId,
    /// The person that it acts for.
    pub user: UserId,
    /// Its name.
    pub name: TokenName,
    /// What it may do.
    pub scope: Scope,
    /// Hash of its secret.
    pub secret_hash: String,
    /// When it ends.
    pub expires_at: Timestamp,
}

/// Who is behind a token: the token, its owner's address and role, the team's name.
pub type TokenPrincipal = (TokenRow, Email, Role, TeamName);

fn read(row: &Row) -> Result<TokenRow> {
    Ok(TokenRow {
        id: row.parse("id")?,
        team: row.parse("team_id")?,
        user: row.parse("user_id")?,
        name: row.parse("name")?,
        scope: row.json("scope")?,
        created_at: row.time("created_at")?,
        expires_at: row.time("expires_at")?,
        last_used_at: row.opt_time("last_used_at")?,
    })
}

impl Tx {
    /// Makes a token.
    pub async fn insert_token(&mut self, new: &NewToken) -> Result<TokenRow> {
        let (id, now): (TokenId, _) = (self.next_id(), self.now());
        let sql =
            "insert into tokens (id, team_id, user_id, name, scope, secret_hash, created_at, expires_at)
            values ($1, $2, $3, $4, $5, $6, $7, $8)";
        self.sql("tokens", sql)
            .bind(&id)
            .bind(&new.team)
            .bind(&new.user)
            .bind(&new.name)
            .bind(to_json(&new.scope))
            .bind(&new.secret_hash)
            .bind(now)
            .bind(new.expires_at)
            .run()
            .await?;
        Ok(TokenRow {
            id,
            team: new.team.clone(),
            user: new.user.clone(),
            name: new.name.clone(),
            scope: new.scope.clone(),
            created_at: now,
            expires_at: new.expires_at,
            last_used_at: None,
        })
    }

    /// Returns who is behind a token's secret, if it hasn't ended, its owner isn't disabled and still is in the team.
    pub async fn token_principal(&mut self, secret_hash: &str) -> Result<Option<TokenPrincipal>> {
        let now = self.now();
        let sql =
            "select k.id, k.team_id, k.user_id, k.name, k.scope, k.created_at, k.expires_at, k.last_used_at,
            u.email, m.role, t.name as team_name
            from tokens k
            join users u on u.id = k.user_id and u.disabled_at is null
            join memberships m on m.team_id = k.team_id and m.user_id = k.user_id
            join teams t on t.id = k.team_id
            where k.secret_hash = $1 and k.expires_at > $2";
        self.sql("tokens", sql)
            .bind(secret_hash)
            .bind(now)
            .maybe(|row| Ok((read(row)?, row.parse("email")?, row.word("role")?, row.parse("team_name")?)))
            .await
    }

    /// Returns a team's tokens, newest first.
    pub async fn tokens(&mut self, team: &TeamId, page: &Cursor) -> Result<Vec<TokenRow>> {
        let sql = "select id, team_id, user_id, name, scope, created_at, expires_at, last_used_at from tokens
            where team_id = $1 and id < $2 order by id desc limit $3";
        self.sql("tokens", sql).bind(team).bind(page.before_id()?).bind(page.limit()).list(read).await
    }

    /// Returns one token of a team.
    pub async fn token(&mut self, team: &TeamId, id: &TokenId) -> Result<Option<TokenRow>> {
        let sql = "select id, team_id, user_id, name, scope, created_at, expires_at, last_used_at from tokens
            where team_id = $1 and id = $2";
        self.sql("tokens", sql).bind(team).bind(id).optional().await?.map(|row| read(&row)).transpose()
    }

    /// Revokes a token. Returns false if the team has no such token.
    pub async fn delete_token(&mut self, team: &TeamId, id: &TokenId) -> Result<bool> {
        self.sql("tokens", "delete from tokens where team_id = $1 and id = $2")
            .bind(team)
            .bind(id)
            .changed()
            .await
    }

    /// Notes that a token was used; writes at most once a minute.
    pub async fn touch_token(&mut self, id: &TokenId) -> Result<()> {
        let now = self.now();
        let sql = "update tokens set last_used_at = $2 where id = $1 and (last_used_at is null or last_used_at <= $3)";
        self.sql("tokens", sql).bind(id).bind(now).bind(now.as_millisecond() - USE_STEP_MS).run().await?;
        Ok(())
    }
}
