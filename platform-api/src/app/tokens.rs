//! API tokens: named, scoped, ending; never more than their owner's role.

use std::collections::BTreeMap;

use panda_domain::ids::{TokenId, UserId};
use panda_domain::names::TokenName;
use panda_domain::team::{Permission, Scope};
use panda_store::{Cursor, NewToken, Store, TokenRow, Tx};

use super::events::{self, NewEventText};
use crate::auth::secret::{HandedOut, TOKEN_PREFIX};
use crate::auth::{Principal, Via, scope};
use crate::error::{Error, Result};

/// Days until a token ends unless it says otherwise.
pub const DEFAULT_DAYS: u32 = 90;
const MAX_DAYS: u32 = 365;

/// A token that somebody wants.
#[derive(Debug)]
pub struct WantedToken {
    /// For lists.
    pub name: TokenName,
    /// What it may do.
    pub scope: Scope,
    /// Days until it ends.
    pub days: u32,
}

impl WantedToken {
    /// Checks the number of days.
    pub fn new(name: TokenName, scope: Scope, days: Option<u32>) -> Result<Self> {
        let days = days.unwrap_or(DEFAULT_DAYS);
        if !(1..=MAX_DAYS).contains(&days) {
            return Err(Error::invalid_field("ttl_days", "has to be from 1 to 365"));
        }
        Ok(Self { name, scope, days })
    }
}

/// A new token with its secret.
#[derive(Debug)]
pub struct MadeToken {
    /// What lists show.
    pub row: TokenRow,
    /// Shown once.
    pub secret: HandedOut,
}

/// Makes a token of the asker's own.
pub async fn create(store: &Store, principal: &Principal, wanted: WantedToken) -> Result<MadeToken> {
    principal.require_full()?;
    let mut tx = store.begin().await?;
    let made = make(&mut tx, store, principal, wanted).await?;
    tx.commit().await?;
    Ok(made)
}

/// Makes a token in the caller's transaction and writes it down.
pub(crate) async fn make(
    tx: &mut Tx,
    store: &Store,
    principal: &Principal,
    wanted: WantedToken,
) -> Result<MadeToken> {
    let secret = HandedOut::random(TOKEN_PREFIX);
    let row = tx
        .insert_token(&NewToken {
            team: principal.team.clone(),
            user: principal.user.clone(),
            name: wanted.name,
            scope: wanted.scope,
            secret_hash: secret.hash(),
            expires_at: store.clock().now() + jiff::SignedDuration::from_hours(i64::from(wanted.days) * 24),
        })
        .await?;
    let text = format!("token `{}` with scope `{}` was made", row.name, scope::word(&row.scope));
    let event = NewEventText { kind: "token.created", text };
    events::note(tx, &principal.team, &principal.actor(), event).await?;
    Ok(MadeToken { row, secret })
}

/// Returns the team's tokens to those who administer it, their own to everybody else.
pub async fn list(store: &Store, principal: &Principal, cursor: &Cursor) -> Result<Vec<TokenRow>> {
    principal.require(Permission::Read, None)?;
    let all = principal.require(Permission::Administer, None).is_ok();
    let mut tx = store.read().await?;
    let mut shown = Vec::new();
    let mut next = cursor.clone();
    loop {
        let rows = tx.tokens(&principal.team, &next).await?;
        let last = (rows.len() < next.limit as usize)
            .then_some(())
            .map_or_else(|| rows.last().map(|r| r.id.to_string()), |()| None);
        shown.extend(rows.into_iter().filter(|row| all || row.user == principal.user));
        if shown.len() >= cursor.limit as usize || last.is_none() {
            shown.truncate(cursor.limit as usize);
            return Ok(shown);
        }
        next.after = last;
    }
}

/// Returns the addresses of the tokens' owners.
pub async fn owners(store: &Store, rows: &[TokenRow]) -> Result<BTreeMap<UserId, String>> {
    let mut tx = store.read().await?;
    let mut owners = BTreeMap::new();
    for row in rows {
        if !owners.contains_key(&row.user)
            && let Some(user) = tx.user(&row.user).await?
        {
            owners.insert(user.id, user.email.to_string());
        }
    }
    Ok(owners)
}

/// Ends a token: one's own, or any of the team for those who administer it.
pub async fn revoke(store: &Store, principal: &Principal, id: &TokenId) -> Result<()> {
    let itself = matches!(&principal.via, Via::Token { id: own, .. } if own == id);
    if !itself {
        principal.require_full()?;
    }
    let mut tx = store.begin().await?;
    let row = tx.token(&principal.team, id).await?.ok_or_else(|| Error::not_found("token"))?;
    if row.user != principal.user {
        principal.require(Permission::Administer, None)?;
    }
    if !tx.delete_token(&principal.team, id).await? {
        return Err(Error::not_found("token"));
    }
    let event = NewEventText { kind: "token.revoked", text: format!("token `{}` was ended", row.name) };
    events::note(&mut tx, &principal.team, &principal.actor(), event).await?;
    tx.commit().await?;
    Ok(())
}
