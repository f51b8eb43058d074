//! An app on its way from one server to another: sealed at the one, opened at the other. docs/decisions has the why.

mod bundle;
mod key;
mod parts;

use panda_api_types::{MoveBundle, MoveKey};
use panda_builder::images::Part;
use panda_domain::deployment::Trigger;
use panda_domain::env::EnvChange;
use panda_domain::image::{Digest, ImageReference};
use panda_domain::manifest::{check_formation, check_release, check_source};
use panda_domain::names::{AppName, EnvironmentName};
use panda_domain::source::repository_of;
use panda_domain::team::Permission;
use panda_store::{DeploymentRow, NewBuild, NewDeployment, NewRelease, PlacementRow, ReleaseRow, Tx};

use self::bundle::{Goods, MovedRelease, MovedVariable};
use super::apps;
use super::deployments::{Accepted, check_image_host};
use super::env::{self, EnvChanges};
use super::events::{self, NewEventText};
use super::ports;
use super::scale::{ScaleChange, check_bounds};
use crate::Platform;
use crate::auth::Principal;
use crate::error::{Error, Result};

pub use key::own_key;
pub use parts::{Reading, Wanted, has_part, keep_blob, keep_manifest, read_part};

/// What leaves, and what may be told of it.
pub struct Outgoing {
    /// For the other server alone.
    pub bundle: MoveBundle,
    /// The settings; their values stay here.
    pub goods: Goods,
    /// The name of the app's project.
    pub project: String,
}

/// Seals an app's settings and secrets for another server. Nothing of the app changes; that it happened is written down.
pub async fn take_out(
    platform: &Platform,
    principal: &Principal,
    app: &AppName,
    environment: &EnvironmentName,
    to: &MoveKey,
    to_server: &str,
) -> Result<Outgoing> {
    principal.require(Permission::Manage, Some(app))?;
    let from = platform.store.installation().await?;
    let mut tx = platform.store.begin().await?;
    let row = apps::require_living(&mut tx, &principal.team, app, environment).await?;
    let public = key::checked(to)?;
    let project = apps::read(&mut tx, principal, app, environment).await?.project_name.to_string();
    let goods = gather(&mut tx, principal, &row).await?;
    let bundle = bundle::seal(&goods, &from, to, &public, app)?;
    let text = format!(
        "settings and {} secrets of `{app}` were sealed for `{to_server}` (key {})",
        goods.env.iter().filter(|variable| variable.secret).count(),
        to.fingerprint
    );
    note(&mut tx, principal, &row, "app.moved_out", text).await?;
    tx.commit().await?;
    Ok(Outgoing { bundle, goods, project })
}

/// Reads all that goes along, as it is now.
async fn gather(tx: &mut Tx, principal: &Principal, row: &PlacementRow) -> Result<Goods> {
    let placement = &row.placement;
    let release = match &placement.last_good_release {
        Some(id) => tx.release(&principal.team, id).await?,
        None => None,
    };
    let release = release.ok_or_else(|| {
        Error::conflict("the app has no release that ran well, so there is nothing to move")
            .with_hint("deploy it on the other server: `panda deploy --server URL`")
    })?;
    let env = tx.env_at(&principal.team, &placement.id, row.env_version).await?;
    let env =
        env.into_iter().map(|(key, value)| MovedVariable { key, secret: value.secret, value: value.value });
    Ok(Goods {
        env: env.collect(),
        formation: tx.formation(&placement.id).await?,
        release: MovedRelease {
            number: release.number,
            image: release.image,
            config: release.config,
            source: release.source,
        },
    })
}

/// Opens a bundle and makes it so: env, formation and a release, rolled out like any other. What is so already stays.
pub async fn bring_in(
    platform: &Platform,
    principal: &Principal,
    app: &AppName,
    environment: &EnvironmentName,
    bundle: &MoveBundle,
    from_server: &str,
) -> Result<Accepted> {
    principal.require(Permission::Manage, Some(app))?;
    // First of all: about somebody else's app nothing is said but that it isn't there.
    apps::require_living(&mut platform.store.read().await?, &principal.team, app, environment).await?;
    let own = platform.store.installation().await?;
    let private = key::private(&platform.store).await?;
    let mut goods = bundle::open(bundle, &own, &private, app)?;
    let changes = wished_env(&goods);
    env::check_values(&changes)?;
    check_settings(&goods)?;
    fit_runtime(platform, &mut goods);
    check_image(platform, principal, app, &mut goods.release).await?;

    let mut tx = platform.store.begin().await?;
    let row = apps::require_living(&mut tx, &principal.team, app, environment).await?;
    let env_version = env::change_in(&mut tx, principal, app, &row, &changes).await?;
    let notices = ports::bring(platform, &mut tx, &row, &mut goods.release.config.ports).await?;
    let rescaled = scale(&mut tx, &row, &goods).await?;
    if is_there(&mut tx, &row, &goods.release, env_version).await? {
        if rescaled {
            tx.bump_generation(&row.placement.id).await?;
        }
        tx.wake();
        tx.commit().await?;
        return Ok(Accepted { row, deployment: None, notices });
    }
    let deployment = roll_out(&mut tx, principal, &row, goods.release, env_version).await?;
    let text = format!("`{app}` came from `{from_server}` with {} variables", goods.env.len());
    note(&mut tx, principal, &row, "app.moved_in", text).await?;
    let deployment = tx.deployment(&principal.team, &deployment.id).await?;
    tx.wake();
    tx.commit().await?;
    Ok(Accepted { row, deployment, notices })
}

fn wished_env(goods: &Goods) -> EnvChanges {
    goods.env.iter().map(|variable| (variable.key.clone(), EnvChange::Set(variable.value()))).collect()
}

/// Whoever has the key's public half can seal a bundle, so its settings are held to the rules of a manifest and of scaling.
fn check_settings(goods: &Goods) -> Result<()> {
    let release = &goods.release;
    let checked = check_release(&release.config)
        .and_then(|()| check_source(&release.source))
        .and_then(|()| check_formation(&goods.formation));
    checked.map_err(|wrong| Error::invalid_field("bundle", wrong.to_string()))?;
    let sizes = goods.formation.iter().map(|(process, scale)| {
        let (cpu_millis, memory_bytes) = (Some(scale.size.cpu_millis), Some(scale.size.memory_bytes));
        (process.clone(), ScaleChange { replicas: Some(scale.replicas), cpu_millis, memory_bytes })
    });
    check_bounds(&sizes.collect())
}

/// Where nothing scales by load, the number of this moment stays.
fn fit_runtime(platform: &Platform, goods: &mut Goods) {
    if platform.runtime.capabilities().autoscale {
        return;
    }
    for scale in goods.formation.values_mut() {
        if let Some(bounds) = scale.autoscale.take() {
            scale.replicas = bounds.within(scale.replicas);
        }
    }
}

/// An image of ours has to be here before its release is; one of others has to be where images may come from.
async fn check_image(
    platform: &Platform,
    principal: &Principal,
    app: &AppName,
    release: &mut MovedRelease,
) -> Result<()> {
    let image = &mut release.image;
    if image.own_registry {
        image.repository = repository_of(&principal.team, app);
        let (parts, digest) = (parts::of(platform)?, &image.digest);
        let there = parts.has(&image.repository, Part::Manifest, digest).await;
        return if there.map_err(|error| parts::told(error, "image"))? {
            Ok(())
        } else {
            Err(Error::conflict("the image isn't here yet")
                .with_hint("`panda move` carries it before the settings; run it again"))
        };
    }
    let reference: ImageReference = format!("{}@{}", image.repository, image.digest)
        .parse()
        .map_err(|_| Error::invalid_field("bundle", "names an image that is none"))?;
    check_image_host(platform, &reference)
}

/// Writes the formation. Returns whether anything differs.
async fn scale(tx: &mut Tx, row: &PlacementRow, goods: &Goods) -> Result<bool> {
    let before = tx.formation(&row.placement.id).await?;
    let mut differs = false;
    for (process, scale) in &goods.formation {
        if before.get(process) != Some(scale) {
            tx.set_scale(&row.placement.id, process, scale).await?;
            differs = true;
        }
    }
    Ok(differs)
}

/// Tells whether just this is wanted here already, so that a second move makes no second release.
async fn is_there(tx: &mut Tx, row: &PlacementRow, release: &MovedRelease, env_version: i64) -> Result<bool> {
    let desired = match &row.placement.desired_release {
        Some(id) => tx.release(&row.placement.team, id).await?,
        None => None,
    };
    Ok(desired.is_some_and(|found: ReleaseRow| {
        found.image == release.image && found.config == release.config && found.env_version == env_version
    }))
}

/// Makes build and release as a deploy would have, and hands them to the rollout.
async fn roll_out(
    tx: &mut Tx,
    principal: &Principal,
    row: &PlacementRow,
    release: MovedRelease,
    env_version: i64,
) -> Result<DeploymentRow> {
    let (team, placement) = (row.placement.team.clone(), row.placement.id.clone());
    let deployment = tx
        .insert_deployment(&NewDeployment {
            team: team.clone(),
            placement: placement.clone(),
            trigger: Trigger::Deploy,
            source: release.source.clone(),
            request_json: "{}".to_owned(),
            env_version,
            revision: 0,
            idempotency_key: None,
            actor: principal.actor(),
        })
        .await?;
    let build = if release.image.own_registry {
        Some(build_of(tx, &deployment, &release.image.repository, &release.image.digest).await?)
    } else {
        None
    };
    let new = NewRelease {
        team,
        placement,
        image: release.image,
        config: release.config,
        source: release.source,
        env_version,
        build,
        copy_of: None,
        actor: principal.actor(),
    };
    tx.hand_over(&deployment, &new).await?;
    Ok(deployment)
}

/// A build that was made elsewhere: with it the image is collected like any other once no release needs it.
async fn build_of(
    tx: &mut Tx,
    deployment: &DeploymentRow,
    repository: &str,
    digest: &Digest,
) -> Result<panda_domain::ids::BuildId> {
    if !tx.rescue_image(repository, digest.as_str()).await? {
        return Err(parts::being_deleted());
    }
    let new = NewBuild {
        team: deployment.team.clone(),
        placement: deployment.placement.clone(),
        deployment: deployment.id.clone(),
        build_key: format!("moved {digest}"),
    };
    let build = tx.insert_build(&new).await?;
    tx.finish_build(&build.id, repository, digest, "{}", "{}").await?;
    tx.attach_build(&deployment.id, &build.id).await?;
    Ok(build.id)
}

async fn note(
    tx: &mut Tx,
    principal: &Principal,
    row: &PlacementRow,
    kind: &'static str,
    text: String,
) -> Result<()> {
    let app = (&row.placement.app, &row.placement.app_name);
    events::note_app(tx, &principal.team, app, &principal.actor(), NewEventText { kind, text }).await
}
