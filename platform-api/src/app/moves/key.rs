//! The key pair that this server opens bundles with. Made when it is asked for first, kept sealed.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use panda_api_types::MoveKey;
use panda_domain::secret::Secret;
use panda_domain::team::Permission;
use panda_store::{Store, Tx};
use rustls::crypto::aws_lc_rs::hpke::DH_KEM_X25519_HKDF_SHA256_CHACHA20_POLY1305;
use rustls::crypto::hpke::{Hpke, HpkePrivateKey, HpkePublicKey};
use sha2::{Digest as _, Sha256};

use crate::auth::Principal;
use crate::error::{Error, Result};

/// Public and private half, base 64, in one sealed setting: neither is ever there without the other.
const SETTING: &str = "move_key";
const KEY_BYTES: usize = 32;

/// RFC 9180 in base mode.
pub(super) fn suite() -> &'static dyn Hpke {
    DH_KEM_X25519_HKDF_SHA256_CHACHA20_POLY1305
}

/// Returns this server's public key; makes the pair if there is none.
pub async fn own_key(store: &Store, principal: &Principal) -> Result<MoveKey> {
    principal.require(Permission::Manage, None)?;
    let installation = store.installation().await?;
    let mut tx = store.begin().await?;
    let (public, _) = match pair(&mut tx).await? {
        Some(pair) => pair,
        // Whoever asks at the same time gets the same key: what is sealed to it has to open.
        None => halves(&tx.keep_sealed_setting(SETTING, &new_pair()?).await?)?,
    };
    tx.commit().await?;
    Ok(MoveKey { installation, fingerprint: fingerprint(&public.0), public_key: STANDARD.encode(public.0) })
}

/// Returns the private key. None means that nobody asked for the public one: then nothing was sealed for this server.
pub(super) async fn private(store: &Store) -> Result<HpkePrivateKey> {
    let pair = pair(&mut store.read().await?).await?;
    pair.map(|(_, private)| private).ok_or_else(|| {
        Error::conflict("this server has no key for moves yet, so nothing was sealed for it")
            .with_hint("run `panda move` again, with this server as --to-server")
    })
}

/// Reads a key that somebody names; its fingerprint has to be its own.
pub(super) fn checked(key: &MoveKey) -> Result<HpkePublicKey> {
    let bytes = STANDARD.decode(&key.public_key).ok().filter(|bytes| bytes.len() == KEY_BYTES);
    let bytes = bytes.ok_or_else(|| Error::invalid_field("to.public_key", "is no X25519 key in base 64"))?;
    if fingerprint(&bytes) != key.fingerprint {
        return Err(Error::invalid_field("to.fingerprint", "isn't that of the key"));
    }
    let plain = !key.installation.is_empty() && key.installation.bytes().all(|b| b.is_ascii_alphanumeric());
    if !plain {
        return Err(Error::invalid_field("to.installation", "is no name of an installation"));
    }
    Ok(HpkePublicKey(bytes))
}

async fn pair(tx: &mut Tx) -> Result<Option<(HpkePublicKey, HpkePrivateKey)>> {
    tx.sealed_setting(SETTING).await?.map(|kept| halves(&kept)).transpose()
}

fn halves(kept: &Secret) -> Result<(HpkePublicKey, HpkePrivateKey)> {
    let broken = || Error::internal("the setting `move_key` holds something else");
    let (public, private) = kept.reveal().split_once(' ').ok_or_else(broken)?;
    let decode = |text: &str| STANDARD.decode(text).map_err(|_| broken());
    Ok((HpkePublicKey(decode(public)?), HpkePrivateKey::from(decode(private)?)))
}

fn new_pair() -> Result<Secret> {
    let (public, private) = suite().generate_key_pair().map_err(Error::internal)?;
    let text = format!("{} {}", STANDARD.encode(&public.0), STANDARD.encode(private.secret_bytes()));
    Ok(Secret::new(text))
}

/// 16 hex digits in groups, for people to compare.
fn fingerprint(public: &[u8]) -> String {
    let hash = Sha256::digest(public);
    let groups = hash[..8].chunks(2).map(|pair| format!("{:02x}{:02x}", pair[0], pair[1]));
    groups.collect::<Vec<_>>().join("-")
}
