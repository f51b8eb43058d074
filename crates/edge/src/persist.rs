//! Keeps the last snapshot on disk, so that the edge serves after a restart with nobody to ask.
//!
//! A full snapshot is a file; patches after it are appended to a journal that belongs to it. Both carry
//! checksums: a torn write is noticed and what was before it is served. The last but one snapshot stays.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::protocol::{Patch, Snapshot};

const MAGIC: &str = "panda-edge-snapshot-1";
const CURRENT: &str = "snapshot.json";
const PREVIOUS: &str = "snapshot.previous.json";
/// A journal this much larger than its snapshot is folded into a new one.
const JOURNAL_FACTOR: u64 = 2;
const JOURNAL_FLOOR_BYTES: u64 = 4 << 20;

/// Says what could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum PersistError {
    /// A read failed.
    #[error("read `{}`", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A write failed.
    #[error("write `{}`", path.display())]
    Write {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// The state folder.
#[derive(Debug)]
pub(crate) struct Disk {
    folder: PathBuf,
    /// Generation of the snapshot file that the journal belongs to.
    base: Option<u64>,
    snapshot_bytes: u64,
    journal: Option<File>,
    journal_bytes: u64,
}

/// What was found on disk.
#[derive(Debug, Default)]
pub(crate) struct Loaded {
    pub(crate) snapshot: Option<Snapshot>,
    pub(crate) warnings: Vec<String>,
}

impl Disk {
    /// Opens the folder, making it with mode 0700 if it isn't there, and reads the last good snapshot.
    pub(crate) fn open(folder: &Path) -> Result<(Self, Loaded), PersistError> {
        let fail = |source| PersistError::Write { path: folder.to_owned(), source };
        let mut builder = fs::DirBuilder::new();
        std::os::unix::fs::DirBuilderExt::mode(builder.recursive(true), 0o700);
        builder.create(folder).map_err(fail)?;
        let disk = Self {
            folder: folder.to_owned(),
            base: None,
            snapshot_bytes: 0,
            journal: None,
            journal_bytes: 0,
        };
        let mut loaded = Loaded::default();
        for name in [CURRENT, PREVIOUS] {
            let path = folder.join(name);
            let mut snapshot = match read_snapshot(&path)? {
                Found::Nothing => continue,
                Found::Snapshot(snapshot) => snapshot,
                Found::Corrupt(reason) => {
                    loaded
                        .warnings
                        .push(format!("`{}` is corrupt ({reason}); it was set aside", path.display()));
                    let aside = path.with_extension("corrupt");
                    fs::rename(&path, &aside)
                        .map_err(|source| PersistError::Write { path: aside, source })?;
                    continue;
                }
            };
            disk.replay(&mut snapshot, &mut loaded.warnings)?;
            loaded.snapshot = Some(snapshot);
            break;
        }
        // The next change writes a whole snapshot: the journal's end may be torn, and another process
        // that is being replaced may still have it open.
        Ok((disk, loaded))
    }

    /// Writes a whole snapshot; the one before is kept.
    pub(crate) fn write_snapshot(&mut self, snapshot: &Snapshot) -> Result<(), PersistError> {
        let path = self.folder.join(CURRENT);
        let fail = |source| PersistError::Write { path: path.clone(), source };
        let json = Zeroizing::new(serde_json::to_vec(snapshot).map_err(|error| fail(error.into()))?);
        let header = format!("{MAGIC} {} {}\n", checksum(&json), json.len());
        let temporary = self.folder.join("snapshot.tmp");
        self.journal = None;
        (|| {
            let mut file = private_file(&temporary, true)?;
            file.write_all(header.as_bytes())?;
            file.write_all(&json)?;
            file.sync_all()?;
            if path.exists() {
                fs::rename(&path, self.folder.join(PREVIOUS))?;
            }
            fs::rename(&temporary, &path)?;
            File::open(&self.folder)?.sync_all()
        })()
        .map_err(fail)?;
        let former = self.base.replace(snapshot.generation);
        self.snapshot_bytes = json.len() as u64;
        self.forget_journals(former, snapshot.generation);
        Ok(())
    }

    /// Appends a patch, or folds everything into a new snapshot if the journal can't take it.
    pub(crate) fn append(
        &mut self,
        patch: &Patch,
        persisted: u64,
        whole: impl FnOnce() -> Snapshot,
    ) -> Result<(), PersistError> {
        let limit = (self.snapshot_bytes * JOURNAL_FACTOR).max(JOURNAL_FLOOR_BYTES);
        let Some(base) = self.base.filter(|_| persisted == patch.from && self.journal_bytes < limit) else {
            return self.write_snapshot(&whole());
        };
        let path = self.journal_path(base);
        let fail = |source| PersistError::Write { path: path.clone(), source };
        let json = Zeroizing::new(serde_json::to_vec(patch).map_err(|error| fail(error.into()))?);
        let mut record = Zeroizing::new(Vec::with_capacity(json.len() + 70));
        record.extend_from_slice(checksum(&json).as_bytes());
        record.push(b' ');
        record.extend_from_slice(&json);
        record.push(b'\n');
        let written = (|| {
            if self.journal.is_none() {
                self.journal = Some(private_file(&path, true)?);
                self.journal_bytes = 0;
                File::open(&self.folder)?.sync_all()?;
            }
            let Some(journal) = &mut self.journal else { return Err(io::ErrorKind::NotFound.into()) };
            journal.write_all(&record)?;
            journal.sync_data()
        })();
        if let Err(source) = written {
            // The journal's end is unknown now; the next change writes a whole snapshot.
            self.journal = None;
            self.base = None;
            return Err(fail(source));
        }
        self.journal_bytes += record.len() as u64;
        Ok(())
    }

    fn journal_path(&self, base: u64) -> PathBuf {
        self.folder.join(format!("journal.{base}.jsonl"))
    }

    fn replay(&self, snapshot: &mut Snapshot, warnings: &mut Vec<String>) -> Result<(), PersistError> {
        let path = self.journal_path(snapshot.generation);
        let text = match fs::read(&path) {
            Ok(text) => Zeroizing::new(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(source) => return Err(PersistError::Read { path, source }),
        };
        for record in text.split_inclusive(|byte| *byte == b'\n') {
            let patch = parse_record(record).filter(|patch| patch.from == snapshot.generation);
            let Some(patch) = patch else {
                // A record that was being written when the power went was never acknowledged.
                warnings.push(format!(
                    "`{}` ends at generation {} with a record that can't be read",
                    path.display(),
                    snapshot.generation
                ));
                break;
            };
            patch.apply_to(snapshot);
        }
        Ok(())
    }

    /// Removes journals that belong to neither of the two snapshots that are kept.
    fn forget_journals(&mut self, former: Option<u64>, current: u64) {
        self.journal_bytes = 0;
        // A journal of the same base was folded into the snapshot that now bears its number.
        let keep = former.filter(|former| *former != current).map(|former| self.journal_path(former));
        let Ok(entries) = fs::read_dir(&self.folder) else { return };
        for entry in entries.flatten() {
            let path = entry.path();
            let is_journal = entry.file_name().to_string_lossy().starts_with("journal.");
            // With an unknown former base (just started), every journal may belong to the previous snapshot.
            let stays = former.is_none() && path != self.journal_path(current);
            if is_journal && !stays && Some(&path) != keep.as_ref() {
                let _ = fs::remove_file(path);
            }
        }
    }
}

enum Found {
    Nothing,
    Corrupt(&'static str),
    Snapshot(Snapshot),
}

fn read_snapshot(path: &Path) -> Result<Found, PersistError> {
    let text = match fs::read(path) {
        Ok(text) => Zeroizing::new(text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
        Err(source) => return Err(PersistError::Read { path: path.to_owned(), source }),
    };
    Ok(parse_snapshot(&text).map_or_else(Found::Corrupt, Found::Snapshot))
}

fn parse_snapshot(text: &[u8]) -> Result<Snapshot, &'static str> {
    let end = text.iter().position(|byte| *byte == b'\n').ok_or("no header")?;
    let header = std::str::from_utf8(&text[..end]).map_err(|_| "no header")?;
    let mut words = header.split(' ');
    if words.next() != Some(MAGIC) {
        return Err("not a snapshot");
    }
    let (sum, json) = (words.next().unwrap_or_default(), &text[end + 1..]);
    if words.next().and_then(|length| length.parse().ok()) != Some(json.len()) {
        return Err("cut short");
    }
    if sum != checksum(json) {
        return Err("its checksum differs");
    }
    serde_json::from_slice(json).map_err(|_| "its content has another shape")
}

fn parse_record(record: &[u8]) -> Option<Patch> {
    let record = record.strip_suffix(b"\n")?;
    let (sum, json) = record.split_at_checked(64)?;
    let json = json.strip_prefix(b" ")?;
    if sum != checksum(json).as_bytes() {
        return None;
    }
    serde_json::from_slice(json).ok()
}

fn checksum(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    Sha256::digest(bytes).iter().fold(String::with_capacity(64), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Opens a file that only its owner may read.
fn private_file(path: &Path, fresh: bool) -> io::Result<File> {
    if fresh
        && let Err(error) = fs::remove_file(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(error);
    }
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

#[cfg(test)]
mod tests;
