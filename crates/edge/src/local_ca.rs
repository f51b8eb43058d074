//! A certificate authority of one's own, for `*.localhost` and for machines without the internet.
//!
//! Certificates name exact hosts: browsers refuse a wildcard directly below `localhost`.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use zeroize::Zeroizing;

use crate::protocol::KeyPem;

const DAY: Duration = Duration::from_hours(24);
const AUTHORITY_LIFE: Duration = Duration::from_hours(87600);

/// How long a leaf is valid: just under what browsers accept.
pub const LEAF_LIFE: Duration = Duration::from_hours(9528);

/// Says what the local CA tried and on what.
#[derive(Debug, thiserror::Error)]
pub enum LocalCaError {
    /// A file could not be read.
    #[error("read `{}`", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file could not be written.
    #[error("write `{}`", path.display())]
    Write {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// One of key and certificate is there without the other: nothing is replaced by guessing.
    #[error("`{}` is missing beside `{}`; restore it, or remove both for a new authority", missing.display(), present.display())]
    Half {
        /// The file that is there.
        present: PathBuf,
        /// The file that is not.
        missing: PathBuf,
    },
    /// The stored authority can't be used.
    #[error("use the authority in `{}`", path.display())]
    Authority {
        /// The file that holds it.
        path: PathBuf,
        /// What is wrong with it.
        source: rcgen::Error,
    },
    /// A certificate could not be made.
    #[error("issue a certificate for `{hosts}`")]
    Issue {
        /// The hosts it was for.
        hosts: String,
        /// What went wrong.
        source: rcgen::Error,
    },
}

/// A certificate authority whose key lies in a file.
pub struct LocalCa {
    issuer: Issuer<'static, KeyPair>,
    certificate_pem: String,
}

impl std::fmt::Debug for LocalCa {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LocalCa").finish_non_exhaustive()
    }
}

/// A certificate that the local CA issued.
#[derive(Clone, Debug)]
pub struct Leaf {
    /// The certificate and its authority's, leaf first, in PEM.
    pub chain_pem: String,
    /// The private key in PEM.
    pub key_pem: KeyPem,
    /// When it stops being valid.
    pub expires_at: SystemTime,
}

impl LocalCa {
    /// Loads the authority, or makes one if neither file is there; the key's file has mode 0600.
    ///
    /// `name` appears in a browser's list of authorities. Reads and writes files: not for an async thread.
    pub fn load_or_create(
        key_path: &Path,
        certificate_path: &Path,
        name: &str,
        now: SystemTime,
    ) -> Result<Self, LocalCaError> {
        match (key_path.exists(), certificate_path.exists()) {
            (true, true) => Self::load(key_path, certificate_path),
            (false, false) => Self::create(key_path, certificate_path, name, now),
            (true, false) => Err(half(key_path, certificate_path)),
            (false, true) => Err(half(certificate_path, key_path)),
        }
    }

    /// Returns the authority's own certificate in PEM, for clients to trust.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// Issues a certificate for exact hosts and IP addresses, valid from an hour before `now` for [`LEAF_LIFE`].
    pub fn issue(&self, hosts: &[String], now: SystemTime) -> Result<Leaf, LocalCaError> {
        self.leaf(hosts, now).map_err(|source| LocalCaError::Issue { hosts: hosts.join("`, `"), source })
    }

    fn leaf(&self, hosts: &[String], now: SystemTime) -> Result<Leaf, rcgen::Error> {
        let expires_at = now + LEAF_LIFE - DAY;
        let mut params = CertificateParams::new(hosts.to_vec())?;
        params.not_before = (now - Duration::from_hours(1)).into();
        params.not_after = expires_at.into();
        params.distinguished_name = rcgen::DistinguishedName::new();
        let common_name = hosts.first().map_or("panda", String::as_str);
        // A common name longer than 64 bytes is invalid; the host is in the alternative names anyway.
        let common_name = if common_name.len() > 64 { "panda" } else { common_name };
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Leaf {
            chain_pem: format!("{}{}", certificate.pem(), self.certificate_pem),
            key_pem: KeyPem::new(key.serialize_pem()),
            expires_at,
        })
    }

    fn load(key_path: &Path, certificate_path: &Path) -> Result<Self, LocalCaError> {
        let key_pem = Zeroizing::new(read(key_path)?);
        let certificate_pem = read(certificate_path)?;
        let key = KeyPair::from_pem(&key_pem)
            .map_err(|source| LocalCaError::Authority { path: key_path.to_owned(), source })?;
        let issuer = Issuer::from_ca_cert_pem(&certificate_pem, key)
            .map_err(|source| LocalCaError::Authority { path: certificate_path.to_owned(), source })?;
        Ok(Self { issuer, certificate_pem })
    }

    fn create(
        key_path: &Path,
        certificate_path: &Path,
        name: &str,
        now: SystemTime,
    ) -> Result<Self, LocalCaError> {
        let fail = |source| LocalCaError::Authority { path: certificate_path.to_owned(), source };
        let mut params = CertificateParams::default();
        params.not_before = (now - Duration::from_hours(1)).into();
        params.not_after = (now + AUTHORITY_LIFE).into();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().map_err(fail)?;
        let certificate_pem = params.self_signed(&key).map_err(fail)?.pem();
        let key_pem = Zeroizing::new(key.serialize_pem());
        // The certificate goes last: a crash in between leaves a key alone, which is named and not replaced.
        write(key_path, key_pem.as_bytes(), 0o600)?;
        write(certificate_path, certificate_pem.as_bytes(), 0o644)?;
        let issuer = Issuer::new(params, key);
        Ok(Self { issuer, certificate_pem })
    }
}

fn half(present: &Path, missing: &Path) -> LocalCaError {
    LocalCaError::Half { present: present.to_owned(), missing: missing.to_owned() }
}

fn read(path: &Path) -> Result<String, LocalCaError> {
    fs::read_to_string(path).map_err(|source| LocalCaError::Read { path: path.to_owned(), source })
}

fn write(path: &Path, content: &[u8], mode: u32) -> Result<(), LocalCaError> {
    let temporary = path.with_extension("tmp");
    let written = (|| {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        // A leftover of a crash may have another mode.
        match fs::remove_file(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
    })();
    written.map_err(|source| LocalCaError::Write { path: path.to_owned(), source })
}
