//! Apps: making them, finding them, taking them down.

use panda_api_types::ErrorCode;
use panda_domain::app::{App, host_label};
use panda_domain::ids::TeamId;
use panda_domain::job::JobPayload;
use panda_domain::names::{AppName, EnvironmentName, ProjectName};
use panda_domain::team::Permission;
use panda_store::{Cursor, PlacedRow, PlacementRow, Store, StoreError, Tx};

use super::events::{self, NewEventText};
use crate::auth::Principal;
use crate::error::{Error, Result};

/// How many hosts are tried before giving up; the first is the plain one.
const HOST_TRIES: u32 = 8;

/// Makes an app with its place in `production`.
pub async fn create(
    store: &Store,
    principal: &Principal,
    name: &AppName,
    project: &ProjectName,
    apps_domain: &str,
) -> Result<PlacedRow> {
    principal.require(Permission::Deploy, Some(name))?;
    let mut tx = store.begin().await?;
    let project = tx.ensure_project(&principal.team, project).await?;
    let production = EnvironmentName::production();
    let environment = tx.ensure_environment(&principal.team, &project.id, &production).await?;
    let app = match tx.insert_app(&principal.team, &project.id, name).await {
        Ok(app) => app,
        Err(StoreError::Taken { .. }) => {
            let detail = format!("the team has an app `{name}` already");
            return Err(Error::new(ErrorCode::NameTaken, detail)
                .with_hint(format!("choose another name, or deploy to it: `panda deploy -a {name}`")));
        }
        Err(error) => return Err(error.into()),
    };
    place(&mut tx, &app, &environment, apps_domain).await?;
    let event = NewEventText { kind: "app.created", text: format!("app `{name}` was made") };
    events::note_app(&mut tx, &principal.team, (&app.id, name), &principal.actor(), event).await?;
    let placed = require_placed(&mut tx, &principal.team, name, &production).await?;
    tx.commit().await?;
    Ok(placed)
}

/// Gives the app a place and a host that nobody has: the plain label, else with four random hex digits.
async fn place(
    tx: &mut Tx,
    app: &App,
    environment: &panda_store::Environment,
    apps_domain: &str,
) -> Result<()> {
    let label = host_label(&app.name, &environment.name);
    for attempt in 0..HOST_TRIES {
        let host = if attempt == 0 {
            format!("{label}.{apps_domain}")
        } else {
            format!("{label}-{:04x}.{apps_domain}", rand::random::<u16>())
        };
        match tx.insert_placement(app, environment, &host).await {
            Ok(_) => return Ok(()),
            Err(StoreError::Taken { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Error::conflict(format!("no free host was found for `{}`", app.name))
        .with_hint("choose another name"))
}

/// Returns the team's apps, or those of one project.
pub async fn list(
    tx: &mut Tx,
    principal: &Principal,
    project: Option<&ProjectName>,
    cursor: &Cursor,
) -> Result<Vec<PlacedRow>> {
    principal.require(Permission::Read, None)?;
    let project = match project {
        None => None,
        Some(name) => {
            let projects = tx.projects(&principal.team).await?;
            let found = projects.into_iter().find(|p| p.name == *name);
            Some(found.ok_or_else(|| Error::not_found("project"))?.id)
        }
    };
    Ok(tx.placed(&principal.team, project.as_ref(), cursor).await?)
}

/// Returns one app in one environment.
pub async fn read(
    tx: &mut Tx,
    principal: &Principal,
    name: &AppName,
    environment: &EnvironmentName,
) -> Result<PlacedRow> {
    principal.require(Permission::Read, Some(name))?;
    require_placed(tx, &principal.team, name, environment).await
}

/// Begins to take an app down in all environments: nothing new starts, a job removes what runs and what is kept.
pub async fn destroy(
    store: &Store,
    principal: &Principal,
    name: &AppName,
    confirm: Option<&str>,
) -> Result<()> {
    principal.require(Permission::Manage, Some(name))?;
    let mut tx = store.begin().await?;
    let app = require_app(&mut tx, &principal.team, name).await?;
    if confirm != Some(name.as_str()) {
        return Err(Error::invalid_field(
            "confirm",
            format!("has to be `{name}`: destroying can't be undone"),
        ));
    }
    for row in tx.placements_of_app(&principal.team, &app.id).await? {
        if row.placement.deleting_at.is_none() {
            tx.mark_deleting(&row.placement.id).await?;
        }
    }
    let job = JobPayload::DestroyApp { team: principal.team.clone(), app: app.id.clone() };
    tx.enqueue(&job, &format!("destroy:{}", app.id), store.clock().now()).await?;
    let event = NewEventText { kind: "app.destroying", text: format!("app `{name}` is being destroyed") };
    events::note_app(&mut tx, &principal.team, (&app.id, name), &principal.actor(), event).await?;
    tx.wake();
    tx.commit().await?;
    Ok(())
}

/// Returns the app of this name, or the one answer for all that isn't there or isn't theirs.
pub async fn require_app(tx: &mut Tx, team: &TeamId, name: &AppName) -> Result<App> {
    tx.app_by_name(team, name).await?.ok_or_else(|| Error::not_found("app"))
}

/// Returns the app in an environment, or the one answer for all that isn't there or isn't theirs.
pub async fn require_placement(
    tx: &mut Tx,
    team: &TeamId,
    app: &AppName,
    environment: &EnvironmentName,
) -> Result<PlacementRow> {
    let row = tx.placement_by_names(team, app, environment).await?;
    row.ok_or_else(|| Error::not_found("app").with_hint("`panda apps list` shows the apps that you can see"))
}

/// Like [`require_placement`], and refuses an app that is being destroyed: for everything that changes something.
pub async fn require_living(
    tx: &mut Tx,
    team: &TeamId,
    app: &AppName,
    environment: &EnvironmentName,
) -> Result<PlacementRow> {
    let row = require_placement(tx, team, app, environment).await?;
    if row.placement.deleting_at.is_some() {
        return Err(Error::conflict(format!("app `{app}` is being destroyed"))
            .with_hint("wait until `panda apps list` no longer shows it, then make it anew"));
    }
    Ok(row)
}

/// Like [`require_placement`], with its scale.
pub(super) async fn require_placed(
    tx: &mut Tx,
    team: &TeamId,
    app: &AppName,
    environment: &EnvironmentName,
) -> Result<PlacedRow> {
    tx.placed_by_names(team, app, environment).await?.ok_or_else(|| Error::not_found("app"))
}
