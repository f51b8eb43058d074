//! Moving an app from one server to another.

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::TryStreamExt as _;
use panda_api_types::{DeploymentAccepted, MoveInRequest, MoveKey, MoveOut, MoveOutRequest};
use panda_builder::images::Part;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Json, Path, Shared, Target, TargetParams, deployments};
use crate::app::moves::{self, Outgoing, Wanted};
use crate::auth::Principal;
use crate::error::{Error, Result};

/// 1,000 variables of 64 KiB would be more; nobody has them.
const BUNDLE_LIMIT: usize = 16 << 20;
/// No layer of an app is larger, and the registry's disk is everybody's.
const LAYER_LIMIT: usize = 10 << 30;
/// A manifest is a list of parts.
const MANIFEST_LIMIT: usize = 4 << 20;

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(key)).routes(routes!(take_out))
}

/// Routes whose bodies are large: a bundle, parts of images.
pub(super) fn slow_routes() -> OpenApiRouter<Shared> {
    let bundles = OpenApiRouter::new()
        .routes(routes!(bring_in))
        .layer(tower_http::limit::RequestBodyLimitLayer::new(BUNDLE_LIMIT));
    let manifests = OpenApiRouter::new()
        .routes(routes!(keep_manifest))
        .layer(tower_http::limit::RequestBodyLimitLayer::new(MANIFEST_LIMIT));
    let blobs = OpenApiRouter::new()
        .routes(routes!(keep_blob))
        .layer(tower_http::limit::RequestBodyLimitLayer::new(LAYER_LIMIT));
    OpenApiRouter::new()
        .routes(routes!(read_manifest))
        .routes(routes!(read_blob))
        .merge(blobs)
        .merge(manifests)
        .merge(bundles)
}

/// Names a part of an image.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
struct PartParam {
    /// `sha256:…`.
    digest: String,
}

/// The key that apps are sealed to which come here.
#[utoipa::path(post, path = "/moves/key", tag = "moves", responses((status = 200, body = MoveKey)))]
async fn key(State(platform): State<Shared>, principal: Principal) -> Result<Json<MoveKey>> {
    Ok(Json(moves::own_key(&platform.store, &principal).await?))
}

/// An app's settings and secrets, sealed for another server. Nobody else can open them.
#[utoipa::path(post, path = "/apps/{app}/moves/out", tag = "moves", params(TargetParams),
    request_body = MoveOutRequest, responses((status = 200, body = MoveOut)))]
async fn take_out(
    State(platform): State<Shared>,
    principal: Principal,
    target: Target,
    Json(body): Json<MoveOutRequest>,
) -> Result<Json<MoveOut>> {
    let Target { app, environment } = &target;
    let to = shortened(&body.to_server);
    Ok(Json(shown(moves::take_out(&platform, &principal, app, environment, &body.to, &to).await?)))
}

fn shown(outgoing: Outgoing) -> MoveOut {
    let Outgoing { bundle, goods, project } = outgoing;
    let names = |secret: bool| {
        let chosen = goods.env.iter().filter(|variable| variable.secret == secret);
        chosen.map(|variable| variable.key.to_string()).collect()
    };
    let image = &goods.release.image;
    MoveOut {
        bundle,
        project,
        release: goods.release.number,
        image: format!("{}@{}", image.repository, image.digest),
        digest: image.digest.to_string(),
        carried: image.own_registry,
        env: names(false),
        secrets: names(true),
        replicas: goods.formation.iter().map(|(name, scale)| (name.to_string(), scale.replicas)).collect(),
    }
}

/// Takes an app's settings in and rolls its release out. What is so already stays as it is.
#[utoipa::path(post, path = "/apps/{app}/moves/in", tag = "moves", params(TargetParams),
    request_body = MoveInRequest, responses((status = 202, body = DeploymentAccepted)))]
async fn bring_in(
    State(platform): State<Shared>,
    principal: Principal,
    target: Target,
    Json(body): Json<MoveInRequest>,
) -> Result<(StatusCode, Json<DeploymentAccepted>)> {
    let Target { app, environment } = &target;
    let from = shortened(&body.from_server);
    let accepted = moves::bring_in(&platform, &principal, app, environment, &body.bundle, &from).await?;
    let view = deployments::accepted_view(&platform, &principal, &target, accepted).await?;
    Ok((StatusCode::ACCEPTED, Json(view)))
}

/// A manifest of the app's image; HEAD only looks.
#[utoipa::path(get, path = "/apps/{app}/image/manifests/{digest}", tag = "moves", params(TargetParams, PartParam),
    responses((status = 200, body = Vec<u8>)))]
async fn read_manifest(
    State(platform): State<Shared>,
    principal: Principal,
    method: Method,
    target: Target,
    Path(PartParam { digest }): Path<PartParam>,
) -> Result<Response> {
    read(&platform, &principal, &method, &target, Part::Manifest, &digest).await
}

/// A layer or configuration of the app's image, as a stream; HEAD only looks.
#[utoipa::path(get, path = "/apps/{app}/image/blobs/{digest}", tag = "moves", params(TargetParams, PartParam),
    responses((status = 200, body = Vec<u8>, content_type = "application/octet-stream")))]
async fn read_blob(
    State(platform): State<Shared>,
    principal: Principal,
    method: Method,
    target: Target,
    Path(PartParam { digest }): Path<PartParam>,
) -> Result<Response> {
    read(&platform, &principal, &method, &target, Part::Blob, &digest).await
}

async fn read(
    platform: &Shared,
    principal: &Principal,
    method: &Method,
    target: &Target,
    part: Part,
    digest: &str,
) -> Result<Response> {
    let digest = digest.parse().map_err(|_| Error::not_found("part of an image"))?;
    let wanted = Wanted { app: &target.app, environment: &target.environment, part, digest: &digest };
    if method == Method::HEAD {
        let there = moves::has_part(platform, principal, wanted).await?;
        return if there {
            Ok(StatusCode::OK.into_response())
        } else {
            Err(Error::not_found("part of an image"))
        };
    }
    let reading = moves::read_part(platform, principal, wanted).await?;
    let mut response = Body::from_stream(reading.body).into_response();
    let headers = response.headers_mut();
    if let Ok(kind) = reading.kind.parse() {
        headers.insert(header::CONTENT_TYPE, kind);
    }
    if let Some(length) = reading.length {
        headers.insert(header::CONTENT_LENGTH, length.into());
    }
    Ok(response)
}

/// Keeps a manifest whose parts are here.
#[utoipa::path(put, path = "/apps/{app}/image/manifests/{digest}", tag = "moves", params(TargetParams, PartParam),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"), responses((status = 204)))]
async fn keep_manifest(
    State(platform): State<Shared>,
    principal: Principal,
    target: Target,
    Path(PartParam { digest }): Path<PartParam>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<StatusCode> {
    let digest = digest.parse().map_err(|_| Error::invalid_field("digest", "is no digest"))?;
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let wanted =
        Wanted { app: &target.app, environment: &target.environment, part: Part::Manifest, digest: &digest };
    moves::keep_manifest(&platform, &principal, wanted, kind, body).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Keeps a layer as it comes; its digest is compared. What breaks off leaves nothing.
#[utoipa::path(put, path = "/apps/{app}/image/blobs/{digest}", tag = "moves", params(TargetParams, PartParam),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"), responses((status = 204)))]
async fn keep_blob(
    State(platform): State<Shared>,
    principal: Principal,
    target: Target,
    Path(PartParam { digest }): Path<PartParam>,
    body: Body,
) -> Result<StatusCode> {
    let digest = digest.parse().map_err(|_| Error::invalid_field("digest", "is no digest"))?;
    let wanted =
        Wanted { app: &target.app, environment: &target.environment, part: Part::Blob, digest: &digest };
    let bytes = body.into_data_stream().map_err(std::io::Error::other);
    moves::keep_blob(&platform, &principal, wanted, bytes).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// An address as it gets into the events: no control codes, no novel.
fn shortened(address: &str) -> String {
    address.chars().filter(|c| !c.is_control()).take(200).collect()
}
