//! Accepting a deploy: everything that can be refused is refused here, then one transaction.

use std::collections::BTreeMap;

use panda_api_types::ErrorCode;
use panda_domain::deployment::{CancelReason, DeploymentState, Trigger};
use panda_domain::env::{EnvChange, EnvValue, MAX_VALUE_BYTES};
use panda_domain::formation::MAX_REPLICAS;
use panda_domain::image::ImageReference;
use panda_domain::job::{JobPayload, deployment_key};
use panda_domain::manifest::Manifest;
use panda_domain::names::{AppName, EnvKey, EnvironmentName};
use panda_domain::request::FrozenRequest;
use panda_domain::secret::Secret;
use panda_domain::source::Source;
use panda_domain::source_tree::TreeHash;
use panda_domain::team::Permission;
use panda_store::{DeploymentRow, NewDeployment, PlacementRow, Tx};
use serde_json::json;

use super::note;
use crate::Platform;
use crate::app::{apps, autoscale, ports, uploads};
use crate::auth::Principal;
use crate::error::{Error, Result};

/// A deploy as it was asked for, parsed.
#[derive(Debug, Clone)]
pub struct DeployWish {
    /// The directory or image.
    pub source: WishedSource,
    /// The text of `panda.toml`, if it came with the request.
    pub manifest: Option<String>,
    /// Replicas of the main process.
    pub replicas: Option<u32>,
    /// Port of `web`.
    pub port: Option<u16>,
    /// Variables to set.
    pub env: BTreeMap<EnvKey, Secret>,
    /// Build afresh.
    pub no_cache: bool,
    /// The same key gives the same deployment.
    pub idempotency_key: Option<String>,
}

/// What to deploy.
#[derive(Debug, Clone)]
pub enum WishedSource {
    /// An uploaded directory.
    Tree {
        /// Its hash.
        tree: TreeHash,
        /// Its commit.
        git_sha: Option<String>,
    },
    /// An image.
    Image(ImageReference),
}

/// What came of a deploy request.
#[derive(Debug)]
pub struct Accepted {
    /// The app.
    pub row: PlacementRow,
    /// The deployment; `None` when nothing would change.
    pub deployment: Option<DeploymentRow>,
    /// Things that people should know.
    pub notices: Vec<String>,
}

/// Accepts a deploy: `202` means that it will end in a terminal state, whatever dies (P1).
pub async fn deploy(
    platform: &Platform,
    principal: &Principal,
    app: &AppName,
    environment: &EnvironmentName,
    wish: DeployWish,
) -> Result<Accepted> {
    principal.require(Permission::Deploy, Some(app))?;
    check_host(platform, &wish)?;
    let manifest_text = manifest_text(platform, principal, &wish).await?;
    let frozen = FrozenRequest {
        manifest: manifest_text,
        replicas: wish.replicas,
        port: wish.port,
        no_cache: wish.no_cache,
    };
    let manifest = parse(&frozen, environment)?;
    check(&manifest, &wish, app)?;
    autoscale::check_manifest(platform.runtime.capabilities(), &manifest)?;
    let changes = env_changes(&manifest, &wish);
    if !changes.is_empty() {
        principal.require(Permission::WriteEnv, Some(app))?;
    }

    let mut tx = platform.store.begin().await?;
    let row = apps::require_living(&mut tx, &principal.team, app, environment).await?;
    if let Some(key) = &wish.idempotency_key
        && let Some(earlier) = tx.deployment_by_idempotency_key(&row.placement.id, key).await?
    {
        return Ok(Accepted { row, deployment: Some(earlier), notices: Vec::new() });
    }
    let formation = tx.formation(&row.placement.id).await?;
    if let (Some(_), Some((process, bounds))) = (wish.replicas, autoscale::of_main(&manifest, &formation)) {
        return Err(autoscale::refuse_number(process, &bounds));
    }
    let env_version = if changes.is_empty() {
        row.env_version
    } else {
        tx.change_env(&principal.team, &row.placement.id, &changes, &principal.actor()).await?
    };
    let source = source_of(&wish);
    if !wish.no_cache
        && super::repeat::is_unchanged(&mut tx, &row, &source, &frozen, &manifest, env_version).await?
    {
        // What a deploy that failed since was given.
        tx.settle_ports(&row.placement.id, &manifest.ports).await?;
        tx.commit().await?;
        return Ok(Accepted { row, deployment: None, notices: Vec::new() });
    }
    ports::claim(platform, &mut tx, &row, &manifest.ports).await?;
    // In this transaction: whoever was told that it is accepted needs the source to be there still.
    if let Source::Upload { tree, .. } = &source
        && !tx.touch_tree(&principal.team, tree).await?
    {
        return Err(uploads::unknown());
    }
    overtake_unbuilt(&mut tx, &row).await?;
    let deployment = tx
        .insert_deployment(&NewDeployment {
            team: principal.team.clone(),
            placement: row.placement.id.clone(),
            trigger: Trigger::Deploy,
            source: source.clone(),
            request_json: serde_json::to_string(&frozen).map_err(Error::internal)?,
            env_version,
            revision: 0,
            idempotency_key: wish.idempotency_key.clone(),
            actor: principal.actor(),
        })
        .await?;
    tx.enqueue(&job_for(&deployment), &deployment_key(&deployment.id), platform.store.clock().now()).await?;
    let text = format!("asked to deploy {} to `{app}` ({environment})", source.short());
    note(&mut tx, principal, &row, "deployment.queued", text, json!({ "deployment": deployment.id })).await?;
    tx.wake();
    tx.commit().await?;
    Ok(Accepted { row, deployment: Some(deployment), notices: Vec::new() })
}

/// The newest wins: an older one that has no release yet would only be thrown away. One that is rolling goes on until the
/// newer one's release is ready to take its place.
pub(super) async fn overtake_unbuilt(tx: &mut Tx, row: &PlacementRow) -> Result<()> {
    // Before any of its deployments and jobs, as everybody does.
    tx.lock_placement(&row.placement.team, &row.placement.id).await?;
    for older in tx.active_deployment_of(&row.placement.id).await? {
        if matches!(older.state, DeploymentState::Queued | DeploymentState::Building) {
            tx.request_cancel(&older.team, &older.id).await?;
            tx.advance_deployment(&older, DeploymentState::Canceled { reason: CancelReason::Overtaken })
                .await?;
        }
    }
    Ok(())
}

pub(super) fn job_for(deployment: &DeploymentRow) -> JobPayload {
    let (team, id) = (deployment.team.clone(), deployment.id.clone());
    match deployment.source {
        Source::Image { .. } => JobPayload::ResolveImage { team, deployment: id },
        _ => JobPayload::Build { team, deployment: id },
    }
}

fn source_of(wish: &DeployWish) -> Source {
    match &wish.source {
        WishedSource::Tree { tree, git_sha } => {
            Source::Upload { tree: tree.to_string(), git_sha: git_sha.clone() }
        }
        WishedSource::Image(reference) => Source::Image { reference: reference.clone() },
    }
}

/// The file that came with the request, else the tree's own.
async fn manifest_text(
    platform: &Platform,
    principal: &Principal,
    wish: &DeployWish,
) -> Result<Option<String>> {
    match (&wish.manifest, &wish.source) {
        (Some(text), _) => Ok(Some(text.clone())),
        (None, WishedSource::Tree { tree, .. }) => {
            let manifest = uploads::tree(platform, principal, tree).await?;
            uploads::read_text(platform, &manifest, "panda.toml").await
        }
        (None, WishedSource::Image(_)) => Ok(None),
    }
}

pub(super) fn parse(frozen: &FrozenRequest, environment: &EnvironmentName) -> Result<Manifest> {
    frozen.manifest(environment).map_err(|errors| crate::app::manifest_error(&errors))
}

fn check(manifest: &Manifest, wish: &DeployWish, app: &AppName) -> Result<()> {
    if let Some(named) = &manifest.app
        && named != app
    {
        let text = format!("panda.toml is for the app `{named}`, but the deploy is for `{app}`");
        return Err(Error::new(ErrorCode::InvalidManifest, text)
            .with_hint("deploy with `-a` and the file's name, or change the file"));
    }
    if let Some(replicas) = wish.replicas.filter(|r| *r > MAX_REPLICAS) {
        return Err(Error::invalid_field(
            "overrides.replicas",
            format!("{replicas} is out of range, 0 to {MAX_REPLICAS}"),
        ));
    }
    if wish.port == Some(0) {
        return Err(Error::invalid_field("overrides.port", "0 is out of range, 1 to 65535"));
    }
    let too_long = wish
        .env
        .iter()
        .find(|(_, value)| value.reveal().len() > MAX_VALUE_BYTES || value.reveal().contains('\0'));
    if let Some((key, _)) = too_long {
        let text = format!("the value is longer than {MAX_VALUE_BYTES} bytes or has a NUL");
        return Err(Error::invalid_field(format!("overrides.env.{key}"), text));
    }
    Ok(())
}

fn check_host(platform: &Platform, wish: &DeployWish) -> Result<()> {
    match &wish.source {
        WishedSource::Image(image) => check_image_host(platform, image),
        WishedSource::Tree { .. } => Ok(()),
    }
}

/// Refuses hosts that the engine must not pull from: it pulls from inside, so an image's host must not be a way to look around
/// there, nor into other teams' builds.
pub fn check_image_host(platform: &Platform, image: &ImageReference) -> Result<()> {
    let host = image.host().unwrap_or_default();
    let settings = &platform.settings;
    let allowed = settings.allowed_image_hosts.iter().any(|allowed| allowed == host);
    if host == settings.own_registry || (image.names_private_host() && !allowed) {
        let text = format!(
            "images from `{host}` are refused: it is an address of this machine or a private network"
        );
        let hint = "the operator can allow a registry there with `registry.allow_hosts`; `panda rollback` runs earlier builds";
        return Err(Error::invalid_field("image", text).with_hint(hint));
    }
    Ok(())
}

/// The file's variables, then the command line's.
fn env_changes(manifest: &Manifest, wish: &DeployWish) -> BTreeMap<EnvKey, EnvChange> {
    let from_file = manifest.env.iter().map(|(key, value)| (key.clone(), Secret::new(value.clone())));
    let all = from_file.chain(wish.env.iter().map(|(key, value)| (key.clone(), value.clone())));
    all.map(|(key, value)| (key, EnvChange::Set(EnvValue { value, secret: false }))).collect()
}
