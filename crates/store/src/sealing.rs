//! Values sealed at rest: XChaCha20-Poly1305 under a data key, bound to the place that they are for.
//!
//! Sealed form: version byte, length and text of the data key's id, nonce, ciphertext with tag.

use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use panda_domain::ids::DataKeyId;
use panda_domain::secret::Secret;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::error::{Result, StoreError};
use crate::store::Store;
use crate::tx::Tx;

pub(crate) const KEY_BYTES: usize = 32;
pub(crate) type KeyBytes = Zeroizing<[u8; KEY_BYTES]>;

const VERSION: u8 = 1;
const NONCE_BYTES: usize = 24;

/// A key that seals values. The newest seals, all open.
#[derive(Clone)]
pub(crate) struct DataKey {
    bytes: KeyBytes,
    created_at: i64,
}

/// Encrypts with a fresh random nonce, which goes in front.
pub(crate) fn encrypt(key: &KeyBytes, about: &[u8], plain: &[u8]) -> Vec<u8> {
    let nonce: [u8; NONCE_BYTES] = rand::random();
    let cipher = XChaCha20Poly1305::new((&**key).into());
    let sealed = cipher
        .encrypt(&XNonce::from(nonce), Payload { msg: plain, aad: about })
        .expect("only texts of 256 GiB are too long for this cipher");
    [&nonce[..], &sealed].concat()
}

/// Opens what [`encrypt`] made; `None` if key, place or bytes aren't the same.
pub(crate) fn decrypt(key: &KeyBytes, about: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (nonce, sealed) = sealed.split_first_chunk::<NONCE_BYTES>()?;
    let cipher = XChaCha20Poly1305::new((&**key).into());
    cipher.decrypt(&XNonce::from(*nonce), Payload { msg: sealed, aad: about }).ok().map(Zeroizing::new)
}

/// HMAC-SHA-256, first 8 hex digits.
fn keyed_hash(key: &KeyBytes, parts: &[&[u8]]) -> String {
    let pad = |with: u8| {
        let mut block = Zeroizing::new([with; 64]);
        for (slot, byte) in block.iter_mut().zip(key.iter()) {
            *slot ^= byte;
        }
        block
    };
    let mut inner = Sha256::new().chain_update(*pad(0x36));
    for part in parts {
        inner.update((part.len() as u64).to_be_bytes());
        inner.update(part);
    }
    let outer = Sha256::new().chain_update(*pad(0x5c)).chain_update(inner.finalize()).finalize();
    format!("{:02x}{:02x}{:02x}{:02x}", outer[0], outer[1], outer[2], outer[3])
}

impl Store {
    /// Unwraps all data keys. The first that doesn't open says that the key is wrong.
    pub(crate) async fn load_data_keys(&self) -> Result<()> {
        let mut tx = self.read().await?;
        if tx.has_table("data_keys").await? {
            tx.load_data_keys().await?;
        }
        Ok(())
    }

    /// Makes the first data key of a new installation.
    pub(crate) async fn ensure_data_key(&self) -> Result<()> {
        let mut tx = self.begin().await?;
        tx.in_order("data_keys").await?;
        tx.load_data_keys().await?;
        if tx.newest_data_key().is_err() {
            tx.add_data_key().await?;
            tx.load_data_keys().await?;
        }
        tx.commit().await
    }

    /// Adds a data key: what is written from now on is sealed with it, what was written before still opens.
    pub async fn rotate_data_key(&self) -> Result<DataKeyId> {
        let mut tx = self.begin().await?;
        let id = tx.add_data_key().await?;
        tx.commit().await?;
        self.read().await?.load_data_keys().await?;
        Ok(id)
    }
}

impl Tx {
    pub(crate) async fn load_data_keys(&mut self) -> Result<()> {
        let rows = self.sql("data_keys", "select id, wrapped, created_at from data_keys").all().await?;
        for row in &rows {
            let id: DataKeyId = row.parse("id")?;
            let bytes = self
                .store()
                .keyring
                .unwrap(id.as_str(), &row.bytes("wrapped")?)
                .ok_or_else(|| self.store().keyring.wrong())?;
            let key = DataKey { bytes, created_at: row.int("created_at")? };
            self.store().data_keys.write().expect("nothing panics while it holds this lock").insert(id, key);
        }
        Ok(())
    }

    async fn add_data_key(&mut self) -> Result<DataKeyId> {
        let id: DataKeyId = self.next_id();
        let bytes: KeyBytes = Zeroizing::new(rand::random());
        let wrapped = self.store().keyring.wrap(id.as_str(), &*bytes);
        let now = self.now();
        self.sql("data_keys", "insert into data_keys (id, wrapped, created_at) values ($1, $2, $3)")
            .bind(id.as_str())
            .bind(wrapped)
            .bind(now)
            .run()
            .await?;
        Ok(id)
    }

    fn newest_data_key(&self) -> Result<(DataKeyId, KeyBytes)> {
        let keys = self.store().data_keys.read().expect("nothing panics while it holds this lock");
        keys.iter()
            .max_by(|(a, x), (b, y)| (x.created_at, a).cmp(&(y.created_at, b)))
            .map(|(id, key)| (id.clone(), key.bytes.clone()))
            .ok_or_else(|| StoreError::internal("seal a value before the first data key was made"))
    }

    /// Seals `value` for the place that `about` names. It opens there and nowhere else.
    pub(crate) fn seal(&self, about: &str, value: &Secret) -> Result<Vec<u8>> {
        let (id, key) = self.newest_data_key()?;
        let id = id.as_str().as_bytes();
        let length = u8::try_from(id.len()).expect("ids are 30 characters");
        let sealed = encrypt(&key, about.as_bytes(), value.reveal().as_bytes());
        Ok([&[VERSION, length][..], id, &sealed].concat())
    }

    /// Opens what [`Tx::seal`] sealed for the same place.
    pub(crate) async fn unseal(&mut self, about: &str, what: &str, sealed: &[u8]) -> Result<Secret> {
        let undecryptable = || StoreError::Undecryptable { what: what.to_owned() };
        let (id, sealed) = split_header(sealed).ok_or_else(undecryptable)?;
        let key = if let Some(key) = self.data_key(&id) {
            key
        } else {
            // Another server may have added it after this one started.
            self.load_data_keys().await?;
            self.data_key(&id).ok_or_else(undecryptable)?
        };
        let plain = decrypt(&key, about.as_bytes(), sealed).ok_or_else(undecryptable)?;
        let text = std::str::from_utf8(&plain).map_err(|_| undecryptable())?;
        Ok(Secret::new(text))
    }

    fn data_key(&self, id: &DataKeyId) -> Option<KeyBytes> {
        let keys = self.store().data_keys.read().expect("nothing panics while it holds this lock");
        keys.get(id).map(|key| key.bytes.clone())
    }

    /// Returns 8 hex digits that are equal for equal values at the same place, and tell nothing without the key.
    pub(crate) fn fingerprint(&self, about: &str, value: &Secret) -> Result<String> {
        let keys = self.store().data_keys.read().expect("nothing panics while it holds this lock");
        // The oldest, so that fingerprints stay comparable when a key is added.
        let oldest = keys.iter().min_by(|(a, x), (b, y)| (x.created_at, a).cmp(&(y.created_at, b)));
        let (_, key) = oldest.ok_or_else(|| StoreError::internal("fingerprint before the first data key"))?;
        Ok(keyed_hash(&key.bytes, &[about.as_bytes(), value.reveal().as_bytes()]))
    }
}

fn split_header(sealed: &[u8]) -> Option<(DataKeyId, &[u8])> {
    let [version, length, rest @ ..] = sealed else { return None };
    if *version != VERSION {
        return None;
    }
    let (id, sealed) = rest.split_at_checked(usize::from(*length))?;
    Some((std::str::from_utf8(id).ok()?.parse().ok()?, sealed))
}
