//! Parts of an app's image, out of this server's registry and into it. Nothing is kept in between.

use bytes::Bytes;
use futures_util::Stream;
use jiff::SignedDuration;
use panda_api_types::ErrorCode;
use panda_builder::images::{ImageError, ImageParts, Part};
use panda_domain::image::Digest;
use panda_domain::names::{AppName, EnvironmentName};
use panda_domain::source::repository_of;
use panda_domain::team::Permission;

use serde::Deserialize;

use crate::Platform;
use crate::app::apps;
use crate::auth::Principal;
use crate::error::{Error, Result};

/// A move that broke off is begun again within this time, or its image goes.
const UNCLAIMED: SignedDuration = SignedDuration::from_hours(24);

/// The part of an image list that says what it has; of an image it is empty.
#[derive(Deserialize)]
struct ImageList {
    #[serde(default)]
    manifests: Vec<Listed>,
}

#[derive(Deserialize)]
struct Listed {
    digest: Digest,
}

/// A part, by what it is called.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// The app whose image it belongs to.
    pub app: &'a AppName,
    /// The environment.
    pub environment: &'a EnvironmentName,
    /// Manifest or blob.
    pub part: Part,
    /// Which.
    pub digest: &'a Digest,
}

/// A part that is being read.
pub struct Reading {
    /// What kind of manifest it is, or bytes.
    pub kind: String,
    /// Its length, if the registry says it.
    pub length: Option<u64>,
    /// Its bytes as they come.
    pub body: Box<dyn Stream<Item = Result<Bytes, std::io::Error>> + Send + Unpin>,
}

/// Begins to read a part.
pub async fn read_part(platform: &Platform, principal: &Principal, wanted: Wanted<'_>) -> Result<Reading> {
    use futures_util::{StreamExt as _, TryStreamExt as _};
    let repository = repository(platform, principal, wanted).await?;
    let answer = of(platform)?.read(&repository, wanted.part, wanted.digest).await;
    let answer = answer.map_err(|error| told(error, "part of an image"))?;
    let kind = answer.headers().get("content-type").and_then(|kind| kind.to_str().ok());
    let kind = kind.unwrap_or("application/octet-stream").to_owned();
    let length = answer.content_length();
    let body = answer.bytes_stream().map_err(std::io::Error::other).boxed();
    Ok(Reading { kind, length, body: Box::new(body) })
}

/// Tells whether a part is here.
pub async fn has_part(platform: &Platform, principal: &Principal, wanted: Wanted<'_>) -> Result<bool> {
    let repository = repository(platform, principal, wanted).await?;
    let there = of(platform)?.has(&repository, wanted.part, wanted.digest).await;
    there.map_err(|error| told(error, "part of an image"))
}

/// Keeps a manifest whose parts are here. Until the settings follow nothing needs it: it goes again if they don't.
pub async fn keep_manifest(
    platform: &Platform,
    principal: &Principal,
    wanted: Wanted<'_>,
    kind: &str,
    body: Bytes,
) -> Result<()> {
    let repository = repository(platform, principal, wanted).await?;
    let images = of(platform)?;
    expect(platform, &repository, wanted.digest, &body).await?;
    let kept = images.keep_manifest(&repository, wanted.digest, kind, body).await;
    kept.map_err(|error| told(error, "part of an image"))
}

/// Lists it as nobody's, to be deleted in a day; not the images that a list of images has, which are the list's from now on.
async fn expect(platform: &Platform, repository: &str, digest: &Digest, body: &[u8]) -> Result<()> {
    let mut tx = platform.store.begin().await?;
    tx.expect_image(repository, digest.as_str(), platform.store.clock().now() + UNCLAIMED).await?;
    let listed = serde_json::from_slice(body).map_or_else(|_| Vec::new(), |list: ImageList| list.manifests);
    for image in listed {
        if !tx.rescue_image(repository, image.digest.as_str()).await? {
            return Err(being_deleted());
        }
    }
    Ok(tx.commit().await?)
}

/// An image that the garbage reconciler has begun to take away.
pub(super) fn being_deleted() -> Error {
    Error::conflict("an image with this digest is being deleted at this moment")
        .with_hint("run `panda move` again in a minute")
}

/// Keeps a layer as it comes.
pub async fn keep_blob(
    platform: &Platform,
    principal: &Principal,
    wanted: Wanted<'_>,
    bytes: impl Stream<Item = Result<Bytes, std::io::Error>> + Send + 'static,
) -> Result<()> {
    let repository = repository(platform, principal, wanted).await?;
    let kept = of(platform)?.keep_blob(&repository, wanted.digest, bytes).await;
    kept.map_err(|error| told(error, "part of an image"))
}

/// The one repository that the asker may reach: that of this app of this team.
async fn repository(platform: &Platform, principal: &Principal, wanted: Wanted<'_>) -> Result<String> {
    principal.require(Permission::Manage, Some(wanted.app))?;
    let mut tx = platform.store.read().await?;
    apps::require_living(&mut tx, &principal.team, wanted.app, wanted.environment).await?;
    Ok(repository_of(&principal.team, wanted.app))
}

/// Returns the platform's own registry.
pub(super) fn of(platform: &Platform) -> Result<&ImageParts> {
    platform.images.as_ref().ok_or_else(|| {
        Error::new(
            ErrorCode::Unsupported,
            "this server has no registry of its own that images could be moved from or to",
        )
        .with_hint("deploy the app on the other server from its source: `panda deploy --server URL`")
    })
}

pub(super) fn told(error: ImageError, noun: &str) -> Error {
    match error {
        ImageError::NotFound => Error::not_found(noun),
        ImageError::Refused(_) => Error::conflict(
            "the registry refuses this part: it isn't what its digest says, or parts of it are missing",
        )
        .with_hint("run `panda move` again; what arrived whole is there already")
        .with_source(error),
        ImageError::Unreachable(_) => Error::unavailable("the registry can't be reached").with_source(error),
    }
}
