//! Device logins.

use axum::extract::State;
use axum::http::StatusCode;
use panda_api_types::{DeviceApproval, DeviceCode, DeviceCodeRequest, DeviceTokenRequest, TokenCreated};
use panda_domain::names::TokenName;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Json, Shared, tokens};
use crate::app::devices;
use crate::auth::{Peer, Principal};
use crate::error::{InField, Result};

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(start)).routes(routes!(poll)).routes(routes!(decide))
}

/// Starts a device login.
#[utoipa::path(post, path = "/device/code", tag = "account", security(()), request_body = DeviceCodeRequest,
    responses((status = 200, body = DeviceCode)))]
async fn start(
    State(platform): State<Shared>,
    peer: Peer,
    Json(body): Json<DeviceCodeRequest>,
) -> Result<Json<DeviceCode>> {
    let client_name = body.client_name.parse::<TokenName>().in_field("client_name")?;
    let started = devices::start(&platform.store, &peer, client_name).await?;
    let uri = platform.settings.page("/device");
    Ok(Json(DeviceCode {
        device_code: started.device_code.reveal().to_owned(),
        verification_uri_complete: format!("{uri}?code={}", started.user_code),
        verification_uri: uri,
        user_code: started.user_code,
        expires_in: devices::EXPIRES_S,
        interval: devices::INTERVAL_S,
    }))
}

/// Polls a device login: the token once approved, and only once.
#[utoipa::path(post, path = "/device/token", tag = "account", security(()), request_body = DeviceTokenRequest,
    responses((status = 200, body = TokenCreated), (status = 400, description = "Nobody has approved it yet"),
              (status = 403, description = "Denied"), (status = 410, description = "Used or too old"),
              (status = 429, description = "Polled too often")))]
async fn poll(
    State(platform): State<Shared>,
    peer: Peer,
    Json(body): Json<DeviceTokenRequest>,
) -> Result<Json<TokenCreated>> {
    let made = devices::poll(&platform.store, &peer, &body.device_code).await?;
    Ok(Json(tokens::shown_once(&platform, &made).await?))
}

/// Approves or denies a device login, by a signed-in browser.
#[utoipa::path(post, path = "/device/approve", tag = "account", request_body = DeviceApproval,
    responses((status = 204), (status = 410, description = "No login waits under this code")))]
async fn decide(
    State(platform): State<Shared>,
    principal: Principal,
    Json(body): Json<DeviceApproval>,
) -> Result<StatusCode> {
    devices::decide(&platform.store, &principal, &body.user_code, body.approve).await?;
    Ok(StatusCode::NO_CONTENT)
}
