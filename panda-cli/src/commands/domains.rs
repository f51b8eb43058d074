//! `domains`: names that users own.

use panda_api_types::{Domain, DomainRequest, ErrorCode};
use panda_domain::names::Hostname;
use reqwest::Method;

use crate::args::DomainsCommand;
use crate::error::{CliError, Result};
use crate::session::{Session, Target};

/// Does what is asked with the domains of an app.
pub(super) async fn run(session: &Session, command: DomainsCommand) -> Result<()> {
    let target = session.target()?;
    match command {
        DomainsCommand::Add { host, path } => {
            let host = checked(&host)?;
            let request = DomainRequest { host, path };
            let domain: Domain =
                session.api.exchange(Method::POST, &target.ask(["domains"]), &request).await?;
            show(session, &domain);
            if !session.out.json && !ready(&domain) {
                session.out.say(&format!("once DNS says so, run `panda domains verify {}`", domain.host));
            }
            Ok(())
        }
        DomainsCommand::Verify { host } => verify(session, &target, &checked(&host)?).await,
        DomainsCommand::List => list(session, &target).await,
        DomainsCommand::Remove { host } => {
            let host = checked(&host)?;
            session.api.order(Method::DELETE, &target.ask(["domains", &host])).await?;
            session.out.done(&serde_json::json!({ "removed": host }), &format!("removed {host}"));
            Ok(())
        }
    }
}

fn checked(host: &str) -> Result<String> {
    let lower = host.to_lowercase();
    Ok(lower.parse::<Hostname>()?.into())
}

fn ready(domain: &Domain) -> bool {
    domain.verified
        && matches!(domain.certificate.as_str(), "issued" | "local" | "own")
        && domain.records.iter().all(|record| record.ok)
}

async fn verify(session: &Session, target: &Target, host: &str) -> Result<()> {
    let request = session.api.request(Method::POST, &target.ask(["domains", host, "verify"]));
    let domain: Domain = session.api.body(request).await?;
    show(session, &domain);
    if ready(&domain) { Ok(()) } else { Err(CliError::Said(ErrorCode::InvalidRequest.exit())) }
}

fn show(session: &Session, domain: &Domain) {
    if session.out.json {
        session.out.json(domain);
        return;
    }
    let proven = if domain.verified { "verified" } else { "not verified" };
    let detail = domain.certificate_detail.as_deref().map(|detail| format!(": {detail}")).unwrap_or_default();
    session.out.line(&format!(
        "{}{}  {proven}, certificate {}{detail}",
        domain.host, domain.path, domain.certificate
    ));
    if domain.records.is_empty() {
        return;
    }
    let rows = domain.records.iter().map(|record| {
        let seen = if record.seen.is_empty() { "nothing".to_owned() } else { record.seen.join(", ") };
        let verdict = if record.ok { "ok" } else { "to fix" };
        vec![record.kind.clone(), record.name.clone(), record.expected.clone(), seen, verdict.to_owned()]
    });
    session.out.table(&["record", "name", "expected", "seen", ""], rows.collect());
}

async fn list(session: &Session, target: &Target) -> Result<()> {
    let domains: Vec<Domain> = session.api.list(&target.ask(["domains"]), None).await?;
    if session.out.json {
        session.out.json(&domains);
        return Ok(());
    }
    let rows = domains.iter().map(|domain| {
        let proven = if domain.verified { "yes" } else { "no" };
        vec![
            domain.host.clone(),
            domain.path.clone(),
            domain.kind.clone(),
            proven.to_owned(),
            domain.certificate.clone(),
            domain.url.clone(),
        ]
    });
    session.out.table(&["host", "path", "kind", "verified", "certificate", "url"], rows.collect());
    Ok(())
}
