//! Domains of an app.

use axum::extract::State;
use axum::http::StatusCode;
use panda_api_types::{DnsRecord, Domain, DomainRequest, Page};
use panda_domain::names::Hostname;
use panda_domain::route::CertificateState;
use panda_store::CertificateRow;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::paging::whole;
use super::{Json, Path, Shared, Target, TargetParams};
use crate::app::domains::{self, AppDomain, Record};
use crate::auth::Principal;
use crate::error::{Error, InField, Result};
use crate::platform::PlatformSettings;

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(list, add)).routes(routes!(verify)).routes(routes!(remove))
}

/// Names one domain in a path.
#[derive(Debug, serde::Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
struct HostParam {
    /// The host name.
    host: String,
}

/// The hosts that an app answers at, the given one first.
#[utoipa::path(get, path = "/apps/{app}/domains", tag = "domains", params(TargetParams),
    responses((status = 200, body = Page<Domain>)))]
async fn list(
    State(platform): State<Shared>,
    principal: Principal,
    target: Target,
) -> Result<Json<Page<Domain>>> {
    let rows = domains::list(&platform.store, &principal, of(&target)).await?;
    Ok(Json(whole(rows, |domain| shown(&platform.settings, domain))))
}

/// Adds a domain and says which DNS records it needs.
#[utoipa::path(post, path = "/apps/{app}/domains", tag = "domains", params(TargetParams),
    request_body = DomainRequest,
    responses((status = 201, body = Domain), (status = 409, description = "The domain is in use")))]
async fn add(
    State(platform): State<Shared>,
    principal: Principal,
    target: Target,
    Json(body): Json<DomainRequest>,
) -> Result<(StatusCode, Json<Domain>)> {
    let host = body.host.parse::<Hostname>().in_field("host")?;
    let path = body.path.unwrap_or_else(|| "/".to_owned());
    let settings = &platform.settings;
    let domain = domains::add(&platform.store, settings, &principal, of(&target), &host, &path).await?;
    Ok((StatusCode::CREATED, Json(shown(settings, domain))))
}

/// Looks at the DNS; a domain that is proven gets its route.
#[utoipa::path(post, path = "/apps/{app}/domains/{host}/verify", tag = "domains",
    params(TargetParams, HostParam), responses((status = 200, body = Domain)))]
async fn verify(
    State(platform): State<Shared>,
    principal: Principal,
    target: Target,
    Path(HostParam { host }): Path<HostParam>,
) -> Result<Json<Domain>> {
    let host = parse(&host)?;
    let (store, settings, dns) = (&platform.store, &platform.settings, &platform.dns);
    let domain = domains::verify(store, settings, dns, &principal, of(&target), &host).await?;
    Ok(Json(shown(settings, domain)))
}

/// Takes a domain off the app.
#[utoipa::path(delete, path = "/apps/{app}/domains/{host}", tag = "domains", params(TargetParams, HostParam),
    responses((status = 204)))]
async fn remove(
    State(platform): State<Shared>,
    principal: Principal,
    target: Target,
    Path(HostParam { host }): Path<HostParam>,
) -> Result<StatusCode> {
    domains::remove(&platform.store, &principal, of(&target), &parse(&host)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Returns the hosts that an app answers at, as they are shown.
pub(super) async fn of_app(platform: &Shared, principal: &Principal, target: &Target) -> Result<Vec<Domain>> {
    let rows = domains::list(&platform.store, principal, of(target)).await?;
    Ok(rows.into_iter().map(|domain| shown(&platform.settings, domain)).collect())
}

fn parse(host: &str) -> Result<Hostname> {
    host.parse().map_err(|_| Error::not_found("domain"))
}

fn of(target: &Target) -> domains::Target<'_> {
    domains::Target { app: &target.app, environment: &target.environment }
}

/// Shows a domain.
pub fn shown(settings: &PlatformSettings, domain: AppDomain) -> Domain {
    let (certificate, certificate_detail) = shown_certificate(&domain);
    Domain {
        url: format!("{}{}", settings.app_url(&domain.host), domain.path.trim_end_matches('/')),
        host: domain.host,
        path: domain.path,
        kind: if domain.given { "given" } else { "domain" }.to_owned(),
        verified: domain.verified,
        certificate: certificate.to_owned(),
        certificate_detail,
        records: domain.records.into_iter().map(shown_record).collect(),
    }
}

fn shown_certificate(domain: &AppDomain) -> (&'static str, Option<String>) {
    match &domain.certificate {
        None if domain.given => ("local", None),
        None => ("pending", None),
        Some(CertificateRow { state, .. }) => match state {
            CertificateState::Local => ("local", None),
            CertificateState::Pending => ("pending", None),
            CertificateState::Ordering => ("ordering", None),
            CertificateState::Issued { not_after } => {
                let until = jiff::Timestamp::from_second(*not_after).ok();
                ("issued", until.map(|until| format!("until {until}")))
            }
            CertificateState::Own { not_after, .. } => {
                let until = jiff::Timestamp::from_second(*not_after).ok();
                ("own", until.map(|until| format!("until {until}")))
            }
            CertificateState::Failed { reason } => ("failed", Some(reason.clone())),
        },
    }
}

fn shown_record(record: Record) -> DnsRecord {
    DnsRecord {
        ok: record.ok(),
        kind: record.kind.to_owned(),
        name: record.name,
        expected: record.expected,
        seen: record.seen.unwrap_or_default(),
    }
}
