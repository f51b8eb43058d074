//! The image, part by part, out of one server and into the other. A layer is never in memory as a whole.

use std::time::Duration;

use panda_api_types::ErrorCode;
use reqwest::header::{ACCEPT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use reqwest::{Body, Method};
use serde::Deserialize;

use crate::api::{Api, network};
use crate::error::{CliError, Result};
use crate::session::{Session, Target};

/// How long one layer may take, there and back.
const LAYER: Duration = Duration::from_hours(1);
const SMALL: Duration = Duration::from_mins(1);
/// How often a layer is tried that breaks off.
const TRIES: u32 = 3;
/// A list of images has images, and those have layers; what nests deeper is none.
const DEEPEST: u32 = 2;

/// What a manifest names.
#[derive(Debug, Deserialize)]
struct Manifest {
    #[serde(default)]
    manifests: Vec<Descriptor>,
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Vec<Descriptor>,
}

#[derive(Debug, Deserialize)]
struct Descriptor {
    digest: String,
    #[serde(default)]
    size: u64,
}

/// Carries an image. What is there already isn't sent again.
pub(super) async fn carry(session: &Session, there: &Session, target: &Target, digest: &str) -> Result<()> {
    manifest(session, there, target, digest, 0).await
}

async fn manifest(
    session: &Session,
    there: &Session,
    target: &Target,
    digest: &str,
    depth: u32,
) -> Result<()> {
    let ask = target.ask(["image", "manifests", digest]);
    if has(&there.api, target, "manifests", digest).await? {
        return Ok(());
    }
    let read = session.api.send(session.api.request(Method::GET, &ask).timeout(SMALL)).await?;
    let kind = read.headers().get(CONTENT_TYPE).cloned();
    let bytes = read.bytes().await.map_err(|error| network(&error, &session.api.server.url))?;
    let parsed: Manifest = serde_json::from_slice(&bytes).map_err(|_| odd(digest))?;
    if depth >= DEEPEST {
        return Err(odd(digest));
    }
    for image in &parsed.manifests {
        Box::pin(manifest(session, there, target, &image.digest, depth + 1)).await?;
    }
    for part in parsed.config.iter().chain(&parsed.layers) {
        blob(session, there, target, part).await?;
    }
    let mut keep = there.api.request(Method::PUT, &ask).timeout(SMALL).body(bytes);
    if let Some(kind) = kind {
        keep = keep.header(CONTENT_TYPE, kind);
    }
    there.api.send(keep).await.map(drop)
}

async fn blob(session: &Session, there: &Session, target: &Target, part: &Descriptor) -> Result<()> {
    if has(&there.api, target, "blobs", &part.digest).await? {
        return Ok(());
    }
    let mut left = TRIES;
    loop {
        left -= 1;
        match pipe(&session.api, &there.api, target, part).await {
            Ok(()) => {
                let short = part.digest.get(7..19).unwrap_or(&part.digest);
                session.out.say(&format!("layer {short}, {} KiB", part.size.div_ceil(1024)));
                return Ok(());
            }
            Err(error) if left > 0 && error.code() == Some(ErrorCode::Unavailable) => {
                session.out.say(&format!("a layer broke off, once more: {}", error.detail()));
            }
            Err(error) => return Err(error),
        }
    }
}

/// Joins what comes from the one server to what goes to the other.
async fn pipe(here: &Api, there: &Api, target: &Target, part: &Descriptor) -> Result<()> {
    let ask = target.ask(["image", "blobs", &part.digest]);
    // As it is: a layer is compressed already, and its length has to be known.
    let read = here.request(Method::GET, &ask).header(ACCEPT_ENCODING, "identity").timeout(LAYER);
    let read = here.send(read).await?;
    let length = read.content_length();
    let mut keep =
        there.request(Method::PUT, &ask).timeout(LAYER).body(Body::wrap_stream(read.bytes_stream()));
    if let Some(length) = length {
        keep = keep.header(CONTENT_LENGTH, length);
    }
    there.send(keep).await.map(drop)
}

async fn has(api: &Api, target: &Target, what: &str, digest: &str) -> Result<bool> {
    let request = api.request(Method::HEAD, &target.ask(["image", what, digest])).timeout(SMALL);
    match api.send(request).await {
        Ok(_) => Ok(true),
        Err(error) if error.code() == Some(ErrorCode::NotFound) => Ok(false),
        Err(error) => Err(error),
    }
}

fn odd(digest: &str) -> CliError {
    CliError::new(ErrorCode::Internal, format!("`{digest}` is no manifest of an image"))
        .hint("deploy the app on the other server from its source: `panda deploy --server URL`")
}
