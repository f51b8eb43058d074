//! An app as files that need no Panda: made of the state, the same whichever runtime serves.

use std::collections::BTreeMap;

use panda_api_types::ExportFormat;
use panda_deployer::desired::{MissingVariable, Running, neighbour_variable};
use panda_deployer::export::{ExportedApp, PlainFile, Surroundings};
use panda_deployer::plan::Attempt;
use panda_domain::names::{AppName, EnvironmentName};
use panda_domain::team::Permission;
use panda_store::{PlacementRow, ReleaseRow, Security, Tx};

use super::events::{self, NewEventText};
use super::{apps, status};
use crate::Platform;
use crate::auth::Principal;
use crate::error::{Error, Result};

/// An app with its files.
#[derive(Debug)]
pub struct Exported {
    /// What it is.
    pub app: ExportedApp,
    /// The files.
    pub files: Vec<PlainFile>,
}

/// Writes the release that serves as files. Values of plain variables are in them, and that is written down; those of secrets
/// never are.
pub async fn export(
    platform: &Platform,
    principal: &Principal,
    app: &AppName,
    environment: &EnvironmentName,
    format: ExportFormat,
) -> Result<Exported> {
    principal.require(Permission::Read, Some(app))?;
    principal.require(Permission::RevealEnv, Some(app))?;
    let mut tx = platform.store.begin().await?;
    let row = apps::require_placement(&mut tx, &principal.team, app, environment).await?;
    let release = serving(&mut tx, principal, &row).await?;
    let exported = described(platform, &mut tx, &row, &release).await?;
    let write = match format {
        ExportFormat::Yaml => platform.exporters.yaml,
        ExportFormat::Kustomize => platform.exporters.kustomize,
        ExportFormat::Compose => platform.exporters.compose,
    };
    let files = write(&exported)?;
    let text =
        format!("`{app}` v{} was exported as {format}, values of plain variables included", release.number);
    let event = NewEventText { kind: "app.exported", text };
    events::note_app(&mut tx, &principal.team, (&row.placement.app, app), &principal.actor(), event).await?;
    tx.commit().await?;
    Ok(Exported { app: exported, files })
}

async fn serving(tx: &mut Tx, principal: &Principal, row: &PlacementRow) -> Result<ReleaseRow> {
    let release = match &row.placement.last_good_release {
        Some(release) => tx.release(&principal.team, release).await?,
        None => None,
    };
    let app = &row.placement.app_name;
    release.ok_or_else(|| {
        Error::conflict(format!("no release of `{app}` serves yet, so there is nothing to export"))
            .with_hint(format!("deploy it first: `panda deploy -a {app}`"))
    })
}

/// Says what the app is, as the drivers are told it, without the values of secrets.
async fn described(
    platform: &Platform,
    tx: &mut Tx,
    row: &PlacementRow,
    release: &ReleaseRow,
) -> Result<ExportedApp> {
    let placement = &row.placement;
    let env = tx.env_at(&placement.team, &placement.id, release.env_version).await?;
    let formation = tx.formation(&placement.id).await?;
    let domains = tx.domains(&placement.team, &placement.id).await?;
    let domains = domains.into_iter().filter(|domain| domain.verified_at.is_some());
    let ports = tx.ports(&placement.team, &placement.id).await?;
    let neighbours = tx.neighbours(&placement.team, &placement.environment).await?;
    let neighbours: BTreeMap<String, String> = neighbours
        .into_iter()
        .map(|(app, port)| (neighbour_variable(&app), format!("http://{app}:{port}")))
        .collect();
    let team = tx.team(&placement.team).await?;
    let running = Running {
        placement,
        attempt: &Attempt { release: release.id.clone(), revision: row.last_good_revision },
        number: release.number,
        image: &release.image,
        config: &release.config,
        env: &env,
        git_sha: release.source.git_sha(),
        url: &platform.settings.app_url(&placement.host),
        neighbours: &neighbours,
        restricted: team.is_some_and(|team| team.security == Security::Restricted),
        pull_url: &platform.settings.own_registry,
        login: None,
    };
    let surroundings = Surroundings {
        formation: &formation,
        domains: domains.map(|domain| (domain.host.to_string(), domain.path)).collect(),
        runs_as_root: runs_as_root(row, release.number),
        ports: ports.into_iter().map(|row| row.held).collect(),
    };
    ExportedApp::of(&running, surroundings).map_err(|missing: MissingVariable| {
        Error::conflict(missing.to_string())
            .with_hint(format!("set it first: `panda env set --secret {}`", missing.key))
    })
}

/// Tells who the release's instances ran as when they were last seen.
fn runs_as_root(row: &PlacementRow, release: u32) -> Option<bool> {
    let seen = status::observed(row.observed.as_deref());
    let instances =
        seen.iter().filter(|seen| seen.release_number == release).flat_map(|seen| &seen.instances);
    instances.map(|instance| instance.runs_as_root).reduce(|one, other| one || other)
}
