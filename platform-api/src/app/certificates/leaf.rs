//! What a leaf certificate says, and whether browsers take one that says so.

use std::fmt::Write as _;

use jiff::Timestamp;
use panda_domain::route::certificate_covers;
use rustls::pki_types::CertificateDer;
use sha2::{Digest, Sha256};
use x509_parser::oid_registry as oid;
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};
use x509_parser::public_key::PublicKey;

use super::check::Refusal;

/// RSA keys below this aren't taken any more.
const LEAST_RSA_BITS: usize = 2048;
/// MD5 with RSA, SHA-1 with RSA, SHA-1 with ECDSA.
const OLD_SIGNATURES: [&str; 3] = ["1.2.840.113549.1.1.4", "1.2.840.113549.1.1.5", "1.2.840.10045.4.1"];
const KEY_FIX: &str = "order a certificate for an RSA (2048 bits or more), P-256 or P-384 key";
const CHAIN_FIX: &str = "give the file that the authority sent, as it came";

/// What people are shown of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf {
    /// The names that it is for.
    pub names: Vec<String>,
    /// Who signed it.
    pub issuer: String,
    /// From when it is valid.
    pub not_before: Timestamp,
    /// Until when.
    pub not_after: Timestamp,
    /// Its key's kind, such as `RSA 2048`.
    pub key_kind: String,
    /// Its SHA-256, hexadecimal.
    pub fingerprint: String,
    /// How many certificates the chain has.
    pub chain_length: usize,
}

/// Understands a chain.
pub(super) fn parse<'a>(chain: &'a [CertificateDer<'_>]) -> Result<Vec<X509Certificate<'a>>, Refusal> {
    let parsed = chain.iter().enumerate().map(|(at, der)| match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        _ => Err(Refusal::chain(format!("certificate {} of it can't be read", at + 1), CHAIN_FIX)),
    });
    parsed.collect()
}

/// Reads a chain that was checked before.
pub(super) fn read(chain: &[CertificateDer<'_>]) -> Option<Leaf> {
    let certificates = parse(chain).ok()?;
    Some(shown(chain.first()?, &certificates))
}

pub(super) fn shown(der: &CertificateDer<'_>, chain: &[X509Certificate<'_>]) -> Leaf {
    let leaf = &chain[0];
    let fingerprint = Sha256::digest(der).iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    });
    Leaf {
        names: names(leaf),
        issuer: leaf.issuer().to_string(),
        not_before: time(leaf.validity().not_before.timestamp()),
        not_after: time(leaf.validity().not_after.timestamp()),
        key_kind: key_kind(leaf).unwrap_or_else(|found| found),
        fingerprint,
        chain_length: chain.len(),
    }
}

/// Looks at the leaf alone.
pub(super) fn check(leaf: &X509Certificate<'_>, host: &str, now: Timestamp) -> Result<(), Refusal> {
    check_kind(leaf)?;
    check_names(&names(leaf), host)?;
    check_time(leaf, now)?;
    key_kind(leaf)
        .map(|_| ())
        .map_err(|found| Refusal::chain(format!("its key is {found}, which browsers don't take"), KEY_FIX))
}

fn check_kind(leaf: &X509Certificate<'_>) -> Result<(), Refusal> {
    if leaf.is_ca() {
        let fix = "put the host's own certificate first, then its intermediates";
        return Err(Refusal::chain("its first certificate is an authority's", fix));
    }
    let usage = leaf.extended_key_usage().ok().flatten().map(|usage| usage.value);
    if usage.is_some_and(|usage| !usage.server_auth && !usage.any) {
        let fix = "order one for servers (`serverAuth`)";
        return Err(Refusal::chain("isn't for servers", fix));
    }
    if OLD_SIGNATURES.contains(&leaf.signature_algorithm.algorithm.to_id_string().as_str()) {
        let fix = "order one that is signed with SHA-256 or better";
        return Err(Refusal::chain("is signed with SHA-1 or MD5, which browsers don't take", fix));
    }
    Ok(())
}

fn check_names(names: &[String], host: &str) -> Result<(), Refusal> {
    if names.iter().any(|name| certificate_covers(name, host)) {
        return Ok(());
    }
    let fix = "order one with that name among its subject alternative names, or name a host that it is for";
    let found = if names.is_empty() { "no host".to_owned() } else { names.join(", ") };
    Err(Refusal::chain(format!("is for {found}, and not for `{host}`"), fix))
}

fn check_time(leaf: &X509Certificate<'_>, now: Timestamp) -> Result<(), Refusal> {
    let validity = leaf.validity();
    let (from, until) = (time(validity.not_before.timestamp()), time(validity.not_after.timestamp()));
    if until <= now {
        return Err(Refusal::chain(format!("ended {until}"), "renew it at its authority"));
    }
    if from > now {
        let fix = "wait until then, or look at the clocks of authority and server";
        return Err(Refusal::chain(format!("isn't valid before {from}"), fix));
    }
    Ok(())
}

/// Returns the names of a certificate in lower case; the common name doesn't count, as for browsers.
fn names(leaf: &X509Certificate<'_>) -> Vec<String> {
    let extension = leaf.subject_alternative_name().ok().flatten();
    let all = extension.iter().flat_map(|extension| &extension.value.general_names);
    let hosts = all.filter_map(|name| match name {
        GeneralName::DNSName(host) => Some(host.to_lowercase()),
        _ => None,
    });
    hosts.collect()
}

/// Names the kind of key: as an error if browsers don't take it.
fn key_kind(leaf: &X509Certificate<'_>) -> Result<String, String> {
    let key = leaf.public_key();
    let curve = key.algorithm.parameters.as_ref().and_then(|parameters| parameters.as_oid().ok());
    if key.algorithm.algorithm == oid::OID_SIG_ED25519 {
        return Err("Ed25519".to_owned());
    }
    match key.parsed() {
        Ok(PublicKey::RSA(rsa)) => {
            let kind = format!("RSA {}", rsa.key_size());
            if rsa.key_size() < LEAST_RSA_BITS { Err(kind) } else { Ok(kind) }
        }
        Ok(PublicKey::EC(_)) if curve == Some(oid::OID_EC_P256) => Ok("P-256".to_owned()),
        Ok(PublicKey::EC(_)) if curve == Some(oid::OID_NIST_EC_P384) => Ok("P-384".to_owned()),
        Ok(PublicKey::EC(_)) if curve == Some(oid::OID_NIST_EC_P521) => Err("P-521".to_owned()),
        Ok(PublicKey::EC(_)) => Err("on an uncommon curve".to_owned()),
        _ => Err("of an uncommon kind".to_owned()),
    }
}

fn time(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap_or(if seconds < 0 { Timestamp::MIN } else { Timestamp::MAX })
}
