//! The one answer to "who is asking", for cookies and bearer tokens alike.

use jiff::{SignedDuration, Timestamp};
use panda_domain::event::Actor;
use panda_domain::ids::{SessionId, TeamId, TokenId, UserId};
use panda_domain::names::{AppName, Email, TeamName, TokenName};
use panda_domain::team::{Permission, Role, Scope};
use panda_store::{Store, Tx};

use super::{scope, secret};
use crate::error::{Error, Result};

/// How the request proved who is asking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Via {
    /// By a session's cookie.
    Session(SessionId),
    /// By an API token.
    Token {
        /// Its id.
        id: TokenId,
        /// Its name.
        name: TokenName,
    },
    /// By a device login that a session approved; only ever inside the poll that makes the token.
    Device,
}

/// A person, directly or through a token, in one team.
#[derive(Debug, Clone)]
pub struct Principal {
    /// Who.
    pub user: UserId,
    /// The address.
    pub email: Email,
    /// The team that everything is looked up in.
    pub team: TeamId,
    /// The team's name.
    pub team_name: TeamName,
    /// The role in the team.
    pub role: Role,
    /// How they proved it.
    pub via: Via,
    /// What the proof covers; full for a session.
    pub scope: Scope,
    /// The hash of the secret, to look again later.
    secret_hash: String,
    /// When the secret was last used, as far as it is written down.
    last_used_at: Option<Timestamp>,
}

impl Principal {
    /// Returns the principal of a session's secret, `None` when there is no valid session.
    pub async fn by_session(tx: &mut Tx, presented: &str) -> Result<Option<Self>> {
        if !secret::well_formed(presented, "") {
            return Ok(None);
        }
        Self::by_session_hash(tx, secret::hash(presented)).await
    }

    /// Returns the principal of an API token and the moment at which the token expires, `None` when there is no valid token.
    pub async fn by_token_hash(tx: &mut Tx, secret_hash: String) -> Result<Option<(Self, Timestamp)>> {
        let Some((token, email, role, team_name)) = tx.token_principal(&secret_hash).await? else {
            return Ok(None);
        };
        let principal = Self {
            user: token.user,
            email,
            team: token.team,
            team_name,
            role,
            via: Via::Token { id: token.id, name: token.name },
            scope: token.scope,
            secret_hash,
            last_used_at: token.last_used_at,
        };
        Ok(Some((principal, token.expires_at)))
    }

    async fn by_session_hash(tx: &mut Tx, secret_hash: String) -> Result<Option<Self>> {
        let Some((session, user, role)) = tx.session_principal(&secret_hash).await? else { return Ok(None) };
        let Some(team) = tx.team(&session.team).await? else { return Ok(None) };
        Ok(Some(Self {
            user: user.id,
            email: user.email,
            team: team.id,
            team_name: team.name,
            role,
            via: Via::Session(session.id),
            scope: Scope::Full,
            secret_hash,
            last_used_at: Some(session.last_seen_at),
        }))
    }

    /// Returns the person who approved a device login, as the one who makes its token.
    pub(crate) async fn for_device(tx: &mut Tx, user: &UserId, team: &TeamId) -> Result<Option<Self>> {
        let (Some(user), Some(team)) = (tx.user(user).await?, tx.team(team).await?) else { return Ok(None) };
        let Some(role) = tx.role_of(&team.id, &user.id).await? else { return Ok(None) };
        if user.disabled_at.is_some() {
            return Ok(None);
        }
        Ok(Some(Self {
            user: user.id,
            email: user.email,
            team: team.id,
            team_name: team.name,
            role,
            via: Via::Device,
            scope: Scope::Full,
            secret_hash: String::new(),
            last_used_at: None,
        }))
    }

    /// Refuses what the role or the scope doesn't cover. `app` is what it is done to, `None` the team as a whole.
    pub fn require(&self, permission: Permission, app: Option<&AppName>) -> Result<()> {
        if self.role < permission.needs() {
            return Err(Error::forbidden(format!(
                "the role `{}` may not do this; it needs `{}`",
                self.role.word(),
                permission.needs().word()
            )));
        }
        if !scope::covers(&self.scope, permission, app) {
            return Err(Error::forbidden(format!(
                "the token's scope `{}` doesn't cover this",
                scope::word(&self.scope)
            ))
            .with_hint("use a token with a wider scope, or sign in with `panda login`"));
        }
        Ok(())
    }

    /// Refuses everything but a session: for what a stolen token must not do.
    pub fn require_session(&self) -> Result<&SessionId> {
        match &self.via {
            Via::Session(id) => Ok(id),
            Via::Token { .. } | Via::Device => {
                Err(Error::forbidden("this takes a signed-in browser, not a token"))
            }
        }
    }

    /// Refuses tokens that aren't full: for what belongs to the person, not to an app.
    pub fn require_full(&self) -> Result<()> {
        if self.scope == Scope::Full {
            Ok(())
        } else {
            Err(Error::forbidden(format!(
                "the token's scope `{}` doesn't cover this",
                scope::word(&self.scope)
            )))
        }
    }

    /// Returns who is written down as the doer.
    pub fn actor(&self) -> Actor {
        match &self.via {
            Via::Session(_) | Via::Device => {
                Actor::User { id: self.user.clone(), email: self.email.to_string() }
            }
            Via::Token { id, name } => {
                Actor::Token { id: id.clone(), user: self.user.clone(), name: name.to_string() }
            }
        }
    }

    /// Tells whether the login still stands with at least this permission; long streams ask every few seconds.
    pub async fn still_may(
        &self,
        store: &Store,
        permission: Permission,
        app: Option<&AppName>,
    ) -> Result<bool> {
        let hash = self.secret_hash.clone();
        let mut tx = store.read().await?;
        let now = match self.via {
            Via::Session(_) => Self::by_session_hash(&mut tx, hash).await?,
            Via::Token { .. } => Self::by_token_hash(&mut tx, hash).await?.map(|(principal, _)| principal),
            Via::Device => None,
        };
        Ok(now.is_some_and(|p| p.team == self.team && p.require(permission, app).is_ok()))
    }

    pub(super) fn secret_hash(&self) -> &str {
        &self.secret_hash
    }

    /// Tells whether it is time to write down again that the secret is used.
    pub(crate) fn is_use_due(&self, store: &Store) -> bool {
        let due = store.clock().now() - SignedDuration::from_mins(1);
        self.last_used_at.is_none_or(|at| at <= due)
    }

    /// Writes down that the secret was used. A request doesn't fail because that can't be written.
    pub(crate) async fn note_use(&self, store: &Store) {
        if let Err(error) = self.touch(store).await {
            tracing::debug!("the use of a login wasn't written down: {error}");
        }
    }

    async fn touch(&self, store: &Store) -> Result<()> {
        let mut tx = store.begin().await?;
        match &self.via {
            Via::Session(id) => tx.touch_session(id).await?,
            Via::Token { id, .. } => tx.touch_token(id).await?,
            Via::Device => {}
        }
        tx.commit().await?;
        Ok(())
    }
}
