//! The key that signs tokens: one file with key and certificate, readable by its owner alone.

use std::fmt;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use panda_domain::clock::Clock;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, KeyUsagePurpose};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use zeroize::Zeroizing;

/// Says what was tried with the key, and on which file.
#[derive(Debug, thiserror::Error)]
pub enum RegistryKeyError {
    /// The file can't be read.
    #[error("read `{}`", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The file can't be written.
    #[error("write `{}`", path.display())]
    Write {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The file holds something else. It is never replaced by guessing.
    #[error("`{}` isn't a key of the registry; remove it, and `panda-server install` makes a new one", .0.display())]
    Unusable(PathBuf),
    /// No key can be made.
    #[error("make a key for the registry")]
    Make(#[source] rcgen::Error),
}

/// The key of the platform's own registry; cheap to clone. Makes tokens for it: see the functions in `token.rs`.
#[derive(Clone)]
pub struct RegistryKey(Arc<Inner>);

struct Inner {
    pair: EcdsaKeyPair,
    certificate_pem: String,
    /// The certificate as a token's header carries it.
    certificate: String,
    clock: Clock,
}

impl fmt::Debug for RegistryKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RegistryKey(…)")
    }
}

impl PartialEq for RegistryKey {
    fn eq(&self, other: &Self) -> bool {
        self.0.certificate == other.0.certificate
    }
}

impl Eq for RegistryKey {}

impl RegistryKey {
    /// Reads the key, or makes it when there is none. Two who make it at once end up with the same one.
    pub fn load_or_create(path: &Path, clock: Clock) -> Result<Self, RegistryKeyError> {
        if let Some(key) = Self::load(path, clock.clone())? {
            return Ok(key);
        }
        create(path)?;
        Self::load(path, clock)?.ok_or_else(|| RegistryKeyError::Unusable(path.to_owned()))
    }

    /// Reads the key; `None` when there is none.
    pub fn load(path: &Path, clock: Clock) -> Result<Option<Self>, RegistryKeyError> {
        let pem = match std::fs::read(path) {
            Ok(pem) => Zeroizing::new(pem),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(RegistryKeyError::Read { path: path.to_owned(), source }),
        };
        let key = Self::parse(&pem, clock).ok_or_else(|| RegistryKeyError::Unusable(path.to_owned()))?;
        Ok(Some(key))
    }

    fn parse(pem: &[u8], clock: Clock) -> Option<Self> {
        let key = PrivatePkcs8KeyDer::from_pem_slice(pem).ok()?;
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, key.secret_pkcs8_der()).ok()?;
        let certificate = STANDARD.encode(CertificateDer::from_pem_slice(pem).ok()?);
        let certificate_pem = to_pem(&certificate);
        Some(Self(Arc::new(Inner { pair, certificate_pem, certificate, clock })))
    }

    /// Returns the certificate, PEM: all that the registry has to know. It is no secret.
    pub fn certificate_pem(&self) -> &str {
        &self.0.certificate_pem
    }

    pub(crate) fn pair(&self) -> &EcdsaKeyPair {
        &self.0.pair
    }

    pub(crate) fn certificate(&self) -> &str {
        &self.0.certificate
    }

    pub(crate) fn now(&self) -> i64 {
        self.0.clock.now().as_second()
    }
}

/// Makes the file, whole or not at all, unless somebody else was quicker.
fn create(path: &Path) -> Result<(), RegistryKeyError> {
    let pem = generate().map_err(RegistryKeyError::Make)?;
    let write = || -> io::Result<()> {
        let folder = path.parent().unwrap_or(Path::new("."));
        // 0600 from its first byte on.
        let mut file = tempfile::Builder::new().prefix(".registry-key").tempfile_in(folder)?;
        file.write_all(pem.as_bytes())?;
        file.as_file().sync_all()?;
        match file.persist_noclobber(path) {
            Err(failed) if failed.error.kind() != io::ErrorKind::AlreadyExists => Err(failed.error),
            _ => Ok(()),
        }
    };
    write().map_err(|source| RegistryKeyError::Write { path: path.to_owned(), source })
}

/// The registry trusts this certificate and no authority, so its dates mean nothing: rcgen's default is a long time.
fn generate() -> Result<Zeroizing<String>, rcgen::Error> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "panda registry tokens");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    let certificate = params.self_signed(&key)?;
    Ok(Zeroizing::new(format!("{}{}", key.serialize_pem(), certificate.pem())))
}

fn to_pem(base64: &str) -> String {
    let lines = base64.as_bytes().chunks(64).map(String::from_utf8_lossy).collect::<Vec<_>>().join("\n");
    format!("-----BEGIN CERTIFICATE-----\n{lines}\n-----END CERTIFICATE-----\n")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_key_is_made_once_for_its_owner_alone_and_is_the_same_when_it_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("registry.key");
        assert!(RegistryKey::load(&path, Clock::system()).unwrap().is_none());
        let made = RegistryKey::load_or_create(&path, Clock::system()).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        create(&path).unwrap();
        assert_eq!(RegistryKey::load_or_create(&path, Clock::system()).unwrap(), made);
        assert!(
            std::fs::read_to_string(&path).unwrap().replace("\r\n", "\n").contains(made.certificate_pem())
        );
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn a_file_that_is_no_key_is_named_and_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("registry.key");
        std::fs::write(&path, "half a ke").unwrap();
        let error = RegistryKey::load_or_create(&path, Clock::system()).unwrap_err();
        assert!(error.to_string().contains("registry.key"), "{error}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "half a ke");
    }
}
