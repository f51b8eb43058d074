//! What lies beside a SQLite file: the lock that keeps a second server out, and the note that state exists.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read as _, Seek as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::error::{Result, StoreError};

/// Kinds of filesystem on which locks or shared memory don't work as SQLite needs them.
const NETWORK_FILESYSTEMS: &[&str] = &[
    "9p",
    "afs",
    "beegfs",
    "ceph",
    "cifs",
    "fuse.ceph",
    "fuse.glusterfs",
    "fuse.sshfs",
    "gfs2",
    "glusterfs",
    "gpfs",
    "lustre",
    "ncpfs",
    "nfs",
    "nfs4",
    "ocfs2",
    "smb3",
    "smbfs",
];

/// The claim of this process on one SQLite file, or a mere look. Given back when dropped, or when the process dies.
pub(crate) struct Installation {
    database: PathBuf,
    note: PathBuf,
    existed: bool,
    /// Device and inode of the open file.
    identity: Option<(u64, u64)>,
    _lock: Option<File>,
}

impl Installation {
    /// Takes the lock, and refuses places and states in which data could be lost.
    pub(crate) fn take(database: &Path) -> Result<Self> {
        let folder = folder_of(database);
        fs::create_dir_all(folder).map_err(|e| StoreError::file("create", folder, e))?;
        refuse_network_filesystem(database, folder)?;
        let lock = take_lock(database)?;
        let note = beside(database, ".state.json");
        let existed = note.exists();
        if existed && !database.exists() {
            let problem = "is missing".to_owned();
            return Err(StoreError::StateMissing { path: database.to_owned(), problem });
        }
        Ok(Self { database: database.to_owned(), note, existed, identity: None, _lock: Some(lock) })
    }

    /// Looks at a database that is there, beside the server that may be using it: without the lock.
    pub(crate) fn look(database: &Path) -> Result<Self> {
        if !database.exists() {
            let problem = "is missing".to_owned();
            return Err(StoreError::StateMissing { path: database.to_owned(), problem });
        }
        let note = beside(database, ".state.json");
        Ok(Self { database: database.to_owned(), note, existed: true, identity: None, _lock: None })
    }

    /// Takes the lock of a file that may be missing or damaged, because it is about to be replaced.
    pub(crate) fn take_to_replace(database: &Path) -> Result<Self> {
        let folder = folder_of(database);
        fs::create_dir_all(folder).map_err(|e| StoreError::file("create", folder, e))?;
        refuse_network_filesystem(database, folder)?;
        let lock = take_lock(database)?;
        let note = beside(database, ".state.json");
        let existed = note.exists() || fs::metadata(database).is_ok_and(|file| file.len() > 0);
        Ok(Self { database: database.to_owned(), note, existed, identity: None, _lock: Some(lock) })
    }

    /// Puts a whole, closed database into the place; what was there is kept beside it. A crash half way leaves the note
    /// without a database, which is refused at the next start.
    pub(crate) fn replace_by(&self, ready: &Path, installation: &str) -> Result<()> {
        let failed = |e| StoreError::file("replace", &self.database, e);
        if beside(ready, "-wal").exists() {
            return Err(StoreError::internal("close the restored database: it still has a write-ahead log"));
        }
        self.note_state(installation)?;
        let kept = beside(&self.database, ".before-restore");
        for suffix in ["", "-wal"] {
            rename_if_there(&beside(&self.database, suffix), &beside(&kept, suffix)).map_err(failed)?;
        }
        remove_if_there(&beside(&self.database, "-shm")).map_err(failed)?;
        fs::rename(ready, &self.database).and_then(|()| sync_folder(&self.database)).map_err(failed)?;
        clear(ready)
    }

    /// Tells whether a database was made here before.
    pub(crate) fn existed(&self) -> bool {
        self.existed
    }

    /// Remembers which file is open.
    pub(crate) fn remember_file(&mut self) -> Result<()> {
        self.identity =
            Some(identity(&self.database).map_err(|e| StoreError::file("open", &self.database, e))?);
        Ok(())
    }

    /// Compares the file at the path with the one that is open.
    pub(crate) fn still_there(&self) -> Result<()> {
        let problem = match identity(&self.database) {
            Ok(now) if Some(now) == self.identity => return Ok(()),
            Ok(_) => "was replaced by another file".to_owned(),
            Err(e) if e.kind() == ErrorKind::NotFound => "was deleted".to_owned(),
            Err(e) => return Err(StoreError::file("look at", &self.database, e)),
        };
        Err(StoreError::StateMissing { path: self.database.clone(), problem })
    }

    /// Writes down that there is state now, so that a later start never takes an empty file for a new installation.
    pub(crate) fn note_state(&self, installation: &str) -> Result<()> {
        let text = serde_json::json!({ "installation": installation, "database": self.database }).to_string();
        write_durably(&self.note, text.as_bytes(), 0o600)
    }
}

/// Removes a database that isn't wanted, with everything beside it.
pub(crate) fn clear(database: &Path) -> Result<()> {
    for suffix in ["", "-wal", "-shm", ".lock", ".state.json"] {
        let path = beside(database, suffix);
        remove_if_there(&path).map_err(|e| StoreError::file("remove", &path, e))?;
    }
    Ok(())
}

fn remove_if_there(path: &Path) -> std::io::Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

fn rename_if_there(from: &Path, to: &Path) -> std::io::Result<()> {
    match fs::rename(from, to) {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

fn folder_of(database: &Path) -> &Path {
    database.parent().filter(|path| !path.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Returns the path with `suffix` added to its file name.
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Replaces a file by one that is wholly there even if the machine stops right now.
pub(crate) fn write_durably(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    let temporary = beside(path, ".tmp");
    let write = || -> std::io::Result<()> {
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        sync_folder(path)
    };
    write().map_err(|e| StoreError::file("write", path, e))
}

/// Makes the name of a file durable.
pub(crate) fn sync_folder(path: &Path) -> std::io::Result<()> {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => File::open(folder)?.sync_all(),
        _ => Ok(()),
    }
}

fn identity(path: &Path) -> std::io::Result<(u64, u64)> {
    fs::metadata(path).map(|m| (m.dev(), m.ino()))
}

fn take_lock(database: &Path) -> Result<File> {
    let path = beside(database, ".lock");
    let failed = |e| StoreError::file("open", &path, e);
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(failed)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            let _ = file.read_to_string(&mut holder);
            let holder =
                if holder.trim().is_empty() { "unknown".to_owned() } else { holder.trim().to_owned() };
            return Err(StoreError::Locked { path: database.to_owned(), holder });
        }
        Err(TryLockError::Error(e)) => return Err(StoreError::file("lock", &path, e)),
    }
    let machine = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let holder = format!("process {} on `{}`", std::process::id(), machine.trim());
    file.set_len(0).and_then(|()| file.rewind()).map_err(failed)?;
    file.write_all(holder.as_bytes()).map_err(failed)?;
    Ok(file)
}

fn refuse_network_filesystem(database: &Path, folder: &Path) -> Result<()> {
    // Only Linux says what is mounted where in this way; elsewhere panda's server isn't run in earnest.
    let Ok(mounts) = fs::read_to_string("/proc/self/mountinfo") else { return Ok(()) };
    let folder = folder.canonicalize().map_err(|e| StoreError::file("look at", folder, e))?;
    match filesystem_of(&mounts, &folder) {
        Some(kind) if NETWORK_FILESYSTEMS.contains(&kind) => {
            Err(StoreError::NetworkFilesystem { path: database.to_owned(), kind: kind.to_owned() })
        }
        _ => Ok(()),
    }
}

/// Returns the kind of the filesystem that `folder` lies on. Later mounts hide earlier ones.
fn filesystem_of<'m>(mountinfo: &'m str, folder: &Path) -> Option<&'m str> {
    let mut found: Option<(usize, &str)> = None;
    for line in mountinfo.lines() {
        let (left, right) = line.split_once(" - ")?;
        let point = left.split(' ').nth(4)?.replace("\\040", " ");
        let kind = right.split(' ').next()?;
        let length = point.len();
        if folder.starts_with(&point) && found.is_none_or(|(longest, _)| length >= longest) {
            found = Some((length, kind));
        }
    }
    found.map(|(_, kind)| kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_mount_says_what_a_folder_lies_on() {
        let mounts = "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n\
                      23 22 0:44 / /srv/panda rw,relatime shared:1 - nfs4 box:/export rw\n\
                      24 23 0:45 / /srv/panda/db rw - xfs /dev/sdb rw\n";
        assert_eq!(filesystem_of(mounts, Path::new("/srv/panda")), Some("nfs4"));
        assert_eq!(filesystem_of(mounts, Path::new("/srv/panda/db")), Some("xfs"));
        assert_eq!(filesystem_of(mounts, Path::new("/srv/pandabear")), Some("ext4"));
    }
}
