//! Deployments that need no build: env changes, rollbacks, restarts; and the deploy that would change nothing.

use panda_builder::job::{build_key, settings_of};
use panda_domain::deployment::{DeploymentState, Trigger};
use panda_domain::image::Digest;
use panda_domain::job::deployment_key;
use panda_domain::manifest::{DetectedProcesses, Manifest};
use panda_domain::names::{AppName, EnvironmentName};
use panda_domain::request::FrozenRequest;
use panda_domain::source::Source;
use panda_domain::team::Permission;
use panda_store::{DeploymentRow, NewDeployment, NewRelease, PlacementRow, ReleaseRow, Tx};
use serde_json::json;

use super::accept::{Accepted, job_for, overtake_unbuilt};
use super::note;
use crate::Platform;
use crate::app::{apps, ports};
use crate::auth::Principal;
use crate::error::{Error, Result};

/// Goes back to an earlier release: a copy of it with a new number. Routes and scale stay as they are.
pub async fn roll_back(
    platform: &Platform,
    principal: &Principal,
    app: &AppName,
    environment: &EnvironmentName,
    to: Option<u32>,
) -> Result<Accepted> {
    principal.require(Permission::Deploy, Some(app))?;
    let mut tx = platform.store.begin().await?;
    let row = apps::require_living(&mut tx, &principal.team, app, environment).await?;
    let release = match to {
        Some(number) => tx
            .release_by_number(&principal.team, &row.placement.id, number)
            .await?
            .ok_or_else(|| Error::not_found("release"))?,
        None => before_the_live_one(&mut tx, &row).await?,
    };
    // The env has to be readable before anything is promised (P9).
    tx.env_at(&principal.team, &row.placement.id, release.env_version).await?;
    if release.image.own_registry
        && !tx.rescue_image(&release.image.repository, release.image.digest.as_str()).await?
    {
        let text =
            format!("the image of v{} is so old that it is being deleted at this moment", release.number);
        return Err(
            Error::conflict(text).with_hint("go back to a newer release, or deploy the old source again")
        );
    }
    ports::claim(platform, &mut tx, &row, &release.config.ports).await?;
    let source = Source::Release { number: release.number };
    let deployment = insert(&mut tx, principal, &row, Trigger::Rollback, source, release.env_version).await?;
    let made = tx.hand_over(&deployment, &copy_of(&release, principal)).await?;
    let text = format!("rolls `{app}` back to v{} (as v{})", release.number, made.number);
    finish(tx, platform, principal, row, &deployment, "release.rollback", text).await
}

/// Starts every instance of the present release afresh, without an interruption.
pub async fn restart(
    platform: &Platform,
    principal: &Principal,
    app: &AppName,
    environment: &EnvironmentName,
) -> Result<Accepted> {
    principal.require(Permission::Deploy, Some(app))?;
    let mut tx = platform.store.begin().await?;
    let row = apps::require_living(&mut tx, &principal.team, app, environment).await?;
    let release = desired(&mut tx, &row).await?;
    let source = Source::Release { number: release.number };
    let deployment = insert(&mut tx, principal, &row, Trigger::Restart, source, release.env_version).await?;
    let revision = row.desired_revision.max(row.last_good_revision) + 1;
    tx.hand_over_restart(&deployment, &release, revision).await?;
    let text = format!("restarts `{app}`");
    finish(tx, platform, principal, row, &deployment, "app.restart", text).await
}

/// Rolls a change of env out, in the transaction that made the change. A deploy that is still being built is started
/// anew with the new env; without any release there is nothing to roll out.
pub async fn redeploy_for_env(
    tx: &mut Tx,
    principal: &Principal,
    row: &PlacementRow,
    env_version: i64,
) -> Result<Option<DeploymentRow>> {
    let unbuilt = tx
        .active_deployment_of(&row.placement.id)
        .await?
        .into_iter()
        .find(|d| matches!(d.state, DeploymentState::Queued | DeploymentState::Building));
    if let Some(unbuilt) = unbuilt {
        overtake_unbuilt(tx, row).await?;
        let again = tx
            .insert_deployment(&NewDeployment {
                env_version,
                request_json: unbuilt.request_json.clone(),
                ..new(principal, row, Trigger::Deploy, unbuilt.source.clone(), env_version)
            })
            .await?;
        tx.enqueue(&job_for(&again), &deployment_key(&again.id), again.created_at).await?;
        return Ok(Some(again));
    }
    let Some(release) = row.placement.desired_release.clone() else { return Ok(None) };
    let Some(release) = tx.release(&principal.team, &release).await? else { return Ok(None) };
    let deployment = insert(tx, principal, row, Trigger::Env, release.source.clone(), env_version).await?;
    let next = NewRelease { env_version, copy_of: None, ..copy_of(&release, principal) };
    tx.hand_over(&deployment, &next).await?;
    Ok(tx.deployment(&principal.team, &deployment.id).await?)
}

/// Tells whether the release that serves is already just what is asked for.
pub(super) async fn is_unchanged(
    tx: &mut Tx,
    row: &PlacementRow,
    source: &Source,
    frozen: &FrozenRequest,
    manifest: &Manifest,
    env_version: i64,
) -> Result<bool> {
    let placement = &row.placement;
    let serves =
        placement.desired_release.is_some() && placement.desired_release == placement.last_good_release;
    if !serves || !tx.active_deployment_of(&placement.id).await?.is_empty() {
        return Ok(false);
    }
    let Some(live) = tx.live_deployment(&placement.id).await? else { return Ok(false) };
    let release = desired(tx, row).await?;
    if live.release.as_ref() != Some(&release.id) || release.env_version != env_version {
        return Ok(false);
    }
    let Some((digest, detected)) =
        known_image(tx, row, source, frozen, manifest, &release, env_version).await?
    else {
        return Ok(false);
    };
    let config = manifest.to_release_config(&detected, &frozen.overrides());
    let formation = tx.formation(&placement.id).await?;
    let wished = frozen.formation(manifest, &config, &formation);
    Ok(release.image.digest == digest && release.config == config && wished == formation)
}

/// The image that the source is known to give, without building or asking a registry.
async fn known_image(
    tx: &mut Tx,
    row: &PlacementRow,
    source: &Source,
    frozen: &FrozenRequest,
    manifest: &Manifest,
    release: &ReleaseRow,
    env_version: i64,
) -> Result<Option<(Digest, DetectedProcesses)>> {
    match source {
        Source::Upload { tree, .. } => {
            let Ok(tree) = tree.parse() else { return Ok(None) };
            let key = build_key(tree, &settings_of(manifest, frozen), env_version);
            let Some(build) = tx.known_build(&row.placement.id, &key).await? else { return Ok(None) };
            let detected = build.processes_json.as_deref().and_then(|json| serde_json::from_str(json).ok());
            Ok(build.digest.zip(detected))
        }
        // A tag may have moved; only a digest says what is meant. The ports were found when the release was made.
        Source::Image { reference } => {
            let same = matches!(&release.source, Source::Image { reference: before } if before == reference);
            let digest = reference.digest().filter(|_| same).cloned();
            Ok(digest.map(|digest| (digest, DetectedProcesses::of_image(release.config.web_port()))))
        }
        Source::Release { .. } => Ok(None),
    }
}

async fn before_the_live_one(tx: &mut Tx, row: &PlacementRow) -> Result<ReleaseRow> {
    let none = || {
        Error::conflict("there is no earlier release to go back to")
            .with_hint("`panda releases` shows what there is")
    };
    let live = tx.live_deployment(&row.placement.id).await?.ok_or_else(none)?;
    tx.release_before(&live).await?.ok_or_else(none)
}

async fn desired(tx: &mut Tx, row: &PlacementRow) -> Result<ReleaseRow> {
    let release = match &row.placement.desired_release {
        Some(id) => tx.release(&row.placement.team, id).await?,
        None => None,
    };
    release.ok_or_else(|| {
        Error::conflict("nothing is deployed yet").with_hint("`panda deploy` makes the first release")
    })
}

fn copy_of(release: &ReleaseRow, principal: &Principal) -> NewRelease {
    NewRelease {
        team: release.team.clone(),
        placement: release.placement.clone(),
        image: release.image.clone(),
        config: release.config.clone(),
        source: release.source.clone(),
        env_version: release.env_version,
        build: release.build.clone(),
        copy_of: Some(release.number),
        actor: principal.actor(),
    }
}

fn new(
    principal: &Principal,
    row: &PlacementRow,
    trigger: Trigger,
    source: Source,
    env_version: i64,
) -> NewDeployment {
    NewDeployment {
        team: row.placement.team.clone(),
        placement: row.placement.id.clone(),
        trigger,
        source,
        request_json: "{}".to_owned(),
        env_version,
        revision: 0,
        idempotency_key: None,
        actor: principal.actor(),
    }
}

async fn insert(
    tx: &mut Tx,
    principal: &Principal,
    row: &PlacementRow,
    trigger: Trigger,
    source: Source,
    env_version: i64,
) -> Result<DeploymentRow> {
    Ok(tx.insert_deployment(&new(principal, row, trigger, source, env_version)).await?)
}

async fn finish(
    mut tx: Tx,
    platform: &Platform,
    principal: &Principal,
    row: PlacementRow,
    deployment: &DeploymentRow,
    kind: &str,
    text: String,
) -> Result<Accepted> {
    let _ = platform;
    note(&mut tx, principal, &row, kind, text, json!({ "deployment": deployment.id })).await?;
    let deployment = tx.deployment(&principal.team, &deployment.id).await?;
    tx.wake();
    tx.commit().await?;
    Ok(Accepted { row, deployment, notices: Vec::new() })
}
