//! Sent directories: announced by their listing, then only the files that the team hasn't sent before.
//!
//! What another team has sent is never used: whoever names a hash has to show its bytes.

use async_compression::tokio::bufread::ZstdDecoder;
use panda_api_types::ErrorCode;
use panda_api_types::PlanView;
use panda_builder::job::settings_of;
use panda_builder::source::{SourceView, materialise};
use panda_domain::failure::Failure;
use panda_domain::manifest;
use panda_domain::request::FrozenRequest;
use panda_domain::source_tree::ContentHash;
use panda_domain::source_tree::{SourceManifest, TreeHash};
use panda_domain::team::Permission;
use tokio::io::{AsyncBufRead, AsyncRead, AsyncReadExt};

use crate::Platform;
use crate::auth::Principal;
use crate::error::{Error, Result};

/// The largest announced directory, bytes of its files.
pub const MAX_TREE_BYTES: u64 = 2 << 30;
/// The most entries of one directory.
pub const MAX_ENTRIES: usize = 100_000;
/// The largest file that is read as text.
const MAX_TEXT_BYTES: u64 = 256 << 10;

/// An announced directory: what of it has still to be sent.
#[derive(Debug)]
pub struct Announced {
    /// Its hash.
    pub tree: TreeHash,
    /// sha256 (hex) of files that the team hasn't sent, each once.
    pub missing: Vec<String>,
}

/// Takes the listing of a directory. Twice is once.
pub async fn announce(platform: &Platform, principal: &Principal, listing: &str) -> Result<Announced> {
    principal.require(Permission::Deploy, None)?;
    let manifest = parse_listing(listing)?;
    let tree = manifest.tree_hash();
    let text = serde_json::to_string(&manifest).map_err(Error::internal)?;
    // Until the row is committed the garbage reconciler would find a file that nobody needs.
    let _writing = platform.blobs.writing(&tree.to_string()).await?;
    platform.blobs.put_listing(&principal.team, &tree.to_string(), text.as_bytes()).await?;
    let mut hashes: Vec<String> = manifest.files().map(|(_, _, hash)| hash.to_string()).collect();
    hashes.sort_unstable();
    hashes.dedup();
    let mut tx = platform.store.begin().await?;
    let files = manifest.entries().len() as u64;
    // First: from here on what the team has of it stays.
    tx.add_tree(&principal.team, &tree.to_string(), manifest.total_bytes(), files).await?;
    let have = tx.have_blobs(&principal.team, &hashes).await?;
    tx.commit().await?;
    hashes.retain(|hash| !have.contains(hash));
    Ok(Announced { tree, missing: hashes })
}

fn parse_listing(listing: &str) -> Result<SourceManifest> {
    let manifest: SourceManifest = serde_json::from_str(listing).map_err(|error| {
        Error::new(ErrorCode::InvalidSource, format!("the listing can't be used: {error}"))
            .with_hint("upload with a current `panda`")
    })?;
    if manifest.entries().len() > MAX_ENTRIES {
        let text =
            format!("the source has {} entries, at most {MAX_ENTRIES} are taken", manifest.entries().len());
        return Err(Error::new(ErrorCode::TooLarge, text)
            .with_hint("leave generated files out with a .dockerignore or .pandaignore"));
    }
    if let Some((path, size, _)) = manifest.files().find(|(_, size, _)| *size > MAX_FILE_BYTES) {
        let text = format!("`{path}` has {} MiB, at most {} are taken", size >> 20, MAX_FILE_BYTES >> 20);
        return Err(Error::new(ErrorCode::TooLarge, text)
            .with_hint("leave it out with a .dockerignore or .pandaignore, or fetch it while building"));
    }
    if manifest.total_bytes() > MAX_TREE_BYTES {
        let text = format!(
            "the source has {} MiB, at most {} are taken",
            manifest.total_bytes() >> 20,
            MAX_TREE_BYTES >> 20
        );
        return Err(Error::new(ErrorCode::TooLarge, text)
            .with_hint("leave large files out with a .dockerignore or .pandaignore"));
    }
    Ok(manifest)
}

/// Returns an announced directory's listing once all its files were sent.
pub async fn tree(platform: &Platform, principal: &Principal, tree: &TreeHash) -> Result<SourceManifest> {
    let mut tx = platform.store.read().await?;
    if !tx.has_tree(&principal.team, &tree.to_string()).await? {
        return Err(unknown());
    }
    let bytes = platform.blobs.listing(&principal.team, &tree.to_string()).await?.ok_or_else(unknown)?;
    let manifest: SourceManifest = serde_json::from_slice(&bytes).map_err(Error::internal)?;
    let hashes: Vec<String> = manifest.files().map(|(_, _, hash)| hash.to_string()).collect();
    let have = tx.have_blobs(&principal.team, &hashes).await?;
    if hashes.iter().all(|hash| have.contains(hash)) { Ok(manifest) } else { Err(unknown()) }
}

/// The answer about a directory that can't be used.
pub fn unknown() -> Error {
    Error::new(ErrorCode::InvalidSource, "the source isn't there, or not whole")
        .with_hint("send it again: `panda deploy`")
}

/// Returns a file of a directory as text, `None` when it has no such file.
pub async fn read_text(platform: &Platform, manifest: &SourceManifest, path: &str) -> Result<Option<String>> {
    let Some((_, size, hash)) = manifest.files().find(|(p, _, _)| *p == path) else { return Ok(None) };
    if size > MAX_TEXT_BYTES {
        let text = format!("`{path}` has {size} bytes, at most {MAX_TEXT_BYTES} are read");
        let hint = "move large texts into files of the source";
        return Err(Error::new(ErrorCode::InvalidManifest, text).with_hint(hint));
    }
    let file = platform
        .blobs
        .open_blob(&hash.to_string())
        .await?
        .ok_or_else(|| Error::internal("a blob's file is gone"))?;
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
    // The size is what the sender said; the content may be another, and any length.
    file.take(size + 1).read_to_end(&mut bytes).await.map_err(Error::internal)?;
    if bytes.len() as u64 != size {
        let text = format!("`{path}` has another length than the listing says");
        return Err(Error::new(ErrorCode::InvalidSource, text).with_hint("upload with a current `panda`"));
    }
    let not_text = |_| Error::new(ErrorCode::InvalidManifest, format!("`{path}` isn't UTF-8"));
    String::from_utf8(bytes).map(Some).map_err(not_text)
}

/// The largest single file, bytes.
const MAX_FILE_BYTES: u64 = 1 << 30;

/// Takes files as a zstd stream of frames: hash, length, bytes. Each whole frame is checked and kept, so a stream that was
/// cut loses only the file that it was cut in.
pub async fn receive(
    platform: &Platform,
    principal: &Principal,
    body: impl AsyncBufRead + Unpin + Send,
) -> Result<()> {
    principal.require(Permission::Deploy, None)?;
    let mut frames = ZstdDecoder::new(body);
    while let Some((hash, size)) = head(&mut frames).await? {
        if size > MAX_FILE_BYTES {
            let text = format!("a file has {} MiB, at most {} are taken", size >> 20, MAX_FILE_BYTES >> 20);
            return Err(Error::new(ErrorCode::TooLarge, text)
                .with_hint("leave it out with a .dockerignore or .pandaignore"));
        }
        let mut content = (&mut frames).take(size);
        let _writing = platform.blobs.writing(&hash.to_string()).await?;
        let received = platform.blobs.put_stream(&hash.to_string(), size, &mut content).await?;
        if received != size {
            return Err(cut());
        }
        let mut tx = platform.store.begin().await?;
        tx.add_blob(&principal.team, &hash.to_string(), size).await?;
        tx.commit().await?;
    }
    Ok(())
}

async fn head(frames: &mut (impl AsyncRead + Unpin)) -> Result<Option<(ContentHash, u64)>> {
    let mut hash = [0; 32];
    match frames.read(&mut hash[..1]).await {
        Ok(0) => return Ok(None),
        Ok(_) => {}
        Err(_) => return Err(cut()),
    }
    frames.read_exact(&mut hash[1..]).await.map_err(|_| cut())?;
    let size = frames.read_u64().await.map_err(|_| cut())?;
    Ok(Some((ContentHash::from_bytes(hash), size)))
}

fn cut() -> Error {
    Error::new(ErrorCode::InvalidSource, "the upload was cut or isn't a stream of files")
        .with_hint("send it again: what arrived whole is kept")
}

/// Says how a directory would be built.
pub async fn plan(
    platform: &Platform,
    principal: &Principal,
    tree_hash: &TreeHash,
    manifest_text: Option<String>,
) -> Result<PlanView> {
    principal.require(Permission::Read, None)?;
    let source = tree(platform, principal, tree_hash).await?;
    let text = match manifest_text {
        Some(text) => Some(text),
        None => read_text(platform, &source, "panda.toml").await?,
    };
    let manifest = match text {
        Some(text) => manifest::parse(&text).map_err(|errors| super::manifest_error(&errors))?,
        None => manifest::Manifest::default(),
    };
    let settings = settings_of(&manifest, &FrozenRequest::default());
    let blobs = platform.blobs.clone();
    let planned = tokio::task::spawn_blocking(move || {
        let folder = tempfile::tempdir().map_err(Error::internal)?;
        let target = folder.path().join("source");
        materialise(&source, &target, |hash| blobs.path(&hash.to_string()).ok())
            .map_err(|e| refused(&e.failure().failure))?;
        let view =
            SourceView::open(&target).ok_or_else(|| Error::internal("an unpacked source can't be read"))?;
        panda_builder::plan::plan(&view, &settings).map_err(|failure| refused(&failure.0))
    });
    let plan = planned.await.map_err(Error::internal)??;
    let ejected = plan.eject();
    Ok(PlanView {
        text: plan.to_string(),
        plan: serde_json::to_value(&plan).map_err(Error::internal)?,
        dockerfile: ejected.dockerfile,
        dockerignore: ejected.dockerignore,
    })
}

fn refused(failure: &Failure) -> Error {
    Error::new(ErrorCode::InvalidSource, failure.cause.clone()).with_hint(failure.fix.clone())
}
