//! The key that all secrets of an installation hang from.
//!
//! It never seals a value itself: it wraps the data keys, which lie in the database.

use std::fs;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use crate::error::{Result, StoreError};
use crate::installation::sync_folder;
use crate::kms;
use crate::sealing::{self, KEY_BYTES, KeyBytes};

/// Where the key comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// A file with 32 bytes in base 64, readable by the server alone.
    File(PathBuf),
    /// A program that unwraps the key with the help of a key management service.
    Kms {
        /// The program and its arguments; no shell is involved. Gets the wrapped key on standard input and prints
        /// the key in base 64.
        command: Vec<String>,
        /// The file with the wrapped key.
        wrapped: PathBuf,
    },
}

impl std::fmt::Display for KeySource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => write!(f, "`{}`", path.display()),
            Self::Kms { command, wrapped } => {
                write!(f, "`{}` and `{}`", command.first().map_or("", String::as_str), wrapped.display())
            }
        }
    }
}

/// The installation's key, in memory. Clones share it; it is wiped when the last one goes.
#[derive(Clone)]
pub struct Keyring {
    key: Arc<KeyBytes>,
    source: KeySource,
}

impl std::fmt::Debug for Keyring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Keyring(from {})", self.source)
    }
}

impl Keyring {
    /// Reads the key from where it lies. Never makes one: a missing key of an old installation must not look
    /// like a new installation.
    pub async fn load(source: KeySource) -> Result<Self> {
        let text = match &source {
            KeySource::File(path) => read_key_file(path).map_err(|problem| unreadable(&source, problem))?,
            KeySource::Kms { command, wrapped } => {
                let wrapped = fs::read(wrapped).map_err(|e| StoreError::file("read", wrapped, e))?;
                kms::unwrap_key(command, &wrapped).await.map_err(|problem| unreadable(&source, problem))?
            }
        };
        let key = decode(&text).map_err(|problem| unreadable(&source, problem))?;
        Ok(Self { key: Arc::new(key), source })
    }

    /// Makes a new key in a new file, which only the server's user can read. Refuses if the file exists.
    pub fn create_file(path: &Path) -> Result<Self> {
        let key: KeyBytes = Zeroizing::new(rand::random::<[u8; KEY_BYTES]>());
        Self::write_file(path, key)
    }

    /// Puts a key that is known, such as one from a backup, into a new file.
    pub(crate) fn write_file(path: &Path, key: KeyBytes) -> Result<Self> {
        use std::io::Write as _;
        let write = || -> std::io::Result<()> {
            if let Some(folder) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
                fs::create_dir_all(folder)?;
            }
            let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
            let text = Zeroizing::new(format!("{}\n", STANDARD.encode(*key)));
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            sync_folder(path)
        };
        write().map_err(|e| StoreError::file("create the key", path, e))?;
        Ok(Self { key: Arc::new(key), source: KeySource::File(path.to_owned()) })
    }

    /// Wraps a key that is known before its file is written.
    pub(crate) fn in_memory(key: KeyBytes, source: KeySource) -> Self {
        Self { key: Arc::new(key), source }
    }

    /// Returns where the key came from.
    pub fn source(&self) -> &KeySource {
        &self.source
    }

    pub(crate) fn bytes(&self) -> &KeyBytes {
        &self.key
    }

    pub(crate) fn wrap(&self, about: &str, data_key: &[u8]) -> Vec<u8> {
        sealing::encrypt(&self.key, about.as_bytes(), data_key)
    }

    /// Returns `None` when this isn't the key that wrapped it.
    pub(crate) fn unwrap(&self, about: &str, wrapped: &[u8]) -> Option<KeyBytes> {
        let plain = sealing::decrypt(&self.key, about.as_bytes(), wrapped)?;
        <[u8; KEY_BYTES]>::try_from(plain.as_slice()).ok().map(Zeroizing::new)
    }

    pub(crate) fn wrong(&self) -> StoreError {
        StoreError::WrongKey { key: self.source.to_string() }
    }
}

fn unreadable(source: &KeySource, problem: String) -> StoreError {
    StoreError::KeyUnreadable { key: source.to_string(), problem }
}

fn read_key_file(path: &Path) -> Result<Zeroizing<String>, String> {
    let mode = fs::metadata(path).map_err(|e| e.to_string())?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(format!("others may read it (mode {:o}): chmod 600", mode & 0o777));
    }
    fs::read_to_string(path).map(Zeroizing::new).map_err(|e| e.to_string())
}

fn decode(text: &str) -> Result<KeyBytes, String> {
    let bytes = STANDARD.decode(text.trim()).map(Zeroizing::new).map_err(|_| "is no base 64".to_owned())?;
    let key = <[u8; KEY_BYTES]>::try_from(bytes.as_slice())
        .map_err(|_| format!("holds {} bytes instead of {KEY_BYTES}", bytes.len()))?;
    if key == [0; KEY_BYTES] {
        return Err("is all zeroes".to_owned());
    }
    Ok(Zeroizing::new(key))
}
