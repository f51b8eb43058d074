//! Chains and keys as PEM and nothing else: comments, parameters and bags that tools put around them aren't kept.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use panda_domain::secret::Secret;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Characters of a line, RFC 7468.
const LINE: usize = 64;

pub(super) fn of_chain(chain: &[CertificateDer<'_>]) -> String {
    chain.iter().map(|certificate| block("CERTIFICATE", certificate)).collect()
}

pub(super) fn of_key(key: &PrivateKeyDer<'_>) -> Secret {
    let label = match key {
        PrivateKeyDer::Pkcs1(_) => "RSA PRIVATE KEY",
        PrivateKeyDer::Sec1(_) => "EC PRIVATE KEY",
        // Others aren't read from PEM.
        _ => "PRIVATE KEY",
    };
    Secret::new(block(label, key.secret_der()))
}

fn block(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut block = format!("-----BEGIN {label}-----\n");
    for line in text.as_bytes().chunks(LINE) {
        block.push_str(std::str::from_utf8(line).expect("base64 is ASCII"));
        block.push('\n');
    }
    block.push_str("-----END ");
    block.push_str(label);
    block.push_str("-----\n");
    block
}
