//! The installation's key under a passphrase: Argon2id, then XChaCha20-Poly1305.

use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use panda_domain::secret::Secret;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::error::{Result, StoreError};
use crate::sealing::{self, KEY_BYTES, KeyBytes};

const MEMORY_KIB: u32 = 64 << 10;
const PASSES: u32 = 3;
const LANES: u32 = 1;
/// What a backup may ask of the machine that restores it.
const MOST_MEMORY_KIB: u32 = 1 << 20;
const MOST_PASSES: u32 = 20;

/// A key derived from a passphrase, and how.
pub(super) struct Wrapping {
    derivation: Derivation,
    key: KeyBytes,
}

/// How a passphrase becomes a key.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Derivation {
    algorithm: String,
    salt: String,
    memory_kib: u32,
    passes: u32,
    lanes: u32,
}

/// The installation's key as a backup keeps it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct WrappedKey {
    derivation: Derivation,
    wrapped: String,
}

impl Wrapping {
    pub(super) async fn new(passphrase: &Secret) -> Result<Self> {
        let derivation = Derivation {
            algorithm: "argon2id".to_owned(),
            salt: STANDARD.encode(rand::random::<[u8; 16]>()),
            memory_kib: MEMORY_KIB,
            passes: PASSES,
            lanes: LANES,
        };
        let key = derivation.clone().derive(passphrase).await.map_err(StoreError::internal)?;
        Ok(Self { derivation, key })
    }

    /// Wraps the key together with the checksum of everything else, so that neither can be exchanged.
    pub(super) fn wrap(&self, checksum: &str, key: &KeyBytes) -> WrappedKey {
        let wrapped = sealing::encrypt(&self.key, checksum.as_bytes(), &**key);
        WrappedKey { derivation: self.derivation.clone(), wrapped: STANDARD.encode(wrapped) }
    }
}

impl WrappedKey {
    /// Returns the key, or why what the file says makes no sense.
    pub(super) async fn open(&self, checksum: &str, passphrase: &Secret) -> Result<Option<KeyBytes>, String> {
        let wrapped = STANDARD.decode(&self.wrapped).map_err(|_| "has an unreadable key".to_owned())?;
        let key = self.derivation.clone().derive(passphrase).await?;
        let Some(plain) = sealing::decrypt(&key, checksum.as_bytes(), &wrapped) else { return Ok(None) };
        Ok(<[u8; KEY_BYTES]>::try_from(plain.as_slice()).ok().map(Zeroizing::new))
    }
}

impl Derivation {
    /// Takes about a tenth of a second of a core, on purpose, so it happens beside the executor.
    async fn derive(self, passphrase: &Secret) -> Result<KeyBytes, String> {
        let odd = || "asks for an odd key derivation".to_owned();
        if self.algorithm != "argon2id" || self.memory_kib > MOST_MEMORY_KIB || self.passes > MOST_PASSES {
            return Err(odd());
        }
        let salt = STANDARD.decode(&self.salt).map_err(|_| odd())?;
        let params =
            Params::new(self.memory_kib, self.passes, self.lanes, Some(KEY_BYTES)).map_err(|_| odd())?;
        let passphrase = passphrase.clone();
        let work = tokio::task::spawn_blocking(move || {
            let mut key: KeyBytes = Zeroizing::new([0; KEY_BYTES]);
            Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
                .hash_password_into(passphrase.reveal().as_bytes(), &salt, &mut *key)
                .map(|()| key)
        });
        work.await.map_err(|e| e.to_string())?.map_err(|_| odd())
    }
}
