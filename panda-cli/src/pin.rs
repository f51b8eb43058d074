//! A server's own certificate authority: shown, compared, and trusted for this server alone.
//!
//! At the first contact nothing about the server can be checked. Its public facts, the authority among
//! them, are read over a connection that checks nothing and carries no token. Once a person, or a
//! fingerprint given on the command line, has confirmed the authority, everything else goes over new
//! connections that trust only it.

use panda_api_types::{ErrorCode, ServerInfo};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use sha2::{Digest, Sha256};
use url::Url;

use crate::api::{Api, Ask};
use crate::args::LoginArgs;
use crate::ask;
use crate::error::{CliError, Result};
use crate::output::Output;
use crate::target::{Server, address_of};

/// Who a server says it is, and the authority to trust for it.
pub(crate) struct Met {
    /// Its public facts.
    pub(crate) info: ServerInfo,
    /// The authority, PEM; `None` when the system's are enough.
    pub(crate) ca: Option<String>,
}

/// Meets a server for the first time, or again.
pub(crate) async fn meet(out: &Output, yes: bool, args: &LoginArgs, known: &Server) -> Result<Met> {
    let plain = known.url.scheme() == "http";
    let checked = Api::new(Server { token: None, ..known.clone() })?.get::<ServerInfo>(&server()).await;
    match checked {
        // Over plain http on this machine nobody sits between, so the authority is taken as it is.
        Ok(info) if plain => Ok(Met { ca: info.local_ca.clone(), info }),
        Ok(info) => Ok(Met { ca: known.ca.clone(), info }),
        Err(error) if plain || error.code() != Some(ErrorCode::Unavailable) => Err(error),
        Err(error) => {
            let Ok(info) = Api::unchecked(known.url.clone())?.get::<ServerInfo>(&server()).await else {
                return Err(error);
            };
            let Some(ca) = info.local_ca.clone() else { return Err(error) };
            confirm(out, yes, args, &known.url, &ca)?;
            // Proves that this server holds a certificate of that authority, for this name.
            let pinned = Server { url: known.url.clone(), token: None, ca: Some(ca.clone()) };
            let info = Api::new(pinned)?.get::<ServerInfo>(&server()).await?;
            Ok(Met { info, ca: Some(ca) })
        }
    }
}

fn server() -> Ask {
    Ask::at(["server"])
}

fn confirm(out: &Output, yes: bool, args: &LoginArgs, url: &Url, ca: &str) -> Result<()> {
    let seen = fingerprint(ca)?;
    let server = address_of(url);
    if let Some(expected) = &args.ca_fingerprint {
        if digits(expected) == digits(&seen) {
            return Ok(());
        }
        let detail = format!("the authority of `{server}` has another fingerprint: {seen}");
        return Err(CliError::new(ErrorCode::Forbidden, detail).hint(
            "compare it with the one that the server printed at its first start; somebody may sit between",
        ));
    }
    if args.trust_local_ca || yes {
        return Ok(());
    }
    out.say(&format!("{server} has a certificate authority of its own:\n  SHA-256 {seen}"));
    if !out.interactive() {
        return Err(CliError::new(
            ErrorCode::Forbidden,
            format!("the authority of `{server}` isn't trusted yet"),
        )
        .hint(format!("pass --ca-fingerprint {}, or --trust-local-ca", digits(&seen))));
    }
    if ask::confirm(out, false, "Trust it for this server?", "--trust-local-ca")? {
        return Ok(());
    }
    Err(CliError::new(ErrorCode::Forbidden, format!("the authority of `{server}` isn't trusted")))
}

/// Returns a certificate's SHA-256 as pairs of digits.
pub(crate) fn fingerprint(pem: &str) -> Result<String> {
    let certificate = CertificateDer::from_pem_slice(pem.as_bytes())
        .map_err(|_| CliError::new(ErrorCode::Internal, "the server's authority is no PEM certificate"))?;
    let digest = Sha256::digest(certificate.as_ref());
    Ok(digest.iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(":"))
}

fn digits(fingerprint: &str) -> String {
    let text = fingerprint.to_lowercase();
    text.strip_prefix("sha256:").unwrap_or(&text).chars().filter(char::is_ascii_hexdigit).collect()
}
