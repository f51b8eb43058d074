//! Asking for a deployment, watching it, canceling it.

mod accept;
mod repeat;

use panda_domain::deployment::CancelReason;
use panda_domain::ids::DeploymentId;
use panda_domain::names::{AppName, EnvironmentName};
use panda_domain::team::Permission;
use panda_store::{Cursor, DeploymentRow, NewEvent, PlacementRow, ProgressRow, Tx};
use serde_json::json;

pub use accept::{Accepted, DeployWish, WishedSource, check_image_host, deploy};
pub use repeat::{redeploy_for_env, restart, roll_back};

use crate::Platform;
use crate::app::apps;
use crate::auth::Principal;
use crate::error::{Error, Result};

/// The most progress rows that one read returns.
const PROGRESS_PAGE: u32 = 500;

/// Returns a page of an app's deployments, newest first.
pub async fn list(
    platform: &Platform,
    principal: &Principal,
    app: &AppName,
    environment: &EnvironmentName,
    cursor: &Cursor,
) -> Result<(PlacementRow, Vec<DeploymentRow>)> {
    principal.require(Permission::Read, Some(app))?;
    let mut tx = platform.store.read().await?;
    let row = apps::require_placement(&mut tx, &principal.team, app, environment).await?;
    let rows = tx.deployments(&principal.team, &row.placement.id, cursor).await?;
    Ok((row, rows))
}

/// Returns one deployment.
pub async fn show(
    platform: &Platform,
    principal: &Principal,
    app: &AppName,
    environment: &EnvironmentName,
    id: &DeploymentId,
) -> Result<(PlacementRow, DeploymentRow)> {
    principal.require(Permission::Read, Some(app))?;
    let mut tx = platform.store.read().await?;
    let row = apps::require_placement(&mut tx, &principal.team, app, environment).await?;
    let deployment = tx.deployment(&principal.team, id).await?.filter(|d| d.placement == row.placement.id);
    Ok((row, deployment.ok_or_else(|| Error::not_found("deployment"))?))
}

/// Returns what happened in a deployment after a sequence number, and the deployment as it is now. The deployment is read
/// first, so that an ended one has all its rows in the answer.
pub async fn progress(
    platform: &Platform,
    principal: &Principal,
    id: &DeploymentId,
    after: i64,
) -> Result<(DeploymentRow, Vec<ProgressRow>)> {
    let mut tx = platform.store.read().await?;
    let deployment =
        tx.deployment(&principal.team, id).await?.ok_or_else(|| Error::not_found("deployment"))?;
    let rows = tx.progress_after(id, after, PROGRESS_PAGE).await?;
    Ok((deployment, rows))
}

/// Returns the newest step of a deployment that goes on.
pub async fn current_step(platform: &Platform, deployment: &DeploymentRow) -> Result<Option<ProgressRow>> {
    if !deployment.state.is_active() {
        return Ok(None);
    }
    Ok(platform.store.read().await?.newest_progress(&deployment.id, "step").await?)
}

/// The numbers of the releases that a deployment is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReleaseNumbers {
    /// Its own.
    pub own: Option<u32>,
    /// What serves now.
    pub serving: Option<u32>,
}

/// Returns the numbers of the releases that a deployment is about, as they are now.
pub async fn release_numbers(
    platform: &Platform,
    row: &PlacementRow,
    deployment: &DeploymentRow,
) -> Result<ReleaseNumbers> {
    let mut tx = platform.store.read().await?;
    let own = match &deployment.release {
        Some(id) => tx.release(&deployment.team, id).await?.map(|r| r.number),
        None => None,
    };
    let now = tx.placement_by_id(&row.placement.id).await?;
    let serving = match now.and_then(|row| row.placement.last_good_release) {
        Some(id) => tx.release(&deployment.team, &id).await?.map(|r| r.number),
        None => None,
    };
    Ok(ReleaseNumbers { own, serving })
}

/// Returns the kept build log; the one of the build that was used when this deployment built nothing itself.
pub async fn log(
    platform: &Platform,
    principal: &Principal,
    app: &AppName,
    environment: &EnvironmentName,
    id: &DeploymentId,
) -> Result<String> {
    let (_, deployment) = show(platform, principal, app, environment, id).await?;
    let none =
        || Error::not_found("build log").with_hint("deployments of images and rollbacks build nothing");
    let build = deployment.build.ok_or_else(none)?;
    let path = platform.build_logs.join(format!("{build}.log"));
    match tokio::fs::read(&path).await {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(none()),
        Err(error) => Err(Error::internal(error)),
    }
}

/// Cancels a deployment that is under way; the release before serves on. One that has ended stays as it is.
pub async fn cancel(
    platform: &Platform,
    principal: &Principal,
    app: &AppName,
    environment: &EnvironmentName,
    id: &DeploymentId,
) -> Result<(PlacementRow, DeploymentRow)> {
    principal.require(Permission::Deploy, Some(app))?;
    let mut tx = platform.store.begin().await?;
    let row = apps::require_living(&mut tx, &principal.team, app, environment).await?;
    let found = tx.deployment(&principal.team, id).await?.filter(|d| d.placement == row.placement.id);
    let deployment = found.ok_or_else(|| Error::not_found("deployment"))?;
    if !deployment.state.is_active() {
        let text = format!("the deployment has ended: it is `{}`", deployment.state.word());
        return Err(Error::conflict(text).with_hint("`panda rollback` goes back to the release before"));
    }
    let Some(ended) = tx.call_off(&deployment, CancelReason::Requested).await? else {
        return Err(Error::conflict("it is too late to cancel: its routes are on their way")
            .with_hint("`panda rollback` goes back to the release before"));
    };
    let text = format!("canceled a deploy of `{app}`");
    let data = json!({ "deployment": id });
    note(&mut tx, principal, &row, "deployment.canceled", text, data).await?;
    tx.wake();
    tx.commit().await?;
    Ok((row, ended))
}

async fn note(
    tx: &mut Tx,
    principal: &Principal,
    row: &PlacementRow,
    kind: &str,
    text: String,
    mut data: serde_json::Value,
) -> Result<()> {
    data["app"] = json!(row.placement.app_name);
    let (team, app) = (Some(principal.team.clone()), Some(row.placement.app.clone()));
    tx.add_event(&NewEvent { team, app, kind, actor: &principal.actor(), text, data }).await?;
    Ok(())
}
