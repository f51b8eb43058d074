//! Secrets that the platform hands out: 256 random bits; only their SHA-256 is stored.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// What every API token begins with, so that scanners find leaked ones.
pub const TOKEN_PREFIX: &str = "panda_";
/// 256 bits in base64url.
const SECRET_CHARS: usize = 43;

/// A secret at the only moment it is known in the clear. Never prints.
#[derive(Clone, PartialEq, Eq)]
pub struct HandedOut(String);

impl HandedOut {
    /// Makes a secret of 256 random bits behind `prefix`.
    pub fn random(prefix: &str) -> Self {
        let bits: [u8; 32] = rand::random();
        Self(format!("{prefix}{}", URL_SAFE_NO_PAD.encode(bits)))
    }

    /// Returns the secret itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Returns what the store keeps of it.
    pub fn hash(&self) -> String {
        hash(&self.0)
    }
}

impl fmt::Debug for HandedOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HandedOut(…)")
    }
}

/// Returns the SHA-256 of a presented secret as hex, which is what the store keeps.
pub fn hash(presented: &str) -> String {
    let digit = |four: u8| char::from(b"0123456789abcdef"[usize::from(four)]);
    Sha256::digest(presented.as_bytes())
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])
        .collect()
}

/// Compares two hashes in a time that doesn't depend on where they differ.
pub fn same(left: &str, right: &str) -> bool {
    left.as_bytes().ct_eq(right.as_bytes()).into()
}

/// Returns the hash of a presented API token, `None` when it can't be one.
pub fn hash_of_token(presented: &str) -> Option<String> {
    well_formed(presented, TOKEN_PREFIX).then(|| hash(presented))
}

/// Tells whether a text has the shape of a secret behind `prefix`; spares the database nonsense.
pub fn well_formed(presented: &str, prefix: &str) -> bool {
    presented.strip_prefix(prefix).is_some_and(|rest| {
        rest.len() == SECRET_CHARS
            && rest.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_256_bits_and_prints_nothing() {
        let secret = HandedOut::random(TOKEN_PREFIX);
        assert!(well_formed(secret.reveal(), TOKEN_PREFIX));
        assert_ne!(secret.reveal(), HandedOut::random(TOKEN_PREFIX).reveal());
        assert_eq!(format!("{secret:?}"), "HandedOut(…)");
        assert!(same(&secret.hash(), &hash(secret.reveal())));
        assert!(!well_formed("panda_short", TOKEN_PREFIX));
    }

    #[test]
    fn the_hash_is_plain_sha_256() {
        assert_eq!(hash("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
