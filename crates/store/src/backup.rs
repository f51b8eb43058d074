//! The whole state of an installation in one file, and back.
//!
//! A backup is lines of JSON: a header, the rows of each table, the files of some folders, and a last line with counts,
//! a checksum and the installation's key, wrapped by a passphrase. Secrets in the rows stay sealed. It can be restored
//! into either database.

mod file;
mod folders;
mod key;
mod rows;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use panda_domain::clock::Clock;
use panda_domain::ids::IdSource;
use panda_domain::secret::Secret;

use crate::error::{Result, StoreError};
use crate::installation::{self, Installation, beside};
use crate::keyring::{KeySource, Keyring};
use crate::sealing::KeyBytes;
use crate::sqlite::path_of;
use crate::store::{Store, StoreConfig};
use crate::tx::Tx;

/// The shortest passphrase that is taken, characters.
const SHORTEST_PASSPHRASE: usize = 12;

/// A folder whose files go into a backup, or come out of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupFolder {
    /// What it is called in the backup, such as `edge`.
    pub name: String,
    /// Where it lies.
    pub path: PathBuf,
}

/// What a backup holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupSummary {
    /// The random name of the installation.
    pub installation: String,
    /// The schema of the rows.
    pub schema: i64,
    /// Rows by table.
    pub rows: BTreeMap<String, u64>,
    /// How many files.
    pub files: u64,
    /// Values that were opened to prove that the key fits; only after a restore.
    pub secrets_proven: u64,
}

/// What a restore may do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RestoreOptions {
    /// Replaces state that is there. The old key is kept beside the new one.
    pub overwrite: bool,
}

impl Store {
    /// Writes the whole state into a new file that only its owner can read: one moment's rows, the files of `folders`,
    /// and the key, wrapped by `passphrase`. The server may go on working meanwhile.
    pub async fn backup(
        &self,
        to: &Path,
        passphrase: &Secret,
        folders: &[BackupFolder],
    ) -> Result<BackupSummary> {
        if passphrase.reveal().chars().count() < SHORTEST_PASSPHRASE {
            return Err(StoreError::WeakPassphrase { shortest: SHORTEST_PASSPHRASE });
        }
        let wrapping = key::Wrapping::new(passphrase).await?;
        let name = self.installation().await?;
        let schema = self.schema_version().await?;
        let temporary = beside(to, ".part");
        let mut out = file::Writer::create(&temporary).await?;
        out.header(&name, schema, self.clock().now()).await?;
        let written = async {
            let rows = rows::dump(self, &mut out).await?;
            let files = folders::dump(folders, &mut out).await?;
            Ok((rows, files))
        };
        let (rows, files) = match written.await {
            Ok(written) => written,
            Err(error) => {
                // The first error counts; a half file has a name that nobody takes for a backup.
                let _ = tokio::fs::remove_file(&temporary).await;
                return Err(error);
            }
        };
        out.end(&rows, files, &wrapping, self.inner.keyring.bytes()).await?;
        tokio::fs::rename(&temporary, to).await.map_err(|e| StoreError::file("rename", to, e))?;
        installation::sync_folder(to).map_err(|e| StoreError::file("sync", to, e))?;
        Ok(BackupSummary { installation: name, schema, rows, files, secrets_proven: 0 })
    }
}

/// Reads a backup to its end, checks its checksum, counts and passphrase, and says what it holds. Changes nothing.
pub async fn inspect_backup(from: &Path, passphrase: &Secret) -> Result<BackupSummary> {
    check(from, passphrase).await.map(|(summary, _)| summary)
}

/// Brings a backup into the database at `config.url` and its key into `key_file`.
///
/// The file is checked from end to end before anything is touched, and the rows are written in one transaction, which
/// commits only when all counts are right and every sealed value opens. No server may be running on that state. A SQLite
/// file that is replaced is kept as `….before-restore`.
pub async fn restore(
    from: &Path,
    config: &StoreConfig,
    key_file: &Path,
    folders: &[BackupFolder],
    passphrase: &Secret,
    options: RestoreOptions,
) -> Result<BackupSummary> {
    let (mut summary, key) = check(from, passphrase).await?;
    let keyring = Keyring::in_memory(key.clone(), KeySource::File(key_file.to_owned()));
    let old_key = old_key(key_file, &keyring).await;
    if old_key == OldKey::Another && !options.overwrite {
        return Err(StoreError::NotEmpty { what: format!("key file `{}`", key_file.display()) });
    }
    folders::refuse_full(folders, options)?;
    let files = Files { from, folders, key_file, key, old_key };
    if config.url.starts_with("sqlite:") {
        summary.secrets_proven = restore_file(config, keyring, &files, &summary, options).await?;
    } else {
        let store = connect(config, keyring, &summary).await?;
        let mut tx = store.begin().await?;
        if !options.overwrite
            && let Some(table) = rows::first_full_table(&mut tx).await?
        {
            return Err(StoreError::NotEmpty { what: format!("the database (table `{table}`)") });
        }
        summary.secrets_proven = load(tx, &files, &summary).await?;
        store.migrate().await?;
        store.close().await;
    }
    Ok(summary)
}

/// What comes out of a backup beside its rows, and where it goes.
struct Files<'a> {
    from: &'a Path,
    folders: &'a [BackupFolder],
    key_file: &'a Path,
    key: KeyBytes,
    old_key: OldKey,
}

/// Makes the database in a file beside the real one, which it replaces when it is complete: so even a damaged or lost
/// one can be restored, and the old one is kept.
async fn restore_file(
    config: &StoreConfig,
    keyring: Keyring,
    files: &Files<'_>,
    summary: &BackupSummary,
    options: RestoreOptions,
) -> Result<u64> {
    let path = path_of(&config.url)?;
    let place = Installation::take_to_replace(&path)?;
    if place.existed() && !options.overwrite {
        return Err(StoreError::NotEmpty { what: format!("`{}`", path.display()) });
    }
    let ready = beside(&path, ".restoring");
    installation::clear(&ready)?;
    let config = StoreConfig { url: format!("sqlite://{}", ready.display()), ..config.clone() };
    let store = connect(&config, keyring, summary).await?;
    let proven = load(store.begin().await?, files, summary).await?;
    store.migrate().await?;
    store.close().await;
    place.replace_by(&ready, &summary.installation)?;
    Ok(proven)
}

async fn connect(config: &StoreConfig, keyring: Keyring, summary: &BackupSummary) -> Result<Store> {
    let clock = Clock::system();
    let store = Store::connect(config, keyring, clock.clone(), IdSource::random(clock)).await?;
    store.check_schema().await?;
    store.migrate_to(summary.schema).await?;
    Ok(store)
}

/// Writes the rows and everything else, and commits when all of it has proven right. Returns how many values opened.
async fn load(mut tx: Tx, files: &Files<'_>, summary: &BackupSummary) -> Result<u64> {
    rows::load(&mut tx, files.from, &summary.rows).await?;
    tx.load_data_keys().await?;
    let proven = tx.prove_secrets().await?;
    folders::load(files.from, files.folders).await?;
    put_key(files.key_file, files.key.clone(), files.old_key).await?;
    tx.commit().await?;
    Ok(proven)
}

async fn check(from: &Path, passphrase: &Secret) -> Result<(BackupSummary, KeyBytes)> {
    let (header, end) = file::verify(from).await?;
    let key = end.open_key(from, passphrase).await?;
    let known = crate::schema::known();
    if header.schema > known {
        return Err(StoreError::NewerSchema { found: header.schema, known });
    }
    let summary = BackupSummary {
        installation: header.installation,
        schema: header.schema,
        rows: end.tables,
        files: end.files,
        secrets_proven: 0,
    };
    Ok((summary, key))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OldKey {
    None,
    Same,
    Another,
}

async fn old_key(key_file: &Path, new: &Keyring) -> OldKey {
    if !key_file.exists() {
        return OldKey::None;
    }
    match Keyring::load(KeySource::File(key_file.to_owned())).await {
        Ok(old) if old.bytes() == new.bytes() => OldKey::Same,
        _ => OldKey::Another,
    }
}

async fn put_key(key_file: &Path, key: KeyBytes, old: OldKey) -> Result<()> {
    if old == OldKey::Same {
        return Ok(());
    }
    if old == OldKey::Another {
        let kept = beside(key_file, ".before-restore");
        tokio::fs::rename(key_file, &kept).await.map_err(|e| StoreError::file("rename", key_file, e))?;
    }
    Keyring::write_file(key_file, key).map(|_| ())
}
