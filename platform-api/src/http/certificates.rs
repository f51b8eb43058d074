//! Certificates that people give for the domains of an app. No answer has a key in it.

use axum::extract::State;
use axum::http::StatusCode;
use panda_api_types::{CertificateRequest, OwnCertificate, Page};
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::paging::whole;
use super::{Json, Path, Shared, Target, TargetParams};
use crate::app::certificates::{self, Given, Offer};
use crate::app::domains;
use crate::auth::Principal;
use crate::error::Result;

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(list, add)).routes(routes!(show, remove))
}

/// Names one certificate in a path.
#[derive(Debug, serde::Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
struct HostParam {
    /// The host, or the wildcard.
    host: String,
}

/// The certificates that were given for the app's domains.
#[utoipa::path(get, path = "/apps/{app}/certificates", tag = "certificates", params(TargetParams),
    responses((status = 200, body = Page<OwnCertificate>)))]
async fn list(
    State(platform): State<Shared>,
    principal: Principal,
    target: Target,
) -> Result<Json<Page<OwnCertificate>>> {
    let all = certificates::list(&platform.store, &principal, of(&target)).await?;
    Ok(Json(whole(all, shown)))
}

/// Gives a certificate for a proven domain, or for those that a wildcard covers; replaces one that was given before.
#[utoipa::path(post, path = "/apps/{app}/certificates", tag = "certificates", params(TargetParams),
    request_body = CertificateRequest,
    responses((status = 201, body = OwnCertificate),
        (status = 409, description = "The domain isn't proven"),
        (status = 422, description = "Browsers wouldn't take it, or its key doesn't fit; the hint says what to do")))]
async fn add(
    State(platform): State<Shared>,
    principal: Principal,
    target: Target,
    Json(body): Json<CertificateRequest>,
) -> Result<(StatusCode, Json<OwnCertificate>)> {
    let offer = Offer { name: &body.host, chain: &body.chain_pem, key: &body.key_pem };
    let given = certificates::add(&platform.store, &principal, of(&target), &offer).await?;
    Ok((StatusCode::CREATED, Json(shown(given))))
}

/// One certificate that was given.
#[utoipa::path(get, path = "/apps/{app}/certificates/{host}", tag = "certificates",
    params(TargetParams, HostParam), responses((status = 200, body = OwnCertificate)))]
async fn show(
    State(platform): State<Shared>,
    principal: Principal,
    target: Target,
    Path(HostParam { host }): Path<HostParam>,
) -> Result<Json<OwnCertificate>> {
    Ok(Json(shown(certificates::show(&platform.store, &principal, of(&target), &host).await?)))
}

/// Forgets a certificate and its key; one is ordered in its place.
#[utoipa::path(delete, path = "/apps/{app}/certificates/{host}", tag = "certificates",
    params(TargetParams, HostParam), responses((status = 204)))]
async fn remove(
    State(platform): State<Shared>,
    principal: Principal,
    target: Target,
    Path(HostParam { host }): Path<HostParam>,
) -> Result<StatusCode> {
    certificates::remove(&platform.store, &principal, of(&target), &host).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn of(target: &Target) -> domains::Target<'_> {
    domains::Target { app: &target.app, environment: &target.environment }
}

fn shown(given: Given) -> OwnCertificate {
    let leaf = given.leaf;
    OwnCertificate {
        host: given.name,
        domains: given.domains,
        names: leaf.names,
        issuer: leaf.issuer,
        not_before: leaf.not_before.to_string(),
        not_after: leaf.not_after.to_string(),
        key_kind: leaf.key_kind,
        fingerprint: leaf.fingerprint,
        chain_length: u32::try_from(leaf.chain_length).unwrap_or(u32::MAX),
    }
}
