//! The files of a backup.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::fs::{self, File};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::file::{Line, Reader, Writer, bad};
use super::{BackupFolder, RestoreOptions};
use crate::error::{Result, StoreError};

const CHUNK_BYTES: usize = 256 << 10;

/// Writes the files of each folder; links and other oddities are left out. Returns how many.
pub(super) async fn dump(folders: &[BackupFolder], out: &mut Writer) -> Result<u64> {
    let mut files = 0;
    for folder in folders {
        let mut open = vec![folder.path.clone()];
        while let Some(path) = open.pop() {
            let mut entries = match fs::read_dir(&path).await {
                Ok(entries) => entries,
                Err(e) if e.kind() == std::io::ErrorKind::NotFound && path == folder.path => break,
                Err(e) => return Err(StoreError::file("read", &path, e)),
            };
            while let Some(entry) =
                entries.next_entry().await.map_err(|e| StoreError::file("read", &path, e))?
            {
                let kind = entry.file_type().await.map_err(|e| StoreError::file("read", entry.path(), e))?;
                if kind.is_dir() {
                    open.push(entry.path());
                } else if kind.is_file() && dump_file(folder, &entry.path(), out).await? {
                    files += 1;
                }
            }
        }
    }
    Ok(files)
}

/// Writes one file. Returns false if it is gone: the garbage reconciler took it, which only takes what nothing needs.
async fn dump_file(folder: &BackupFolder, path: &Path, out: &mut Writer) -> Result<bool> {
    let failed = |e| StoreError::file("read", path, e);
    let relative = path.strip_prefix(&folder.path).expect("entries lie in their folder");
    let Some(relative) = relative.to_str() else {
        let error = std::io::Error::new(std::io::ErrorKind::InvalidData, "its name is no UTF-8");
        return Err(failed(error));
    };
    let mut file = match File::open(path).await {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        opened => opened.map_err(failed)?,
    };
    out.line(&Line::File(folder.name.clone(), relative.to_owned())).await?;
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let n = file.read(&mut chunk).await.map_err(failed)?;
        if n == 0 {
            return Ok(true);
        }
        out.line(&Line::Data(STANDARD.encode(&chunk[..n]))).await?;
    }
}

/// Refuses to mix a backup's files with others.
pub(super) fn refuse_full(folders: &[BackupFolder], options: RestoreOptions) -> Result<()> {
    for folder in folders {
        let full = std::fs::read_dir(&folder.path).is_ok_and(|mut entries| entries.next().is_some());
        if full && !options.overwrite {
            return Err(StoreError::NotEmpty { what: format!("folder `{}`", folder.path.display()) });
        }
    }
    Ok(())
}

/// Writes the backup's files into the folders of the same names; files of folders that aren't named stay out.
pub(super) async fn load(from: &Path, folders: &[BackupFolder]) -> Result<()> {
    let folders: BTreeMap<&str, &Path> =
        folders.iter().map(|f| (f.name.as_str(), f.path.as_path())).collect();
    let (mut reader, _) = Reader::open(from).await?;
    let mut open: Option<(PathBuf, File)> = None;
    while let Some(line) = reader.next().await? {
        match line {
            Line::File(folder, path) => {
                close(open.take()).await?;
                let path = PathBuf::from(path);
                if !path.components().all(|part| matches!(part, Component::Normal(_))) {
                    return Err(bad(
                        from,
                        format!("has a file that leads out of its folder: `{}`", path.display()),
                    ));
                }
                if let Some(root) = folders.get(folder.as_str()) {
                    open = Some(create(&root.join(path)).await?);
                }
            }
            Line::Data(data) => {
                if let Some((path, file)) = &mut open {
                    let bytes =
                        STANDARD.decode(data).map_err(|_| bad(from, "has unreadable file content"))?;
                    file.write_all(&bytes).await.map_err(|e| StoreError::file("write", path.as_path(), e))?;
                }
            }
            Line::Table(..) | Line::Row(_) => {}
            Line::End(_) => close(open.take()).await?,
        }
    }
    Ok(())
}

async fn create(path: &Path) -> Result<(PathBuf, File)> {
    let failed = |e| StoreError::file("create", path, e);
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).await.map_err(failed)?;
    }
    let file = File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .await
        .map_err(failed)?;
    Ok((path.to_owned(), file))
}

async fn close(open: Option<(PathBuf, File)>) -> Result<()> {
    let Some((path, mut file)) = open else { return Ok(()) };
    let closed = async {
        file.flush().await?;
        file.sync_all().await
    };
    closed.await.map_err(|e| StoreError::file("write", path, e))
}
