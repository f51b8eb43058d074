//! The first run: whoever reads the server's console becomes its owner. Once.

use panda_domain::event::Actor;
use panda_domain::ids::UserId;
use panda_domain::names::{Email, EnvironmentName, ProjectName, TeamName};
use panda_domain::team::Role;
use panda_store::{NewUser, Store, Tx};

use super::events::{self, NewEventText};
use super::sessions::{self, SignedIn};
use crate::auth::password::NewPassword;
use crate::auth::secret::{self, HandedOut};
use crate::auth::{Passwords, Peer};
use crate::error::{Error, Result};
use panda_api_types::ErrorCode;

const GUESSES_PER_HOUR: u32 = 20;

/// The token that the console shows. Never prints by accident.
#[derive(Debug, Clone)]
pub struct ClaimToken(HandedOut);

impl ClaimToken {
    /// Returns the token itself, for the console.
    pub fn reveal(&self) -> &str {
        self.0.reveal()
    }
}

/// Makes a claim token for the console as long as the server has no owner; the one before is void then. `None` once claimed.
pub async fn ensure_claim_token(store: &Store) -> Result<Option<ClaimToken>> {
    let mut tx = store.begin().await?;
    if tx.claim().await?.is_some_and(|claim| claim.used_at.is_some()) {
        return Ok(None);
    }
    let token = ClaimToken(HandedOut::random("claim_"));
    tx.put_claim(&token.0.hash()).await?;
    tx.commit().await?;
    Ok(Some(token))
}

/// Tells whether the server has an owner.
pub async fn is_claimed(store: &Store) -> Result<bool> {
    let mut tx = store.read().await?;
    Ok(tx.claim().await?.is_some_and(|claim| claim.used_at.is_some()))
}

/// What a new owner says.
#[derive(Debug)]
pub struct Claim {
    /// The token from the console.
    pub token: String,
    /// The address.
    pub email: Email,
    /// The password.
    pub password: NewPassword,
    /// The first team's name.
    pub team: TeamName,
    /// The browser's own words.
    pub user_agent: String,
}

/// Makes the first user, team and project, and signs the owner in. Of two at once, one wins.
pub async fn claim(store: &Store, passwords: &Passwords, peer: &Peer, claim: Claim) -> Result<SignedIn> {
    check_token(store, peer, &claim.token).await?;
    let password_hash = passwords.hash(&claim.password).await?;

    let mut tx = store.begin().await?;
    if !tx.mark_claimed().await? {
        return Err(used());
    }
    let user = tx.insert_user(&NewUser { email: claim.email.clone(), password_hash }).await?;
    let team = tx.insert_team(&claim.team).await?;
    tx.add_member(&team.id, &user.id, Role::Owner).await?;
    let project = tx.ensure_project(&team.id, &ProjectName::default_project()).await?;
    tx.ensure_environment(&team.id, &project.id, &EnvironmentName::production()).await?;
    let signed_in = sessions::open(&mut tx, store, &user.id, &team.id, &claim.user_agent).await?;
    note_claimed(&mut tx, &team.id, user.id, &claim.email).await?;
    tx.commit().await?;
    Ok(signed_in)
}

async fn check_token(store: &Store, peer: &Peer, presented: &str) -> Result<()> {
    let stored = store.read().await?.claim().await?;
    let Some(stored) = stored else {
        return Err(Error::unavailable("the server hasn't made its claim token yet"));
    };
    if stored.used_at.is_some() {
        return Err(used());
    }
    if secret::same(&secret::hash(presented), &stored.token_hash) {
        return Ok(());
    }
    let key = format!("claim:{}", peer.rate_key());
    sessions::limit(store, &key, std::time::Duration::from_hours(1), GUESSES_PER_HOUR, "wrong claim tokens")
        .await?;
    Err(Error::forbidden("the claim token is wrong")
        .with_hint("it is on the server's console; `panda-server claim-token` prints a new one"))
}

fn used() -> Error {
    Error::new(ErrorCode::Expired, "this server has an owner already").with_hint("sign in with `panda login`")
}

async fn note_claimed(
    tx: &mut Tx,
    team: &panda_domain::ids::TeamId,
    user: UserId,
    email: &Email,
) -> Result<()> {
    let actor = Actor::User { id: user, email: email.to_string() };
    events::note(
        tx,
        team,
        &actor,
        NewEventText { kind: "server.claimed", text: format!("{email} claimed the server") },
    )
    .await
}
