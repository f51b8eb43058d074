//! The folders and the key of an installation, made at the first start with the rights that they need.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use panda_domain::clock::Clock;
use panda_domain::ids::IdSource;
use panda_store::{KeySource, Keyring, Store, StoreConfig, StoreError};

use crate::config::{Config, RuntimeKind};

/// The state can't be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StateError {
    /// A folder can't be made or its rights can't be set.
    #[error("make the folder `{}`", path.display())]
    Folder {
        /// Which.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The database has secrets, and the key is gone.
    #[error("the key `{}` isn't there, and the database has secrets that only it opens; put it back", .0.display())]
    KeyMissing(PathBuf),
    /// The database, or the key.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Makes the folders below the data folder; only this user can look into them.
pub(crate) fn ensure_folders(config: &Config) -> Result<(), StateError> {
    for name in ["", "db", "keys", "blobs", "logs", "logs/builds", "edge", "run", "work", "runtime"] {
        let path = config.data_dir.join(name);
        let made = match config.runtime.kind {
            RuntimeKind::Docker => make(&path),
            RuntimeKind::Kubernetes => make_on_volume(&path),
        };
        made.map_err(|source| StateError::Folder { path: path.clone(), source })?;
    }
    Ok(())
}

fn make(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o700))
}

/// A volume's own folder belongs to whoever made the volume, and only this pod sees it.
fn make_on_volume(path: &Path) -> io::Result<()> {
    match make(path) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied && is_anothers(path)? => Ok(()),
        made => made,
    }
}

fn is_anothers(path: &Path) -> io::Result<bool> {
    Ok(fs::metadata(path)?.uid() != rustix::process::geteuid().as_raw())
}

/// Opens the state. A new installation gets a key; an old one without its key is refused (P9).
pub(crate) async fn open(config: &Config, clock: Clock) -> Result<Store, StateError> {
    let had_key = config.keys.file.exists();
    let opened = open_with(config, keyring(config).await?, clock).await;
    if let Err(StoreError::WrongKey { .. }) = &opened
        && config.keys.command.is_empty()
        && !had_key
    {
        // The database wasn't new after all, so the key that was just made is nobody's.
        let file = config.keys.file.clone();
        fs::remove_file(&file).map_err(|source| StateError::Folder { path: file.clone(), source })?;
        return Err(StateError::KeyMissing(file));
    }
    Ok(opened?)
}

async fn open_with(config: &Config, keyring: Keyring, clock: Clock) -> Result<Store, StoreError> {
    let settings = StoreConfig {
        url: config.database.url.clone(),
        max_connections: config.database.max_connections,
        statement_deadline: Duration::from_secs(u64::from(config.database.statement_timeout_s)),
    };
    let ids = IdSource::random(clock.clone());
    let store = Store::open(&settings, keyring, clock, ids).await?;
    store.migrate().await?;
    Ok(store)
}

async fn keyring(config: &Config) -> Result<Keyring, StoreError> {
    if !config.keys.command.is_empty() {
        let source =
            KeySource::Kms { command: config.keys.command.clone(), wrapped: config.keys.file.clone() };
        return Keyring::load(source).await;
    }
    let file = &config.keys.file;
    let database = config.database.url.strip_prefix("sqlite://").map(Path::new);
    // A database without its key isn't a new installation: making a key would look like one.
    let is_new = database.is_some_and(|path| !path.exists());
    if !file.exists() && (is_new || database.is_none()) {
        return Keyring::create_file(file);
    }
    Keyring::load(KeySource::File(file.clone())).await
}
