//! Teams and their members.

use jiff::Timestamp;
use panda_domain::ids::{TeamId, UserId};
use panda_domain::names::{Email, TeamName};
use panda_domain::team::Role;
use serde::{Deserialize, Serialize};

use crate::error::{Result, StoreError};
use crate::sql::{Row, to_word};
use crate::tx::Tx;

/// Who owns apps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Team {
    /// Its id.
    pub id: TeamId,
    /// Its name.
    pub name: TeamName,
    /// How strict it is with images.
    pub security: Security,
    /// When it was made.
    pub created_at: Timestamp,
}

/// How strict a team is with images whose user is root.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Security {
    /// They run, with few capabilities, and are marked.
    #[default]
    Baseline,
    /// They are refused.
    Restricted,
}

/// A person in a team.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Who.
    pub user: UserId,
    /// Their address.
    pub email: Email,
    /// What they may do.
    pub role: Role,
}

fn read(row: &Row) -> Result<Team> {
    Ok(Team {
        id: row.parse("id")?,
        name: row.parse("name")?,
        security: row.word("security")?,
        created_at: row.time("created_at")?,
    })
}

impl Tx {
    /// Makes a team; `Taken` if the name is in use.
    pub async fn insert_team(&mut self, name: &TeamName) -> Result<Team> {
        let (id, now): (TeamId, _) = (self.next_id(), self.now());
        let sql = "insert into teams (id, name, security, created_at) values ($1, $2, 'baseline', $3)
            on conflict (name) do nothing";
        if !self.sql("teams", sql).bind(&id).bind(name).bind(now).changed().await? {
            return Err(StoreError::Taken { what: format!("team name `{name}`") });
        }
        Ok(Team { id, name: name.clone(), security: Security::Baseline, created_at: now })
    }

    /// Returns the team with this id.
    pub async fn team(&mut self, id: &TeamId) -> Result<Option<Team>> {
        self.sql("teams", "select id, name, security, created_at from teams where id = $1")
            .bind(id)
            .maybe(read)
            .await
    }

    /// Returns all teams, oldest first. For the platform and its operators.
    pub async fn teams(&mut self) -> Result<Vec<Team>> {
        self.sql("teams", "select id, name, security, created_at from teams order by id").list(read).await
    }

    /// Sets how strict a team is with images.
    pub async fn set_team_security(&mut self, id: &TeamId, security: Security) -> Result<()> {
        let sql = "update teams set security = $2 where id = $1";
        if self.sql("teams", sql).bind(id).bind(to_word(&security)).changed().await? {
            Ok(())
        } else {
            Err(StoreError::not_found(format!("team `{id}`")))
        }
    }

    /// Adds a person to a team, or changes their role.
    pub async fn add_member(&mut self, team: &TeamId, user: &UserId, role: Role) -> Result<()> {
        let now = self.now();
        let sql = "insert into memberships (team_id, user_id, role, created_at) values ($1, $2, $3, $4)
            on conflict (team_id, user_id) do update set role = excluded.role";
        self.sql("memberships", sql).bind(team).bind(user).bind(role.word()).bind(now).run().await?;
        Ok(())
    }

    /// Takes a person out of a team. Returns false if they weren't in it.
    pub async fn remove_member(&mut self, team: &TeamId, user: &UserId) -> Result<bool> {
        self.sql("memberships", "delete from memberships where team_id = $1 and user_id = $2")
            .bind(team)
            .bind(user)
            .changed()
            .await
    }

    /// Returns the people of a team, oldest member first.
    pub async fn members(&mut self, team: &TeamId) -> Result<Vec<Member>> {
        let sql = "select m.user_id, u.email, m.role from memberships m join users u on u.id = m.user_id
            where m.team_id = $1 order by m.created_at, m.user_id";
        self.sql("memberships", sql)
            .bind(team)
            .list(|row| {
                Ok(Member {
                    user: row.parse("user_id")?,
                    email: row.parse("email")?,
                    role: row.word("role")?,
                })
            })
            .await
    }

    /// Returns a person's role in a team, `None` if they aren't in it.
    pub async fn role_of(&mut self, team: &TeamId, user: &UserId) -> Result<Option<Role>> {
        self.sql("memberships", "select role from memberships where team_id = $1 and user_id = $2")
            .bind(team)
            .bind(user)
            .maybe(|row| row.word("role"))
            .await
    }

    /// Returns the team that a person joined first, with their role.
    pub async fn first_team_of(&mut self, user: &UserId) -> Result<Option<(Team, Role)>> {
        let sql = "select t.id, t.name, t.security, t.created_at, m.role from memberships m
            join teams t on t.id = m.team_id where m.user_id = $1 order by m.created_at, m.team_id limit 1";
        self.sql("memberships", sql).bind(user).maybe(|row| Ok((read(row)?, row.word("role")?))).await
    }
}
