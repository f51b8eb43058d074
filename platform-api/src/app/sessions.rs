//! Signing in and out, and what is signed in.

use std::time::Duration;

use panda_api_types::ErrorCode;
use panda_domain::event::Actor;
use panda_domain::ids::{SessionId, TeamId, UserId};
use panda_domain::names::Email;
use panda_store::{NewSession, RateVerdict, SessionRow, Store, Tx};
use secrecy::{ExposeSecret, SecretString};

use super::events::{self, NewEventText};
use crate::auth::password::NewPassword;
use crate::auth::secret::HandedOut;
use crate::auth::{Passwords, Peer, Principal, Via};
use crate::error::{Error, Result};

/// Days until a session ends, used or not.
const SESSION_DAYS: i64 = 30;
const QUARTER: Duration = Duration::from_mins(15);
/// Tries of one account from one address in a quarter of an hour.
const TRIES_OF_ACCOUNT_AND_PEER: u32 = 10;
/// Tries of one address in a quarter of an hour, whatever the account.
const TRIES_OF_PEER: u32 = 100;
/// Tries of one account from anywhere before each further one waits. It never locks: that would lock the owner out.
const TRIES_OF_ACCOUNT: u32 = 30;
const DELAY_OF_ACCOUNT: Duration = Duration::from_secs(1);

/// A fresh session: its secret goes into the cookie and nowhere else.
#[derive(Debug)]
pub struct SignedIn {
    /// The secret.
    pub secret: HandedOut,
    /// Seconds until it ends.
    pub max_age_s: i64,
}

/// Signs in by password. `previous` is the session that the browser had before: it ends, so that none can be planted.
pub async fn login(
    store: &Store,
    passwords: &Passwords,
    peer: &Peer,
    credentials: Credentials,
    previous: Option<&Principal>,
) -> Result<SignedIn> {
    limit_logins(store, peer, &credentials.email).await?;
    let user = store.read().await?.user_by_email(&credentials.email).await?;
    let user = user.filter(|user| user.disabled_at.is_none());
    let stored = user.as_ref().map(|user| user.password_hash.clone());
    let matches = passwords.verify(stored, credentials.password).await?;
    let (Some(user), true) = (user, matches) else { return Err(wrong()) };

    let mut tx = store.begin().await?;
    let (team, _) = tx.first_team_of(&user.id).await?.ok_or_else(wrong)?;
    if let Some(Principal { user: owner, via: Via::Session(id), .. }) = previous {
        tx.delete_session(owner, id).await?;
    }
    let signed_in = open(&mut tx, store, &user.id, &team.id, &credentials.user_agent).await?;
    let actor = Actor::User { id: user.id, email: user.email.to_string() };
    let text = format!("{} signed in from {peer}", user.email);
    events::note(&mut tx, &team.id, &actor, NewEventText { kind: "session.opened", text }).await?;
    tx.commit().await?;
    Ok(signed_in)
}

/// What somebody signs in with.
#[derive(Debug)]
pub struct Credentials {
    /// The address.
    pub email: Email,
    /// The password.
    pub password: SecretString,
    /// The browser's own words.
    pub user_agent: String,
}

/// Ends the session that the request came by; a token ends itself the same way.
pub async fn logout(store: &Store, principal: &Principal) -> Result<()> {
    let mut tx = store.begin().await?;
    match &principal.via {
        Via::Session(id) => tx.delete_session(&principal.user, id).await?,
        Via::Token { id, .. } => tx.delete_token(&principal.team, id).await?,
        Via::Device => false,
    };
    tx.commit().await?;
    Ok(())
}

/// Changes the password, ends every other session and renews this one.
pub async fn change_password(
    store: &Store,
    passwords: &Passwords,
    peer: &Peer,
    principal: &Principal,
    current: SecretString,
    new: NewPassword,
    user_agent: &str,
) -> Result<SignedIn> {
    principal.require_session()?;
    limit_logins(store, peer, &principal.email).await?;
    let user = store.read().await?.user(&principal.user).await?.ok_or_else(Error::unauthenticated)?;
    if current.expose_secret().is_empty() || !passwords.verify(Some(user.password_hash), current).await? {
        return Err(Error::invalid_field("current", "is not the present password"));
    }
    let hash = passwords.hash(&new).await?;
    let mut tx = store.begin().await?;
    tx.set_password(&principal.user, &hash).await?;
    tx.delete_other_sessions(&principal.user, None).await?;
    let signed_in = open(&mut tx, store, &principal.user, &principal.team, user_agent).await?;
    let text = format!("{} changed their password", principal.email);
    let event = NewEventText { kind: "password.changed", text };
    events::note(&mut tx, &principal.team, &principal.actor(), event).await?;
    tx.commit().await?;
    Ok(signed_in)
}

/// Returns the person's sessions, the most recent first.
pub async fn list(store: &Store, principal: &Principal) -> Result<Vec<SessionRow>> {
    principal.require_full()?;
    let mut rows = store.read().await?.sessions_of(&principal.user).await?;
    rows.sort_by(|a, b| b.last_seen_at.cmp(&a.last_seen_at).then_with(|| b.id.cmp(&a.id)));
    Ok(rows)
}

/// Ends one of the person's sessions.
pub async fn revoke(store: &Store, principal: &Principal, id: &SessionId) -> Result<()> {
    principal.require_full()?;
    let mut tx = store.begin().await?;
    if !tx.delete_session(&principal.user, id).await? {
        return Err(Error::not_found("session"));
    }
    let text = format!("{} ended a session", principal.email);
    let event = NewEventText { kind: "session.revoked", text };
    events::note(&mut tx, &principal.team, &principal.actor(), event).await?;
    tx.commit().await?;
    Ok(())
}

/// Opens a session in the caller's transaction.
pub(crate) async fn open(
    tx: &mut Tx,
    store: &Store,
    user: &UserId,
    team: &TeamId,
    user_agent: &str,
) -> Result<SignedIn> {
    let secret = HandedOut::random("");
    let max_age_s = SESSION_DAYS * 24 * 3600;
    tx.insert_session(&NewSession {
        user: user.clone(),
        team: team.clone(),
        secret_hash: secret.hash(),
        user_agent: shown_agent(user_agent),
        expires_at: store.clock().now() + jiff::SignedDuration::from_secs(max_age_s),
    })
    .await?;
    Ok(SignedIn { secret, max_age_s })
}

/// Counts a try under `key` and refuses it beyond the limit.
pub(crate) async fn limit(store: &Store, key: &str, window: Duration, limit: u32, what: &str) -> Result<()> {
    match hit(store, key, window, limit).await? {
        RateVerdict::Allowed => Ok(()),
        RateVerdict::Limited { retry_after_s } => {
            let seconds = u32::try_from(retry_after_s).unwrap_or(u32::MAX);
            Err(Error::rate_limited(format!("too many {what}; wait a while"), seconds))
        }
    }
}

async fn hit(store: &Store, key: &str, window: Duration, limit: u32) -> Result<RateVerdict> {
    let mut tx = store.begin().await?;
    let verdict = tx.hit_rate(key, window, limit).await?;
    tx.commit().await?;
    Ok(verdict)
}

async fn limit_logins(store: &Store, peer: &Peer, email: &Email) -> Result<()> {
    let peer = peer.rate_key();
    limit(store, &format!("login:{peer}"), QUARTER, TRIES_OF_PEER, "logins from this address").await?;
    let both = format!("login:{peer}:{email}");
    limit(store, &both, QUARTER, TRIES_OF_ACCOUNT_AND_PEER, "logins of this account from this address")
        .await?;
    let account = hit(store, &format!("login:{email}"), QUARTER, TRIES_OF_ACCOUNT).await?;
    if matches!(account, RateVerdict::Limited { .. }) {
        tokio::time::sleep(DELAY_OF_ACCOUNT).await;
    }
    Ok(())
}

/// The same words for an unknown address, a wrong password and a disabled user.
fn wrong() -> Error {
    Error::new(ErrorCode::Unauthenticated, "the address or the password is wrong")
}

fn shown_agent(user_agent: &str) -> String {
    user_agent.chars().filter(|c| !c.is_control()).take(200).collect()
}
