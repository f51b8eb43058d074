//! Variables and secrets of an app in an environment: versioned, plain values shown on request alone, secrets never.

use std::collections::BTreeMap;

use panda_api_types::FieldError;
use panda_domain::env::{EnvChange, MAX_VALUE_BYTES, MAX_VARIABLES};
use panda_domain::names::{AppName, EnvKey, EnvironmentName};
use panda_domain::team::Permission;
use panda_store::{Cursor, DeploymentRow, EnvHistoryRow, EnvRow, PlacementRow, Store, Tx};

use super::events::{self, NewEventText};
use super::{apps, deployments};
use crate::auth::Principal;
use crate::error::{Error, Result};

/// Wished changes by name.
pub type EnvChanges = BTreeMap<EnvKey, EnvChange>;

/// The variables of an app, and the version that the release that serves was made with.
#[derive(Debug)]
pub struct EnvListing {
    /// One row a variable, by name.
    pub rows: Vec<EnvRow>,
    /// The version of the last release that ran well; `None` before the first.
    pub deployed_version: Option<i64>,
}

/// Returns the variables. `reveal` asks for plain values too, and is written down.
pub async fn list(
    store: &Store,
    principal: &Principal,
    app: &AppName,
    environment: &EnvironmentName,
    reveal: bool,
) -> Result<EnvListing> {
    principal.require(Permission::Read, Some(app))?;
    if reveal {
        principal.require(Permission::RevealEnv, Some(app))?;
    }
    let mut tx = if reveal { store.begin().await? } else { store.read().await? };
    let row = apps::require_placement(&mut tx, &principal.team, app, environment).await?;
    let rows = tx.env_rows(&principal.team, &row.placement.id).await?;
    let deployed_version = deployed_version(&mut tx, principal, &row).await?;
    if reveal {
        let names: Vec<&str> = rows.iter().filter(|r| !r.value.secret).map(|r| r.key.as_str()).collect();
        let names = if names.is_empty() { "there are none".to_owned() } else { names.join(", ") };
        let text = format!("values of `{app}` were read: {names}");
        let event = NewEventText { kind: "env.revealed", text };
        let id = &row.placement.app;
        events::note_app(&mut tx, &principal.team, (id, app), &principal.actor(), event).await?;
        tx.commit().await?;
    }
    Ok(EnvListing { rows, deployed_version })
}

async fn deployed_version(tx: &mut Tx, principal: &Principal, row: &PlacementRow) -> Result<Option<i64>> {
    match &row.placement.last_good_release {
        None => Ok(None),
        Some(release) => Ok(tx.release(&principal.team, release).await?.map(|release| release.env_version)),
    }
}

/// Checks values: no NUL, at most 64 KiB; and names all that are wrong.
pub fn check_values(changes: &EnvChanges) -> Result<()> {
    let mut wrong = Vec::new();
    for (key, change) in changes {
        let EnvChange::Set(value) = change else { continue };
        let text = value.value.reveal();
        let message = if text.len() > MAX_VALUE_BYTES {
            format!("the value has {} bytes; at most {MAX_VALUE_BYTES} are allowed", text.len())
        } else if text.contains('\0') {
            "the value has a NUL byte, which no environment can carry".to_owned()
        } else {
            continue;
        };
        wrong.push(FieldError { field: format!("changes.{key}.value"), message });
    }
    if changes.len() > MAX_VARIABLES {
        let message = format!("at most {MAX_VARIABLES} variables are allowed");
        wrong.push(FieldError { field: "changes".to_owned(), message });
    }
    if wrong.is_empty() { Ok(()) } else { Err(Error::invalid_fields(wrong)) }
}

/// What came of one wish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It wasn't set before.
    Added,
    /// It had another value.
    Replaced,
    /// It is no longer set.
    Removed,
    /// It had this value already.
    Same,
    /// It was to go, and wasn't set.
    Absent,
}

impl Outcome {
    /// Returns the word that goes over the wire.
    pub fn word(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Replaced => "replaced",
            Self::Removed => "removed",
            Self::Same => "same",
            Self::Absent => "absent",
        }
    }
}

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Wish<'a> {
    /// The changes.
    pub changes: &'a EnvChanges,
    /// Whether they are rolled out at once.
    pub deploy: bool,
    /// Whether only what would come of it is wanted.
    pub dry_run: bool,
}

/// What came of a change.
#[derive(Debug)]
pub struct Changed {
    /// The env's version after it; nothing changed makes none.
    pub version: i64,
    /// What came of each wish.
    pub outcomes: BTreeMap<EnvKey, Outcome>,
    /// The app.
    pub row: PlacementRow,
    /// The deployment that rolls it out, if one was asked for and something runs.
    pub deployment: Option<DeploymentRow>,
}

/// Changes variables in one step. With `deploy` the change and its deployment are accepted in the same transaction; with
/// `dry_run` that transaction is given up.
pub async fn change(
    store: &Store,
    principal: &Principal,
    app: &AppName,
    environment: &EnvironmentName,
    wish: Wish<'_>,
) -> Result<Changed> {
    let Wish { changes, deploy, dry_run } = wish;
    principal.require(Permission::WriteEnv, Some(app))?;
    if deploy {
        principal.require(Permission::Deploy, Some(app))?;
    }
    check_values(changes)?;
    let mut tx = store.begin().await?;
    let row = apps::require_living(&mut tx, &principal.team, app, environment).await?;
    let version = change_in(&mut tx, principal, app, &row, changes).await?;
    let outcomes = outcomes(&mut tx, principal, &row, changes, version).await?;
    if dry_run {
        return Ok(Changed { version: row.env_version, outcomes, row, deployment: None });
    }
    let deployment = if deploy && version != row.env_version {
        deployments::redeploy_for_env(&mut tx, principal, &row, version).await?
    } else {
        None
    };
    tx.wake();
    tx.commit().await?;
    Ok(Changed { version, outcomes, row, deployment })
}

/// Says what came of each wish, by the version before and the one after.
async fn outcomes(
    tx: &mut Tx,
    principal: &Principal,
    row: &PlacementRow,
    changes: &EnvChanges,
    version: i64,
) -> Result<BTreeMap<EnvKey, Outcome>> {
    let placement = &row.placement.id;
    let made = version != row.env_version;
    let before = tx.env_at(&principal.team, placement, if made { version - 1 } else { version }).await?;
    let after = tx.env_rows(&principal.team, placement).await?;
    let touched = |key: &EnvKey| made && after.iter().any(|row| row.key == *key && row.version == version);
    let outcome = |key: &EnvKey, change: &EnvChange| match (change, before.contains_key(key)) {
        (EnvChange::Unset, true) => Outcome::Removed,
        (EnvChange::Unset, false) => Outcome::Absent,
        (EnvChange::Set(_), false) => Outcome::Added,
        (EnvChange::Set(_), true) if touched(key) => Outcome::Replaced,
        (EnvChange::Set(_), true) => Outcome::Same,
    };
    Ok(changes.iter().map(|(key, change)| (key.clone(), outcome(key, change))).collect())
}

/// Changes variables in the caller's transaction, so that a deployment can be accepted in the same one.
pub async fn change_in(
    tx: &mut Tx,
    principal: &Principal,
    app: &AppName,
    row: &PlacementRow,
    changes: &EnvChanges,
) -> Result<i64> {
    let placement = &row.placement.id;
    let actor = principal.actor();
    let version = tx.change_env(&principal.team, placement, changes, &actor).await?;
    if version == row.env_version {
        return Ok(version);
    }
    if tx.env_rows(&principal.team, placement).await?.len() > MAX_VARIABLES {
        let message = format!("an app may have at most {MAX_VARIABLES} variables");
        return Err(Error::invalid_field("changes", message));
    }
    let text = format!("env of `{app}` v{version}: {}", told(changes));
    let event = NewEventText { kind: "env.changed", text };
    events::note_app(tx, &principal.team, (&row.placement.app, app), &actor, event).await?;
    Ok(version)
}

/// Names what changed; never a value.
fn told(changes: &EnvChanges) -> String {
    let words: Vec<String> = changes
        .iter()
        .map(|(key, change)| match change {
            EnvChange::Set(value) if value.secret => format!("secret {key} set"),
            EnvChange::Set(_) => format!("{key} set"),
            EnvChange::Unset => format!("{key} removed"),
        })
        .collect();
    words.join(", ")
}

/// Returns what was changed before, the newest first; no values.
pub async fn history(
    store: &Store,
    principal: &Principal,
    app: &AppName,
    environment: &EnvironmentName,
    cursor: &Cursor,
) -> Result<Vec<EnvHistoryRow>> {
    principal.require(Permission::Read, Some(app))?;
    let mut tx = store.read().await?;
    let row = apps::require_placement(&mut tx, &principal.team, app, environment).await?;
    Ok(tx.env_history(&row.placement.id, cursor).await?)
}
