//! Scale: replicas and size of each process. Makes no release, survives every rollback.

use std::collections::BTreeMap;

use panda_api_types::FieldError;
use panda_domain::formation::{CPU_MILLIS, Formation, MAX_REPLICAS, MEMORY_BYTES};
use panda_domain::names::{AppName, EnvironmentName, ProcessName};
use panda_domain::team::Permission;
use panda_store::{PlacedRow, PlacementRow, Store, Tx};

use super::apps;
use super::autoscale;
use super::events::{self, NewEventText};
use super::processes;
use crate::auth::Principal;
use crate::error::{Error, Result};

/// What of one process is to change.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ScaleChange {
    /// Wanted instances.
    pub replicas: Option<u32>,
    /// Thousandths of a core for each.
    pub cpu_millis: Option<u32>,
    /// Bytes for each.
    pub memory_bytes: Option<u64>,
}

/// Changes by process.
pub type ScaleChanges = BTreeMap<ProcessName, ScaleChange>;

/// Checks that every figure is within its bounds, and names all that aren't.
pub fn check_bounds(changes: &ScaleChanges) -> Result<()> {
    let mut wrong = Vec::new();
    let mut add = |field: String, message: String| wrong.push(FieldError { field, message });
    for (process, change) in changes {
        if change.replicas.is_some_and(|n| n > MAX_REPLICAS) {
            add(format!("replicas.{process}"), format!("has to be from 0 to {MAX_REPLICAS}"));
        }
        if change.cpu_millis.is_some_and(|n| !CPU_MILLIS.contains(&n)) {
            let (least, most) = (CPU_MILLIS.start(), CPU_MILLIS.end());
            let message = format!("has to be from {least} to {most} thousandths of a core");
            add(format!("cpu_millis.{process}"), message);
        }
        if change.memory_bytes.is_some_and(|n| !MEMORY_BYTES.contains(&n)) {
            add(format!("memory_bytes.{process}"), "has to be from 16 MiB to 1 TiB".to_owned());
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(Error::invalid_fields(wrong)) }
}

/// Changes the scale of processes that the app has.
pub async fn change(
    store: &Store,
    principal: &Principal,
    app: &AppName,
    environment: &EnvironmentName,
    changes: &ScaleChanges,
) -> Result<PlacedRow> {
    principal.require(Permission::Deploy, Some(app))?;
    check_bounds(changes)?;
    let mut tx = store.begin().await?;
    let row = apps::require_living(&mut tx, &principal.team, app, environment).await?;
    let before = tx.formation(&row.placement.id).await?;
    check_processes(&mut tx, &row, changes).await?;
    let told = set(&mut tx, &row, &before, changes).await?;
    if !told.is_empty() {
        tx.bump_generation(&row.placement.id).await?;
        let event =
            NewEventText { kind: "app.scaled", text: format!("`{app}` was scaled: {}", told.join(", ")) };
        let id = &row.placement.app;
        events::note_app(&mut tx, &principal.team, (id, app), &principal.actor(), event).await?;
    }
    let placed = apps::require_placed(&mut tx, &principal.team, app, environment).await?;
    tx.commit().await?;
    Ok(placed)
}

/// Writes what differs and tells it for people.
async fn set(
    tx: &mut Tx,
    row: &PlacementRow,
    before: &Formation,
    changes: &ScaleChanges,
) -> Result<Vec<String>> {
    let mut told = Vec::new();
    for (process, change) in changes {
        let old = before.get(process).copied().unwrap_or_default();
        if let (Some(_), Some(bounds)) = (change.replicas, old.autoscale) {
            return Err(autoscale::refuse_number(process, &bounds));
        }
        let mut new = old;
        new.replicas = change.replicas.unwrap_or(old.replicas);
        new.size.cpu_millis = change.cpu_millis.unwrap_or(old.size.cpu_millis);
        new.size.memory_bytes = change.memory_bytes.unwrap_or(old.size.memory_bytes);
        if new == old && before.contains_key(process) {
            continue;
        }
        tx.set_scale(&row.placement.id, process, &new).await?;
        told.push(format!(
            "{process} {} × {} mCPU, {} MiB",
            new.replicas,
            new.size.cpu_millis,
            new.size.memory_bytes >> 20
        ));
    }
    Ok(told)
}

async fn check_processes(tx: &mut Tx, row: &PlacementRow, changes: &ScaleChanges) -> Result<()> {
    let known = processes::known(tx, row).await?;
    let wrong: Vec<FieldError> = changes
        .iter()
        .filter(|(process, _)| !known.contains(*process))
        .map(|(process, change)| FieldError {
            field: format!("{}.{process}", first_field(change)),
            message: format!("the app has no such process; {}", processes::all(&known)),
        })
        .collect();
    if wrong.is_empty() { Ok(()) } else { Err(Error::invalid_fields(wrong)) }
}

fn first_field(change: &ScaleChange) -> &'static str {
    match change {
        ScaleChange { replicas: Some(_), .. } => "replicas",
        ScaleChange { cpu_millis: Some(_), .. } => "cpu_millis",
        _ => "memory_bytes",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_out_of_bounds_are_named_with_their_fields() {
        let web = ProcessName::web();
        let wild = ScaleChange { replicas: Some(1_000_000), cpu_millis: Some(0), memory_bytes: Some(1) };
        let error = check_bounds(&BTreeMap::from([(web.clone(), wild)])).unwrap_err();
        let fields: Vec<&str> = error.fields().iter().map(|f| f.field.as_str()).collect();
        assert_eq!(fields, ["replicas.web", "cpu_millis.web", "memory_bytes.web"]);
        let fine = ScaleChange { replicas: Some(0), cpu_millis: Some(10), memory_bytes: Some(16 << 20) };
        assert!(check_bounds(&BTreeMap::from([(web, fine)])).is_ok());
    }
}
