//! Certificates that people give for their domains: checked, sealed, and theirs to replace.
//!
//! A wildcard is kept once for each of the app's domains that it covers, never as a wildcard: another team may have proven a
//! domain of the same zone, and gets no certificate from this one.

mod check;
mod leaf;
mod pem;

use std::collections::BTreeMap;

use panda_api_types::FieldError;
use panda_deployer::certificates::first_warning;
use panda_domain::names::Hostname;
use panda_domain::route::{CertificateState, certificate_covers};
use panda_domain::team::Permission;
use panda_store::{CertificateRow, PlacementRow, Store, Tx};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::apps;
use super::domains::Target;
use super::events::{self, NewEventText};
use crate::auth::Principal;
use crate::error::{Error, InField, Result};
use check::{Checked, Refusal};
pub use leaf::Leaf;

/// A certificate of an app.
#[derive(Debug)]
pub struct Given {
    /// What it was given for: a host, or a wildcard.
    pub name: String,
    /// The domains that it is shown for.
    pub domains: Vec<String>,
    /// What it says.
    pub leaf: Leaf,
}

/// What is given. Has no `Debug`, because of the key.
pub struct Offer<'a> {
    /// A host, or a wildcard.
    pub name: &'a str,
    /// The chain, PEM.
    pub chain: &'a str,
    /// The key, PEM.
    pub key: &'a str,
}

/// Returns the app's certificates that people gave, by name.
pub async fn list(store: &Store, principal: &Principal, target: Target<'_>) -> Result<Vec<Given>> {
    principal.require(Permission::Read, Some(target.app))?;
    let mut tx = store.read().await?;
    let row = apps::require_placement(&mut tx, &principal.team, target.app, target.environment).await?;
    let mut by_name: BTreeMap<String, Vec<CertificateRow>> = BTreeMap::new();
    for (name, certificate) in given(&mut tx, &row).await? {
        by_name.entry(name).or_default().push(certificate);
    }
    Ok(by_name.into_iter().filter_map(|(name, rows)| shown(name, &rows)).collect())
}

/// Returns the certificate that was given for a host or wildcard, or that is shown for the host.
pub async fn show(store: &Store, principal: &Principal, target: Target<'_>, host: &str) -> Result<Given> {
    let all = list(store, principal, target).await?;
    let found =
        all.into_iter().find(|one| one.name == host || one.domains.iter().any(|domain| domain == host));
    found.ok_or_else(|| Error::not_found("certificate"))
}

/// Checks a certificate and shows it from now on for the domain, or for those that the wildcard covers; in the place of one that
/// was given before.
pub async fn add(
    store: &Store,
    principal: &Principal,
    target: Target<'_>,
    offer: &Offer<'_>,
) -> Result<Given> {
    principal.require(Permission::Manage, Some(target.app))?;
    let now = store.clock().now();
    let mut tx = store.begin().await?;
    let row = apps::require_living(&mut tx, &principal.team, target.app, target.environment).await?;
    let name = parse(offer.name)?;
    let hosts = proven(&mut tx, &row, &name).await?;
    let checked = check::check(&name, offer.chain, offer.key, now).map_err(refused)?;
    let mut domains = Vec::new();
    for host in hosts {
        // One that was given for just this host stays before a wildcard.
        let before = tx.certificate(&host).await?.and_then(|row| name_of(&row));
        if before.is_none_or(|before| before == name || before != host) {
            tx.upsert_certificate(&kept(&host, &name, &checked)).await?;
            domains.push(host);
        }
    }
    if domains.is_empty() {
        return Err(Error::conflict(format!(
            "every domain that `{name}` covers has a certificate given for itself"
        ))
        .with_hint("`panda certs remove` takes one away; `panda certs list` shows them"));
    }
    let text = format!("a certificate for `{name}` was given, until {}", checked.leaf.not_after);
    note(&mut tx, principal, &row, "certificate.added", text).await?;
    tx.commit().await?;
    Ok(Given { name, domains, leaf: checked.leaf })
}

/// Forgets a certificate and its key. What a wildcard of the app covers gets that one; the rest is ordered at once.
pub async fn remove(store: &Store, principal: &Principal, target: Target<'_>, name: &str) -> Result<()> {
    principal.require(Permission::Manage, Some(target.app))?;
    let mut tx = store.begin().await?;
    let row = apps::require_placement(&mut tx, &principal.team, target.app, target.environment).await?;
    let all = given(&mut tx, &row).await?;
    let hosts: Vec<_> = all.iter().filter(|(of, _)| of == name).map(|(_, row)| row.host.clone()).collect();
    if hosts.is_empty() {
        return Err(Error::not_found("certificate"));
    }
    // First all of them: a wildcard mustn't come back from another of its hosts.
    for host in &hosts {
        tx.delete_own_certificate(host).await?;
    }
    for host in &hosts {
        cover(&mut tx, &row, host).await?;
    }
    note(
        &mut tx,
        principal,
        &row,
        "certificate.removed",
        format!("the certificate for `{name}` was removed"),
    )
    .await?;
    tx.commit().await?;
    Ok(())
}

/// Shows a wildcard of the app for a host of it that was proven just now, if one covers it.
pub(super) async fn cover(tx: &mut Tx, row: &PlacementRow, host: &str) -> Result<()> {
    let there = given(tx, row).await?;
    let of_host = there.iter().any(|(_, certificate)| certificate.host == host);
    let wildcard =
        there.into_iter().find(|(name, _)| name.starts_with("*.") && certificate_covers(name, host));
    if let Some((_, certificate)) = wildcard.filter(|_| !of_host) {
        tx.upsert_certificate(&CertificateRow { host: host.to_owned(), ..certificate }).await?;
    }
    Ok(())
}

/// Returns what people gave for the app's proven domains, with the name that each was given for.
async fn given(tx: &mut Tx, row: &PlacementRow) -> Result<Vec<(String, CertificateRow)>> {
    let mut all = Vec::new();
    for host in proven_hosts(tx, row).await? {
        if let Some(certificate) = tx.certificate(&host).await?
            && let Some(name) = name_of(&certificate)
        {
            all.push((name, certificate));
        }
    }
    Ok(all)
}

fn name_of(certificate: &CertificateRow) -> Option<String> {
    match &certificate.state {
        CertificateState::Own { name, .. } => Some(name.clone()),
        _ => None,
    }
}

async fn proven_hosts(tx: &mut Tx, row: &PlacementRow) -> Result<Vec<String>> {
    let domains = tx.domains(&row.placement.team, &row.placement.id).await?;
    let mut hosts: Vec<String> = domains
        .into_iter()
        .filter(|domain| domain.verified_at.is_some())
        .map(|domain| domain.host.to_string())
        .collect();
    hosts.dedup();
    Ok(hosts)
}

/// Returns the app's proven domains that a name means; never none.
async fn proven(tx: &mut Tx, row: &PlacementRow, name: &str) -> Result<Vec<String>> {
    let hosts: Vec<String> =
        proven_hosts(tx, row).await?.into_iter().filter(|host| certificate_covers(name, host)).collect();
    if !hosts.is_empty() {
        return Ok(hosts);
    }
    let all = tx.domains(&row.placement.team, &row.placement.id).await?;
    match all.iter().find(|domain| certificate_covers(name, domain.host.as_str())) {
        Some(domain) => Err(Error::conflict(format!("domain `{}` isn't proven yet", domain.host))
            .with_hint(format!("panda domains verify {}", domain.host))),
        None => Err(Error::not_found("domain")),
    }
}

fn kept(host: &str, name: &str, checked: &Checked) -> CertificateRow {
    let end = checked.leaf.not_after;
    CertificateRow {
        host: host.to_owned(),
        state: CertificateState::Own { not_after: end.as_second(), name: name.to_owned() },
        chain_pem: Some(checked.chain_pem.clone()),
        key: Some(checked.key.clone()),
        not_after: Some(end),
        attempts: 0,
        next_attempt_at: first_warning(end),
        challenge: None,
    }
}

fn shown(name: String, rows: &[CertificateRow]) -> Option<Given> {
    let chain = rows.first()?.chain_pem.as_ref()?;
    let chain: Vec<_> = CertificateDer::pem_slice_iter(chain.as_bytes()).collect::<Result<_, _>>().ok()?;
    let domains = rows.iter().map(|row| row.host.clone()).collect();
    Some(Given { name, domains, leaf: leaf::read(&chain)? })
}

/// Returns the name in lower case. A zone has to be a host that somebody can own.
fn parse(name: &str) -> Result<String> {
    let lower = name.to_lowercase();
    let host = lower.strip_prefix("*.").unwrap_or(&lower);
    host.parse::<Hostname>().in_field("host")?;
    Ok(lower)
}

fn refused(refusal: Refusal) -> Error {
    let Refusal { field, problem, fix } = refusal;
    let what = if field == "key_pem" { "the key" } else { "the certificate" };
    Error::new(panda_api_types::ErrorCode::InvalidRequest, format!("{what} {problem}"))
        .with_hint(fix)
        .with_fields(vec![FieldError { field: field.to_owned(), message: problem }])
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
