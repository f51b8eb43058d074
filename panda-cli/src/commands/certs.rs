//! `certs`: certificates that users give. The key goes to the server and nowhere else.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use panda_api_types::{CertificateRequest, ErrorCode, OwnCertificate};
use reqwest::Method;

use crate::args::CertsCommand;
use crate::ask;
use crate::error::{CliError, Result};
use crate::session::{Session, Target};

/// The largest file that may be a chain, bytes.
const LONGEST_CHAIN: u64 = 64 << 10;
/// The largest file that may be a key, bytes.
const LONGEST_KEY: u64 = 16 << 10;

/// Does what is asked with the certificates of an app.
pub(super) async fn run(session: &Session, command: Option<CertsCommand>) -> Result<()> {
    let target = session.target()?;
    match command.unwrap_or(CertsCommand::List) {
        CertsCommand::Add { host, cert, key } => {
            let request = CertificateRequest {
                host: host.to_lowercase(),
                chain_pem: read(&cert, LONGEST_CHAIN)?,
                key_pem: read(&key, LONGEST_KEY)?,
            };
            let given: OwnCertificate =
                session.api.exchange(Method::POST, &target.ask(["certificates"]), &request).await?;
            show(session, &given);
            Ok(())
        }
        CertsCommand::List => list(session, &target).await,
        CertsCommand::Show { host } => {
            let ask = target.ask(["certificates", &host.to_lowercase()]);
            show(session, &session.api.get::<OwnCertificate>(&ask).await?);
            Ok(())
        }
        CertsCommand::Remove { host, confirm } => {
            remove(session, &target, &host.to_lowercase(), confirm).await
        }
    }
}

/// Reads a small text file. Nothing of what is in it is ever said.
fn read(path: &Path, longest: u64) -> Result<String> {
    let wrong = |why: String| {
        CliError::new(ErrorCode::InvalidRequest, format!("`{}` {why}", path.display()))
            .hint("name a PEM file with `--cert`, and the one with its key with `--key`")
    };
    let mut text = String::new();
    let file = File::open(path).map_err(|error| wrong(format!("can't be opened: {error}")))?;
    let read = file.take(longest + 1).read_to_string(&mut text);
    read.map_err(|_| wrong("is no text, and so no PEM".to_owned()))?;
    if text.len() as u64 > longest {
        return Err(wrong(format!("is longer than {} KiB", longest >> 10)));
    }
    Ok(text)
}

async fn remove(session: &Session, target: &Target, host: &str, confirm: bool) -> Result<()> {
    let question = format!("Remove the certificate of `{host}` and its key?");
    if !ask::confirm(&session.out, confirm || session.shared.yes, &question, "--confirm")? {
        session.out.say("nothing was removed");
        return Ok(());
    }
    session.api.order(Method::DELETE, &target.ask(["certificates", host])).await?;
    let said = format!("removed the certificate of {host}; one is ordered in its place");
    session.out.done(&serde_json::json!({ "removed": host }), &said);
    Ok(())
}

fn show(session: &Session, certificate: &OwnCertificate) {
    if session.out.json {
        session.out.json(certificate);
        return;
    }
    let chain = format!("{} certificates", certificate.chain_length);
    let rows = [
        ("host", &certificate.host),
        ("shown for", &certificate.domains.join(", ")),
        ("names", &certificate.names.join(", ")),
        ("issuer", &certificate.issuer),
        ("valid from", &certificate.not_before),
        ("valid until", &certificate.not_after),
        ("key", &certificate.key_kind),
        ("SHA-256", &certificate.fingerprint),
        ("chain", &chain),
    ];
    for (what, said) in rows {
        session.out.line(&format!("{what:<12}{said}"));
    }
}

async fn list(session: &Session, target: &Target) -> Result<()> {
    let all: Vec<OwnCertificate> = session.api.list(&target.ask(["certificates"]), None).await?;
    if session.out.json {
        session.out.json(&all);
        return Ok(());
    }
    let rows = all.iter().map(|one| {
        vec![
            one.host.clone(),
            one.domains.join(", "),
            one.not_after.clone(),
            one.key_kind.clone(),
            one.issuer.clone(),
        ]
    });
    session.out.table(&["host", "shown for", "until", "key", "issuer"], rows.collect());
    Ok(())
}
