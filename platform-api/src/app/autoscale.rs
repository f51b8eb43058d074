//! Autoscale: between which bounds the instances of a process follow its load. Makes no release, survives every rollback.

use std::time::Duration;

use panda_api_types::{ErrorCode, FieldError};
use panda_deployer::autoscale::Standing;
use panda_deployer::desired::environment_of;
use panda_deployer::plan::Attempt;
use panda_deployer::runtime::{Capabilities, ObservedAutoscaler};
use panda_domain::autoscale::Autoscale;
use panda_domain::formation::{Formation, Scale};
use panda_domain::manifest::Manifest;
use panda_domain::names::{AppName, EnvironmentName, ProcessName};
use panda_domain::team::Permission;
use panda_store::{PlacedRow, PlacementRow};

use super::events::{self, NewEventText};
use super::seen::seen;
use super::status::observed;
use super::{apps, processes};
use crate::Platform;
use crate::auth::Principal;
use crate::error::{Error, Result};

/// How long a look at the autoscalers may take; the bounds are shown without otherwise.
const PATIENCE: Duration = Duration::from_secs(3);

/// An autoscaled process as it was seen.
#[derive(Debug)]
pub struct SeenAutoscaler {
    /// The process.
    pub process: ProcessName,
    /// Its size, which the loads are percent of, and its bounds.
    pub scale: Scale,
    /// How many instances are wanted now.
    pub wanted: u32,
    /// How many are ready.
    pub ready: u32,
    /// What the runtime's autoscaler told.
    pub observed: Option<ObservedAutoscaler>,
    /// Why the number doesn't follow the load.
    pub reason: Option<String>,
}

/// Sets the bounds of a process that the app has. Where the runtime can't, that is said now and not later.
pub async fn set(
    platform: &Platform,
    principal: &Principal,
    (app, environment): (&AppName, &EnvironmentName),
    process: &ProcessName,
    bounds: Autoscale,
) -> Result<PlacedRow> {
    principal.require(Permission::Deploy, Some(app))?;
    let mut tx = platform.store.begin().await?;
    let row = apps::require_living(&mut tx, &principal.team, app, environment).await?;
    if let Some(refusal) = refusal(platform.runtime.capabilities()) {
        return Err(refusal);
    }
    processes::require(&mut tx, &row, process).await?;
    let before = tx.formation(&row.placement.id).await?.get(process).copied().unwrap_or_default();
    if before.autoscale != Some(bounds) {
        tx.set_scale(&row.placement.id, process, &Scale { autoscale: Some(bounds), ..before }).await?;
        tx.bump_generation(&row.placement.id).await?;
        let text = format!("`{app}` is autoscaled: {process} {}", told(&bounds));
        let event = NewEventText { kind: "app.autoscale_set", text };
        let id = &row.placement.app;
        events::note_app(&mut tx, &principal.team, (id, app), &principal.actor(), event).await?;
    }
    let placed = apps::require_placed(&mut tx, &principal.team, app, environment).await?;
    tx.commit().await?;
    Ok(placed)
}

/// Takes the bounds of a process away. As many instances stay as are wanted now. Twice is once.
pub async fn off(
    platform: &Platform,
    principal: &Principal,
    (app, environment): (&AppName, &EnvironmentName),
    process: &ProcessName,
) -> Result<PlacedRow> {
    principal.require(Permission::Deploy, Some(app))?;
    let mut tx = platform.store.begin().await?;
    let row = apps::require_living(&mut tx, &principal.team, app, environment).await?;
    processes::require(&mut tx, &row, process).await?;
    let before = tx.formation(&row.placement.id).await?.get(process).copied().unwrap_or_default();
    if before.autoscale.is_some() {
        let replicas = wanted(&row, process, &before);
        tx.set_scale(&row.placement.id, process, &Scale { replicas, autoscale: None, ..before }).await?;
        tx.bump_generation(&row.placement.id).await?;
        let text = format!("`{app}` isn't autoscaled any more: {process} stays at {replicas}");
        let event = NewEventText { kind: "app.autoscale_off", text };
        let id = &row.placement.app;
        events::note_app(&mut tx, &principal.team, (id, app), &principal.actor(), event).await?;
    }
    let placed = apps::require_placed(&mut tx, &principal.team, app, environment).await?;
    tx.commit().await?;
    Ok(placed)
}

/// Returns the autoscaled processes of an app, with what their autoscalers see now.
pub async fn show(
    platform: &Platform,
    principal: &Principal,
    app: &AppName,
    environment: &EnvironmentName,
) -> Result<Vec<SeenAutoscaler>> {
    principal.require(Permission::Read, Some(app))?;
    let mut tx = platform.store.read().await?;
    let row = apps::require_placement(&mut tx, &principal.team, app, environment).await?;
    let placed = apps::read(&mut tx, principal, app, environment).await?;
    drop(tx);
    let key = environment_of(&row.placement);
    let asked = platform.runtime.autoscalers(&key, &row.placement.id);
    let told = tokio::time::timeout(PATIENCE, asked).await.ok().and_then(std::result::Result::ok);
    let seen = seen(&placed);
    let autoscaled = placed.formation.iter().filter(|(_, scale)| scale.autoscale.is_some());
    let shown = autoscaled.map(|(process, scale)| {
        let observed =
            told.iter().flatten().find(|one| one.key.process == *process && serves(&row, one)).cloned();
        let reason = match (&told, &observed) {
            (_, Some(observed)) => observed.trouble.clone(),
            (None, None) => Some("what runs the containers isn't reachable right now".to_owned()),
            (Some(_), None) if seen.release.is_none() => Some("nothing runs yet".to_owned()),
            (Some(_), None) => Some("its autoscaler isn't there yet".to_owned()),
        };
        SeenAutoscaler {
            process: process.clone(),
            scale: *scale,
            wanted: seen.wanted.get(process.as_str()).copied().unwrap_or(0),
            ready: seen.ready.get(process.as_str()).copied().unwrap_or(0),
            observed,
            reason,
        }
    });
    Ok(shown.collect())
}

/// Refuses a file that asks for what the runtime can't do.
pub(super) fn check_manifest(capabilities: Capabilities, manifest: &Manifest) -> Result<()> {
    let asks = manifest.processes.iter().find(|(_, process)| process.autoscale.is_some());
    let (Some((process, _)), Some(refusal)) = (asks, refusal(capabilities)) else { return Ok(()) };
    let field = format!("processes.{process}.autoscale");
    let message = refusal.detail().to_owned();
    let error = Error::new(ErrorCode::Unsupported, format!("panda.toml: `{field}`: {message}"));
    Err(error.with_hint(WAY_OUT).with_fields(vec![FieldError { field, message }]))
}

/// Refuses a fixed number for a process whose number follows its load.
pub(super) fn refuse_number(process: &ProcessName, bounds: &Autoscale) -> Error {
    let text =
        format!("the number of `{process}` follows its load, between {} and {}", bounds.min, bounds.max);
    Error::conflict(text).with_hint(format!(
        "move the bounds with `panda autoscale set -p {process} --min N --max N`, or fix the number after `panda autoscale off -p {process}`"
    ))
}

/// Returns the bounds that the main process will have after a deploy, and its name, as far as it is known before the build.
pub(super) fn of_main<'a>(
    manifest: &'a Manifest,
    formation: &'a Formation,
) -> Option<(&'a ProcessName, Autoscale)> {
    let mut names: Vec<_> = formation.keys().chain(manifest.processes.keys()).collect();
    names.sort_unstable();
    names.dedup();
    let main = names.iter().copied().find(|name| name.is_web() || names.len() == 1)?;
    let said = manifest.processes.get(main).and_then(|process| process.autoscale);
    Some((main, said.or(formation.get(main).and_then(|scale| scale.autoscale))?))
}

const WAY_OUT: &str =
    "fix the number with `replicas` in panda.toml or `panda scale`; servers on Kubernetes can autoscale";

/// Says why a runtime can't autoscale, if it can't.
fn refusal(capabilities: Capabilities) -> Option<Error> {
    let why = match (capabilities.autoscale, capabilities.name) {
        (true, _) => return None,
        (false, "docker") => {
            "this server runs apps on one Docker host, where more instances only share the same processors and memory: it doesn't change their number by load".to_owned()
        }
        (false, name) => format!("this server's runtime ({name}) doesn't change the number of instances by load"),
    };
    Some(Error::new(ErrorCode::Unsupported, why).with_hint(WAY_OUT))
}

/// Returns how many instances of a process are wanted now, as far as it was seen.
pub(super) fn wanted(row: &PlacementRow, process: &ProcessName, scale: &Scale) -> u32 {
    let good = row.placement.last_good_release.clone();
    let good = good.map(|release| Attempt { release, revision: row.last_good_revision });
    let observed = observed(row.observed.as_deref());
    let (target, serving) = (good.as_ref(), good.as_ref());
    Standing { target, serving, rolling: false, observed: &observed }.wanted(process, scale)
}

fn serves(row: &PlacementRow, one: &ObservedAutoscaler) -> bool {
    row.placement.last_good_release.as_ref() == Some(&one.key.release)
        && row.last_good_revision == one.key.revision
}

/// Tells bounds for people.
fn told(bounds: &Autoscale) -> String {
    let cpu = bounds.cpu_percent.map(|percent| format!("{percent} % of its cores"));
    let memory = bounds.memory_percent.map(|percent| format!("{percent} % of its memory"));
    let loads: Vec<String> = cpu.into_iter().chain(memory).collect();
    format!("{}–{} at {}", bounds.min, bounds.max, loads.join(" and "))
}
