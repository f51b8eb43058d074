//! The lines of a backup file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use panda_domain::secret::Secret;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tokio::fs::File;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, BufWriter};

use super::key::{WrappedKey, Wrapping};
use crate::blob_dir::hex;
use crate::error::{Result, StoreError};
use crate::sealing::KeyBytes;

const FORMAT: u32 = 1;

/// The first line.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Header {
    panda_backup: u32,
    pub(super) installation: String,
    pub(super) schema: i64,
    created_at: Timestamp,
}

/// A line in between.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Line {
    /// Rows of this table follow; each column with its kind.
    Table(String, Vec<(String, String)>),
    /// One row.
    Row(Vec<Value>),
    /// Content of this file follows: folder's name, path within.
    File(String, String),
    /// Content, base 64.
    Data(String),
    /// The last line.
    End(End),
}

/// What the last line says.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct End {
    pub(super) tables: BTreeMap<String, u64>,
    pub(super) files: u64,
    sha256: String,
    key: WrappedKey,
}

impl End {
    pub(super) async fn open_key(&self, path: &Path, passphrase: &Secret) -> Result<KeyBytes> {
        let opened = self.key.open(&self.sha256, passphrase).await;
        opened.map_err(|problem| bad(path, problem))?.ok_or(StoreError::WrongPassphrase)
    }
}

/// Writes a backup and sums it up.
pub(super) struct Writer {
    path: PathBuf,
    out: BufWriter<File>,
    hash: Sha256,
}

impl Writer {
    pub(super) async fn create(path: &Path) -> Result<Self> {
        let failed = |e| StoreError::file("create", path, e);
        if let Err(e) = tokio::fs::remove_file(path).await
            && e.kind() != std::io::ErrorKind::NotFound
        {
            return Err(failed(e));
        }
        let file =
            File::options().write(true).create_new(true).mode(0o600).open(path).await.map_err(failed)?;
        Ok(Self { path: path.to_owned(), out: BufWriter::new(file), hash: Sha256::new() })
    }

    pub(super) async fn header(&mut self, installation: &str, schema: i64, at: Timestamp) -> Result<()> {
        let installation = installation.to_owned();
        self.write(&Header { panda_backup: FORMAT, installation, schema, created_at: at }).await
    }

    pub(super) async fn line(&mut self, line: &Line) -> Result<()> {
        self.write(line).await
    }

    pub(super) async fn end(
        mut self,
        tables: &BTreeMap<String, u64>,
        files: u64,
        wrapping: &Wrapping,
        key: &KeyBytes,
    ) -> Result<()> {
        let sha256 = hex(&self.hash.clone().finalize());
        let key = wrapping.wrap(&sha256, key);
        self.write(&Line::End(End { tables: tables.clone(), files, sha256, key })).await?;
        let Self { path, mut out, .. } = self;
        let failed = |e| StoreError::file("write", &path, e);
        out.flush().await.map_err(failed)?;
        out.get_ref().sync_all().await.map_err(failed)
    }

    async fn write<T: Serialize>(&mut self, line: &T) -> Result<()> {
        let mut text = serde_json::to_vec(line).expect("lines have text keys and can't fail to serialise");
        text.push(b'\n');
        self.hash.update(&text);
        self.out.write_all(&text).await.map_err(|e| StoreError::file("write", &self.path, e))
    }
}

/// Reads a backup line by line.
pub(super) struct Reader {
    path: PathBuf,
    lines: BufReader<File>,
    hash: Sha256,
    buffer: Vec<u8>,
}

impl Reader {
    /// Opens the file and reads its header.
    pub(super) async fn open(path: &Path) -> Result<(Self, Header)> {
        let file = File::open(path).await.map_err(|e| StoreError::file("open", path, e))?;
        let lines = BufReader::with_capacity(1 << 16, file);
        let mut reader = Self { path: path.to_owned(), lines, hash: Sha256::new(), buffer: Vec::new() };
        if !reader.read().await? {
            return Err(bad(path, "is empty"));
        }
        let header: Header =
            serde_json::from_slice(&reader.buffer).map_err(|_| bad(path, "is no backup of panda"))?;
        if header.panda_backup != FORMAT {
            return Err(bad(path, format!("has the unknown format {}", header.panda_backup)));
        }
        reader.hash.update(&reader.buffer);
        Ok((reader, header))
    }

    /// Returns the next line; `None` behind the last.
    pub(super) async fn next(&mut self) -> Result<Option<Line>> {
        if !self.read().await? {
            return Ok(None);
        }
        let line =
            serde_json::from_slice(&self.buffer).map_err(|_| bad(&self.path, "is damaged or cut off"))?;
        if !matches!(line, Line::End(_)) {
            self.hash.update(&self.buffer);
        }
        Ok(Some(line))
    }

    async fn read(&mut self) -> Result<bool> {
        self.buffer.clear();
        let read = self.lines.read_until(b'\n', &mut self.buffer).await;
        Ok(read.map_err(|e| StoreError::file("read", &self.path, e))? > 0)
    }
}

/// Reads all of a backup, and checks its sum and its counts.
pub(super) async fn verify(path: &Path) -> Result<(Header, End)> {
    let (mut reader, header) = Reader::open(path).await?;
    let (mut tables, mut files): (BTreeMap<String, u64>, u64) = (BTreeMap::new(), 0);
    let mut table = None;
    let end = loop {
        match reader.next().await? {
            Some(Line::Table(name, _)) => {
                tables.insert(name.clone(), 0);
                table = Some(name);
            }
            Some(Line::Row(_)) => {
                let count = table.as_ref().and_then(|name| tables.get_mut(name));
                *count.ok_or_else(|| bad(path, "has a row before its table"))? += 1;
            }
            Some(Line::File(..)) => files += 1,
            Some(Line::Data(_)) => {}
            Some(Line::End(end)) => break end,
            None => return Err(bad(path, "is cut off: its last line is missing")),
        }
    };
    if reader.next().await?.is_some() {
        return Err(bad(path, "goes on after its last line"));
    }
    if hex(&reader.hash.finalize()) != end.sha256 {
        return Err(bad(path, "is damaged: its checksum is wrong"));
    }
    if tables != end.tables || files != end.files {
        return Err(bad(path, "holds other rows or files than its last line says"));
    }
    Ok((header, end))
}

pub(super) fn bad(path: &Path, problem: impl Into<String>) -> StoreError {
    StoreError::BadBackup { path: path.to_owned(), problem: problem.into() }
}
