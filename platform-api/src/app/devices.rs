//! Device logins (RFC 8628): the terminal shows a code, a signed-in browser approves it, the terminal gets a token.

use std::time::Duration;

use jiff::SignedDuration;
use panda_api_types::ErrorCode;
use panda_domain::names::TokenName;
use panda_domain::team::Scope;
use panda_store::{DeviceRow, DeviceState, NewDeviceCode, Store};

use super::events::{self, NewEventText};
use super::sessions;
use super::tokens::{self, MadeToken, WantedToken};
use crate::auth::secret::{self, HandedOut};
use crate::auth::{Peer, Principal};
use crate::error::{Error, Result};

/// Seconds until a device login is over.
pub const EXPIRES_S: u32 = 600;
/// Seconds between polls.
pub const INTERVAL_S: u32 = 5;
/// Consonants that don't look like each other, so that no word and no doubt comes out.
const LETTERS: &[u8; 20] = b"BCDFGHJKLMNPQRSTVWXZ";
/// The longest token name.
const MAX_NAME_CHARS: usize = 60;
const MINUTE: Duration = Duration::from_mins(1);
const STARTS_PER_MINUTE: u32 = 20;
const WRONG_POLLS_PER_MINUTE: u32 = 60;
const WRONG_CODES_PER_MINUTE: u32 = 10;

/// A device login that waits.
#[derive(Debug)]
pub struct Started {
    /// The client polls with it.
    pub device_code: HandedOut,
    /// People compare it: `BCDF-GHJK`.
    pub user_code: String,
}

/// Starts a device login.
pub async fn start(store: &Store, peer: &Peer, client_name: TokenName) -> Result<Started> {
    let key = format!("device:{}", peer.rate_key());
    sessions::limit(store, &key, MINUTE, STARTS_PER_MINUTE, "device logins from this address").await?;
    let started = Started { device_code: HandedOut::random(""), user_code: new_user_code() };
    let mut tx = store.begin().await?;
    tx.insert_device_code(&NewDeviceCode {
        device_hash: started.device_code.hash(),
        user_code: started.user_code.clone(),
        client_name: with_origin(&client_name, peer),
        expires_at: store.clock().now() + SignedDuration::from_secs(i64::from(EXPIRES_S)),
    })
    .await?;
    tx.commit().await?;
    Ok(started)
}

/// What a poll of a device login needs from its row.
enum Poll {
    TooSoon,
    Wait,
    Denied,
    Over,
    Approved(Box<Principal>),
}

/// Answers a poll: the token once approved, and only once.
pub async fn poll(store: &Store, peer: &Peer, device_code: &str) -> Result<MadeToken> {
    let mut tx = store.begin().await?;
    let Some(row) = tx.device_by_hash(&secret::hash(device_code)).await? else {
        drop(tx);
        let key = format!("device-poll:{}", peer.rate_key());
        sessions::limit(store, &key, MINUTE, WRONG_POLLS_PER_MINUTE, "wrong device codes").await?;
        return Err(over());
    };
    let outcome = judge(&mut tx, store, &row).await?;
    // An early poll counts too: whoever floods is told to slow down until they do.
    tx.mark_polled(&row.id).await?;
    let answer = match outcome {
        Poll::TooSoon => {
            Err(Error::new(ErrorCode::SlowDown, "polled too often").with_retry_after(INTERVAL_S))
        }
        Poll::Wait => Err(Error::new(ErrorCode::AuthorizationPending, "nobody has approved the login yet")
            .with_retry_after(INTERVAL_S)),
        Poll::Denied => Err(Error::forbidden("the login was denied")),
        Poll::Over => Err(over()),
        Poll::Approved(principal) => {
            if tx.mark_used(&row.id).await? {
                let name = row.client_name.parse().map_err(Error::internal)?;
                let wanted = WantedToken::new(name, Scope::Full, None)?;
                Ok(tokens::make(&mut tx, store, &principal, wanted).await?)
            } else {
                Err(over())
            }
        }
    };
    tx.commit().await?;
    answer
}

async fn judge(tx: &mut panda_store::Tx, store: &Store, row: &DeviceRow) -> Result<Poll> {
    let now = store.clock().now();
    if row.expires_at <= now {
        return Ok(Poll::Over);
    }
    let interval = SignedDuration::from_secs(i64::from(INTERVAL_S));
    if row.polled_at.is_some_and(|polled_at| now.duration_since(polled_at) < interval) {
        return Ok(Poll::TooSoon);
    }
    Ok(match &row.state {
        DeviceState::Pending => Poll::Wait,
        DeviceState::Denied => Poll::Denied,
        DeviceState::Used => Poll::Over,
        DeviceState::Approved { user, team } => match Principal::for_device(tx, user, team).await? {
            Some(principal) => Poll::Approved(Box::new(principal)),
            None => Poll::Over,
        },
    })
}

/// A device login as the approval page shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// People compare it with their terminal.
    pub user_code: String,
    /// What the client calls itself; anybody can call themselves anything.
    pub client_name: String,
}

/// Returns the device login that waits under this code.
pub async fn waiting(store: &Store, principal: &Principal, user_code: &str) -> Result<Waiting> {
    principal.require_session()?;
    let row = find_waiting(store, principal, user_code).await?;
    Ok(Waiting { user_code: row.user_code, client_name: row.client_name })
}

/// Approves or denies a device login, in the name of a signed-in browser alone.
pub async fn decide(store: &Store, principal: &Principal, user_code: &str, approve: bool) -> Result<()> {
    principal.require_session()?;
    let row = find_waiting(store, principal, user_code).await?;
    let by = approve.then(|| (principal.user.clone(), principal.team.clone()));
    let mut tx = store.begin().await?;
    if !tx.decide_device(&row.user_code, by).await? {
        return Err(unknown_code());
    }
    let (kind, verb) = if approve { ("device.approved", "approved") } else { ("device.denied", "denied") };
    let text = format!("{} {verb} the login of `{}`", principal.email, row.client_name);
    events::note(&mut tx, &principal.team, &principal.actor(), NewEventText { kind, text }).await?;
    tx.commit().await?;
    Ok(())
}

async fn find_waiting(store: &Store, principal: &Principal, user_code: &str) -> Result<DeviceRow> {
    let found = match normal(user_code) {
        Some(code) => store.read().await?.device_by_user_code(&code).await?,
        None => None,
    };
    let now = store.clock().now();
    match found {
        Some(row) if row.state == DeviceState::Pending && row.expires_at > now => Ok(row),
        _ => {
            let key = format!("device-code:{}", principal.user);
            sessions::limit(store, &key, MINUTE, WRONG_CODES_PER_MINUTE, "wrong codes").await?;
            Err(unknown_code())
        }
    }
}

/// Names the client with where it asks from, so that the approval page, and later the list of tokens, shows both.
fn with_origin(client_name: &TokenName, peer: &Peer) -> String {
    let origin = match peer.ip() {
        Some(ip) => format!(" (from {ip})"),
        None => " (from the server itself)".to_owned(),
    };
    let room = MAX_NAME_CHARS - origin.chars().count();
    let name: String = client_name.as_str().chars().take(room).collect();
    format!("{name}{origin}")
}

fn new_user_code() -> String {
    let letters: String = (0..8).map(|_| char::from(LETTERS[rand::random_range(0..LETTERS.len())])).collect();
    format!("{}-{}", &letters[..4], &letters[4..])
}

/// Brings a typed code into the stored form: upper case, one dash in the middle.
fn normal(typed: &str) -> Option<String> {
    let letters: String = typed
        .chars()
        .filter(|c| *c != '-' && !c.is_whitespace())
        .take(9)
        .map(|c| c.to_ascii_uppercase())
        .collect();
    let fits = letters.len() == 8 && letters.bytes().all(|b| LETTERS.contains(&b));
    fits.then(|| format!("{}-{}", &letters[..4], &letters[4..]))
}

fn unknown_code() -> Error {
    Error::new(ErrorCode::Expired, "no login waits under this code").with_hint("start `panda login` again")
}

fn over() -> Error {
    Error::new(ErrorCode::Expired, "the login is over").with_hint("start `panda login` again")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typed_code_is_forgiven_case_and_dashes() {
        assert_eq!(normal(" bcdf ghjk").as_deref(), Some("BCDF-GHJK"));
        assert_eq!(normal("BCDF-GHJK").as_deref(), Some("BCDF-GHJK"));
        for bad in ["", "BCDF", "BCDF-GHJA", "BCDFGHJKL", "ÄCDF-GHJK"] {
            assert_eq!(normal(bad), None, "{bad}");
        }
        assert_eq!(normal(&new_user_code()).map(|c| c.len()), Some(9));
    }
}
