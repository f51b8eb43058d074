//! Whether browsers will take a chain and a key for a host. Pure: what is wrong is said before anything is kept.

use jiff::Timestamp;
use panda_domain::secret::Secret;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::prelude::X509Certificate;

use super::leaf::{self, Leaf};
use super::pem;

/// The largest chain, bytes of PEM.
pub(super) const LONGEST_CHAIN: usize = 64 << 10;
/// The largest key, bytes of PEM.
pub(super) const LONGEST_KEY: usize = 16 << 10;
/// The most certificates of a chain: those of public authorities have two to four.
const MOST: usize = 10;

/// Why a certificate can't be used, and what to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    /// Whether it is about the chain or the key.
    pub(super) field: &'static str,
    /// What is wrong.
    pub(super) problem: String,
    /// What to do.
    pub(super) fix: &'static str,
}

impl Refusal {
    pub(super) fn chain(problem: impl Into<String>, fix: &'static str) -> Self {
        Self { field: "chain_pem", problem: problem.into(), fix }
    }

    pub(super) fn key(problem: impl Into<String>, fix: &'static str) -> Self {
        Self { field: "key_pem", problem: problem.into(), fix }
    }
}

/// A chain and its key that fit each other and a host, in the form that they are kept in.
#[derive(Debug)]
pub(super) struct Checked {
    /// The chain, leaf first, PEM and nothing else.
    pub(super) chain_pem: String,
    /// The key, PEM and nothing else.
    pub(super) key: Secret,
    /// What the leaf says.
    pub(super) leaf: Leaf,
}

/// Looks at everything that a browser, or the ingress, would stumble on.
pub(super) fn check(host: &str, chain: &str, key: &str, now: Timestamp) -> Result<Checked, Refusal> {
    let chain = read_chain(chain)?;
    let key = read_key(key)?;
    let certificates = leaf::parse(&chain)?;
    leaf::check(&certificates[0], host, now)?;
    check_order(&certificates)?;
    fits(&chain, &key)?;
    let leaf = leaf::shown(&chain[0], &certificates);
    Ok(Checked { chain_pem: pem::of_chain(&chain), key: pem::of_key(&key), leaf })
}

fn read_chain(text: &str) -> Result<Vec<CertificateDer<'static>>, Refusal> {
    const FIX: &str = "give the PEM file that the authority sent: the leaf first, then its intermediates";
    if text.len() > LONGEST_CHAIN {
        return Err(Refusal::chain(format!("is longer than {} KiB", LONGEST_CHAIN >> 10), FIX));
    }
    if text.contains("PRIVATE KEY-----") {
        let fix = "leave only the certificates in it; the key is a file of its own (`--key`)";
        return Err(Refusal::chain("has a private key in it", fix));
    }
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    match chain {
        Err(_) => Err(Refusal::chain("is no readable PEM", FIX)),
        Ok(chain) if chain.is_empty() => Err(Refusal::chain("has no `BEGIN CERTIFICATE` in it", FIX)),
        Ok(chain) if chain.len() > MOST => {
            Err(Refusal::chain(format!("has {} certificates, at most {MOST} are kept", chain.len()), FIX))
        }
        Ok(chain) => Ok(chain),
    }
}

fn read_key(text: &str) -> Result<PrivateKeyDer<'static>, Refusal> {
    const FIX: &str =
        "give the leaf's key as PEM: PKCS#8, SEC1 (`EC PRIVATE KEY`) or PKCS#1 (`RSA PRIVATE KEY`)";
    if text.len() > LONGEST_KEY {
        return Err(Refusal::key(format!("is longer than {} KiB", LONGEST_KEY >> 10), FIX));
    }
    if text.contains("ENCRYPTED") {
        let fix = "take the passphrase off: `openssl pkey -in KEY -out PLAIN`";
        return Err(Refusal::key("is locked with a passphrase", fix));
    }
    if text.contains("BEGIN CERTIFICATE-----") && !text.contains("PRIVATE KEY-----") {
        return Err(Refusal::key("is a certificate and no key", FIX));
    }
    PrivateKeyDer::from_pem_slice(text.as_bytes())
        .map_err(|_| Refusal::key("is no readable PEM private key", FIX))
}

/// Each certificate has to be signed by the one after it: servers send the chain as it is, and many clients don't sort.
fn check_order(certificates: &[X509Certificate<'_>]) -> Result<(), Refusal> {
    const FIX: &str = "put the leaf first, then the one that signed it, and so on; leave others out";
    for (at, pair) in certificates.windows(2).enumerate() {
        let (signed, signer) = (&pair[0], &pair[1]);
        let named = signed.issuer().as_raw() == signer.subject().as_raw();
        if !named || signed.verify_signature(Some(signer.public_key())).is_err() {
            let problem = format!("certificate {} of it isn't signed by certificate {}", at + 1, at + 2);
            return Err(Refusal::chain(problem, FIX));
        }
    }
    Ok(())
}

/// Proves that the key is the leaf's, with the code that will sign with it.
fn fits(chain: &[CertificateDer<'static>], key: &PrivateKeyDer<'static>) -> Result<(), Refusal> {
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    match CertifiedKey::from_der(chain.to_vec(), key.clone_key(), &provider) {
        Ok(_) => Ok(()),
        Err(rustls::Error::InconsistentKeys(_)) => {
            let fix = "give the key that the certificate was requested with";
            Err(Refusal::key("doesn't belong to the certificate", fix))
        }
        Err(_) => Err(Refusal::key(
            "is of a kind that can't be used",
            "order a certificate for an RSA (2048 to 8192 bits), P-256 or P-384 key",
        )),
    }
}
