//! Sending directories.

use std::io;

use axum::body::Body;
use axum::extract::State;
use futures_util::TryStreamExt;
use panda_api_types::{MissingBlobs, PlanRequest, PlanView, TreeRequest, TreeView};
use panda_domain::source_tree::TreeHash;
use tokio_util::io::StreamReader;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Json, Shared};
use crate::app::uploads;
use crate::auth::Principal;
use crate::error::{InField, Result};

/// A listing of 100,000 entries has about 20 MB.
const LISTING_LIMIT: usize = 64 << 20;

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(blobs))
}

/// Routes whose bodies are larger than usual but not streams.
pub(super) fn listing_routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .routes(routes!(announce))
        .routes(routes!(plan))
        .layer(tower_http::limit::RequestBodyLimitLayer::new(LISTING_LIMIT))
}

/// Announces a directory by its listing; answers what of it has to be sent. Twice is once.
#[utoipa::path(put, path = "/uploads/trees", tag = "uploads", request_body = TreeRequest, responses((status = 200, body = TreeView)))]
async fn announce(
    State(platform): State<Shared>,
    principal: Principal,
    Json(body): Json<TreeRequest>,
) -> Result<Json<TreeView>> {
    let announced = uploads::announce(&platform, &principal, &body.listing).await?;
    let complete = announced.missing.is_empty();
    Ok(Json(TreeView { tree: announced.tree.to_string(), complete, missing: announced.missing }))
}

/// Takes files: a zstd stream of frames, each the sha256 (32 bytes), the length (8 bytes, big-endian) and the bytes. Whole frames
/// of a stream that was cut are kept.
#[utoipa::path(post, path = "/uploads/blobs", tag = "uploads",
    request_body(content = Vec<u8>, content_type = "application/vnd.panda.blobs+zstd"), responses((status = 200, body = MissingBlobs)))]
async fn blobs(
    State(platform): State<Shared>,
    principal: Principal,
    body: Body,
) -> Result<Json<MissingBlobs>> {
    let stream = StreamReader::new(body.into_data_stream().map_err(io::Error::other));
    uploads::receive(&platform, &principal, stream).await?;
    Ok(Json(MissingBlobs { missing: Vec::new() }))
}

/// Says how a directory would be built.
#[utoipa::path(post, path = "/uploads/plan", tag = "uploads", request_body = PlanRequest, responses((status = 200, body = PlanView)))]
async fn plan(
    State(platform): State<Shared>,
    principal: Principal,
    Json(body): Json<PlanRequest>,
) -> Result<Json<PlanView>> {
    let tree = body.tree.parse::<TreeHash>().in_field("tree")?;
    let planned = uploads::plan(&platform, &principal, &tree, body.manifest).await?;
    Ok(Json(planned))
}
