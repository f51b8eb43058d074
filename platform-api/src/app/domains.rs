//! Domains that people own: added, proven, routed; never the platform's own hosts and never somebody else's.

use std::net::IpAddr;

use panda_api_types::ErrorCode;
use panda_domain::app::host_is_within;
use panda_domain::names::{AppName, EnvironmentName, Hostname};
use panda_domain::team::Permission;
use panda_store::{CertificateRow, DomainRow, NewDomain, PlacementRow, Store, StoreError, Tx};

use super::apps;
use super::events::{self, NewEventText};
use crate::auth::Principal;
use crate::auth::secret::HandedOut;
use crate::error::{Error, Result};
use crate::platform::PlatformSettings;

use panda_deployer::dns::DnsError;
pub use panda_deployer::dns::DnsLookup;

const MAX_DOMAINS: usize = 200;

/// A DNS record that should be there, and what is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// `A`, `AAAA` or `TXT`.
    pub kind: &'static str,
    /// Its name.
    pub name: String,
    /// What it should say.
    pub expected: String,
    /// What it says; `None` when nobody looked.
    pub seen: Option<Vec<String>>,
}

impl Record {
    /// Tells whether it says what it should.
    pub fn ok(&self) -> bool {
        self.seen.as_ref().is_some_and(|seen| seen.contains(&self.expected))
    }
}

/// A host that an app answers at.
#[derive(Debug)]
pub struct AppDomain {
    /// The host.
    pub host: String,
    /// The path's beginning.
    pub path: String,
    /// Whether the platform gave it.
    pub given: bool,
    /// Whether it is routed.
    pub verified: bool,
    /// Where its certificate stands, `None` when nothing was ordered.
    pub certificate: Option<CertificateRow>,
    /// What DNS should say.
    pub records: Vec<Record>,
}

/// Where a domain is to lead.
#[derive(Debug)]
pub struct Target<'a> {
    /// The app.
    pub app: &'a AppName,
    /// The environment.
    pub environment: &'a EnvironmentName,
}

/// Returns the app's hosts: the given one first.
pub async fn list(store: &Store, principal: &Principal, target: Target<'_>) -> Result<Vec<AppDomain>> {
    principal.require(Permission::Read, Some(target.app))?;
    let mut tx = store.read().await?;
    let row = apps::require_placement(&mut tx, &principal.team, target.app, target.environment).await?;
    of_placement(&mut tx, &row).await
}

/// Returns a placement's hosts: the given one first.
pub async fn of_placement(tx: &mut Tx, row: &PlacementRow) -> Result<Vec<AppDomain>> {
    let placement = &row.placement;
    let mut domains = vec![AppDomain {
        host: placement.host.clone(),
        path: "/".to_owned(),
        given: true,
        verified: true,
        certificate: tx.certificate(&placement.host).await?,
        records: Vec::new(),
    }];
    for domain in tx.domains(&placement.team, &placement.id).await? {
        domains.push(shown(tx, domain, Vec::new()).await?);
    }
    Ok(domains)
}

/// Adds a domain. It is routed once its ownership is proven.
pub async fn add(
    store: &Store,
    settings: &PlatformSettings,
    principal: &Principal,
    target: Target<'_>,
    host: &Hostname,
    path: &str,
) -> Result<AppDomain> {
    principal.require(Permission::Manage, Some(target.app))?;
    check_path(path)?;
    refuse_reserved(settings, host)?;
    let mut tx = store.begin().await?;
    let row = apps::require_living(&mut tx, &principal.team, target.app, target.environment).await?;
    let there = tx.domains(&principal.team, &row.placement.id).await?;
    if there.len() >= MAX_DOMAINS {
        let detail = format!("an app may have at most {MAX_DOMAINS} domains");
        return Err(Error::new(ErrorCode::QuotaExceeded, detail));
    }
    let same_host = there.into_iter().find(|domain| domain.host == *host);
    let proof_token = match same_host {
        Some(domain) => domain.proof_token,
        None => HandedOut::random("panda-proof-").reveal().to_owned(),
    };
    let new = NewDomain {
        team: principal.team.clone(),
        placement: row.placement.id.clone(),
        host: host.clone(),
        path: path.to_owned(),
        proof_token,
    };
    let domain = match tx.insert_domain(&new).await {
        Ok(domain) => domain,
        Err(StoreError::Taken { .. }) => return Err(taken(host)),
        Err(error) => return Err(error.into()),
    };
    note(&mut tx, principal, &row, "domain.added", format!("domain `{host}` was added")).await?;
    let records = expected(settings, &domain);
    let shown = shown(&mut tx, domain, records).await?;
    tx.commit().await?;
    Ok(shown)
}

/// Looks at the DNS and, when it proves ownership, lets the domain be routed.
pub async fn verify(
    store: &Store,
    settings: &PlatformSettings,
    dns: &DnsLookup,
    principal: &Principal,
    target: Target<'_>,
    host: &Hostname,
) -> Result<AppDomain> {
    principal.require(Permission::Manage, Some(target.app))?;
    let (domain, only_team) = {
        let mut tx = store.read().await?;
        let row = apps::require_placement(&mut tx, &principal.team, target.app, target.environment).await?;
        (require_domains(&mut tx, &row, host).await?.swap_remove(0), tx.teams().await?.len() == 1)
    };
    let mut records = expected(settings, &domain);
    look(dns, host, &mut records).await?;
    let proven = proves(&records, only_team);

    let mut tx = store.begin().await?;
    let row = apps::require_living(&mut tx, &principal.team, target.app, target.environment).await?;
    let waiting = require_domains(&mut tx, &row, host).await?;
    if proven && waiting.iter().any(|domain| domain.verified_at.is_none()) {
        mark_verified(&mut tx, principal, &row, &waiting).await?;
    }
    let domain = require_domains(&mut tx, &row, host).await?.swap_remove(0);
    let shown = shown(&mut tx, domain, records).await?;
    tx.commit().await?;
    Ok(shown)
}

/// Lets a proven host be routed, at all its paths.
async fn mark_verified(
    tx: &mut Tx,
    principal: &Principal,
    row: &PlacementRow,
    domains: &[DomainRow],
) -> Result<()> {
    for domain in domains {
        match tx.mark_verified(&principal.team, &domain.id).await {
            Ok(()) => {}
            Err(StoreError::Taken { .. }) => return Err(taken(&domain.host)),
            Err(error) => return Err(error.into()),
        }
    }
    super::certificates::cover(tx, row, domains[0].host.as_str()).await?;
    tx.bump_generation(&row.placement.id).await?;
    note(tx, principal, row, "domain.verified", format!("domain `{}` was proven", domains[0].host)).await
}

/// Takes a host off the app, at all its paths. Adding it again needs a new proof.
pub async fn remove(store: &Store, principal: &Principal, target: Target<'_>, host: &Hostname) -> Result<()> {
    principal.require(Permission::Manage, Some(target.app))?;
    let mut tx = store.begin().await?;
    let row = apps::require_placement(&mut tx, &principal.team, target.app, target.environment).await?;
    for domain in require_domains(&mut tx, &row, host).await? {
        tx.delete_domain(&principal.team, &domain.id).await?;
    }
    tx.bump_generation(&row.placement.id).await?;
    note(&mut tx, principal, &row, "domain.removed", format!("domain `{host}` was removed")).await?;
    tx.commit().await?;
    Ok(())
}

/// Tells whether the records prove ownership. An address record says where a host leads, not whose it is: it counts only
/// while there is one team, because a record that somebody left behind must not give their host to another team.
fn proves(records: &[Record], only_team: bool) -> bool {
    records.iter().any(|record| record.ok() && (only_team || record.kind == "TXT"))
}

fn expected(settings: &PlatformSettings, domain: &DomainRow) -> Vec<Record> {
    let address = |ip: &IpAddr| Record {
        kind: if ip.is_ipv4() { "A" } else { "AAAA" },
        name: domain.host.to_string(),
        expected: ip.to_string(),
        seen: None,
    };
    let proof = Record {
        kind: "TXT",
        name: format!("_panda-challenge.{}", domain.host),
        expected: domain.proof_token.clone(),
        seen: None,
    };
    settings.addresses.iter().map(address).chain([proof]).collect()
}

async fn look(dns: &DnsLookup, host: &Hostname, records: &mut [Record]) -> Result<()> {
    let challenge = format!("_panda-challenge.{host}");
    let (addresses, texts) = tokio::join!(dns.addresses(host.as_str()), dns.texts(&challenge));
    let (addresses, texts) = (addresses.map_err(silent)?, texts.map_err(silent)?);
    for record in records {
        let of_kind = |ip: &&IpAddr| (record.kind == "A") == ip.is_ipv4();
        record.seen = Some(match record.kind {
            "TXT" => texts.clone(),
            _ => addresses.iter().filter(of_kind).map(ToString::to_string).collect(),
        });
    }
    Ok(())
}

fn silent(error: DnsError) -> Error {
    Error::unavailable(error.to_string())
        .with_hint("try again in a minute; check the domain's name servers if it stays so")
        .with_source(error)
}

async fn shown(tx: &mut Tx, domain: DomainRow, records: Vec<Record>) -> Result<AppDomain> {
    Ok(AppDomain {
        certificate: tx.certificate(domain.host.as_str()).await?,
        host: domain.host.to_string(),
        path: domain.path,
        given: false,
        verified: domain.verified_at.is_some(),
        records,
    })
}

/// Returns the app's domains of this host, one a path; never none.
async fn require_domains(tx: &mut Tx, row: &PlacementRow, host: &Hostname) -> Result<Vec<DomainRow>> {
    let mut domains = tx.domains(&row.placement.team, &row.placement.id).await?;
    domains.retain(|domain| domain.host == *host);
    if domains.is_empty() { Err(Error::not_found("domain")) } else { Ok(domains) }
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

fn refuse_reserved(settings: &PlatformSettings, host: &Hostname) -> Result<()> {
    let own = host_is_within(host, settings.own_host());
    if own || host_is_within(host, &settings.apps_domain) || host_is_within(host, "localhost") {
        return Err(Error::invalid_field("host", format!("`{host}` belongs to the platform")).with_hint(
            "add a domain that you own; the app answers at its given host anyway (`panda domains list`)",
        ));
    }
    Ok(())
}

fn check_path(path: &str) -> Result<()> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~/".contains(&b);
    let fits = path.starts_with('/')
        && path.len() <= 255
        && path.bytes().all(plain)
        && !path.contains("//")
        && !path.split('/').any(|part| part == "." || part == "..");
    if fits {
        Ok(())
    } else {
        let message = "has to begin with `/` and may have letters, digits, `-._~` between single slashes";
        Err(Error::invalid_field("path", message))
    }
}

fn taken(host: &Hostname) -> Error {
    Error::new(ErrorCode::NameTaken, format!("domain `{host}` is in use"))
        .with_hint("`panda domains remove` takes it off the app that has it")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_an_ingress_could_misread_are_refused() {
        for bad in ["", "api", "/a//b", "/..", "/a;b", "/a}", "/a b", "/a\nb", "/%2e", "/\u{2028}"] {
            assert!(check_path(bad).is_err(), "{bad:?}");
        }
        for good in ["/", "/api", "/v1/api-2/"] {
            assert!(check_path(good).is_ok(), "{good}");
        }
    }

    #[test]
    fn among_several_teams_only_the_proof_counts() {
        let seen = |kind, ok: bool| Record {
            kind,
            name: "x.example.com".to_owned(),
            expected: "wanted".to_owned(),
            seen: Some(vec![if ok { "wanted" } else { "other" }.to_owned()]),
        };
        assert!(proves(&[seen("A", true), seen("TXT", false)], true));
        assert!(!proves(&[seen("A", true), seen("TXT", false)], false));
        assert!(proves(&[seen("A", false), seen("TXT", true)], false));
    }
}
