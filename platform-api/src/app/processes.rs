//! The processes that an app has, and the answer to a name that is none of them.

use std::collections::BTreeSet;

use panda_api_types::{ErrorCode, FieldError};
use panda_domain::manifest::closest;
use panda_domain::names::ProcessName;
use panda_store::{PlacementRow, Tx};

use crate::error::{Error, Result};

/// Returns the processes of an app: those that are scaled, and those of its newest release.
pub async fn known(tx: &mut Tx, row: &PlacementRow) -> Result<BTreeSet<ProcessName>> {
    let mut known: BTreeSet<ProcessName> = tx.formation(&row.placement.id).await?.into_keys().collect();
    if let Some(release) = tx.newest_release(&row.placement.id).await? {
        known.extend(release.config.processes.into_keys());
    }
    Ok(known)
}

/// Refuses a process that the app doesn't have by naming those that it has.
pub async fn require(tx: &mut Tx, row: &PlacementRow, process: &ProcessName) -> Result<()> {
    let known = known(tx, row).await?;
    if known.contains(process) {
        return Ok(());
    }
    let detail = format!("`{}` has no process `{process}`", row.placement.app_name);
    let field = FieldError { field: "process".to_owned(), message: all(&known) };
    let error = Error::new(ErrorCode::NotFound, detail).with_fields(vec![field]);
    Err(match closest(process.as_str(), known.iter().map(ProcessName::as_str)) {
        Some(close) => error.with_hint(format!("did you mean `{close}`?")),
        None => error,
    })
}

/// Says which ones there are.
pub fn all(known: &BTreeSet<ProcessName>) -> String {
    if known.is_empty() {
        return "the app has no process yet; deploy it first".to_owned();
    }
    let names: Vec<String> = known.iter().map(|name| format!("`{name}`")).collect();
    format!("it has {}", names.join(", "))
}
