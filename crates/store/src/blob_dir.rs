//! The folder with uploaded bytes: each file named by the hash of its content, whole or not there.

mod shards;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use panda_domain::ids::TeamId;
use sha2::{Digest as _, Sha256};
use tokio::fs;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::RwLock;

pub use shards::{SHARDS, Shard, Writing};

/// What went wrong with a blob.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// The bytes aren't those that the name promises.
    #[error("content `{sha256}` arrived with the hash `{found}`")]
    WrongHash {
        /// The promised hash, hex.
        sha256: String,
        /// The hash of what came.
        found: String,
    },
    /// More bytes than announced.
    #[error("content `{sha256}` is larger than {limit} bytes")]
    TooLarge {
        /// The hash, hex.
        sha256: String,
        /// Bytes allowed.
        limit: u64,
    },
    /// Something that isn't 64 hex digits.
    #[error("`{0}` is no SHA-256 in hex")]
    NoHash(String),
    /// The sender stopped half way.
    #[error("receive content `{sha256}`")]
    Cut {
        /// The hash, hex.
        sha256: String,
        /// What the connection said.
        #[source]
        source: std::io::Error,
    },
    /// The disk is full.
    #[error("the disk of the uploads is full")]
    DiskFull,
    /// A file can't be read or written.
    #[error("{what} `{path}`", path = path.display())]
    File {
        /// What was tried.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

/// A folder of blobs. One process writes into it; clones share the locks.
#[derive(Debug, Clone)]
pub struct BlobDir {
    root: PathBuf,
    shards: Arc<[Arc<RwLock<()>>]>,
}

impl BlobDir {
    /// Opens the folder, makes it if needed, and clears what an interrupted upload left.
    pub async fn open(root: impl Into<PathBuf>) -> Result<Self, BlobError> {
        let root = root.into();
        let incoming = root.join("incoming");
        match fs::remove_dir_all(&incoming).await {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(file("clear", &incoming, e)),
            _ => {}
        }
        fs::create_dir_all(&incoming).await.map_err(|e| file("create", &incoming, e))?;
        Ok(Self { root, shards: (0..SHARDS).map(|_| Arc::default()).collect() })
    }

    /// Returns where the content with this hash lies or would lie.
    pub fn path(&self, sha256: &str) -> Result<PathBuf, BlobError> {
        let hex = sha256.strip_prefix("sha256:").unwrap_or(sha256);
        let fine = hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if fine {
            Ok(self.root.join(&hex[..2]).join(hex))
        } else {
            Err(BlobError::NoHash(sha256.chars().take(80).collect()))
        }
    }

    /// Tells whether the content is there.
    pub async fn has(&self, sha256: &str) -> Result<bool, BlobError> {
        let path = self.path(sha256)?;
        fs::try_exists(&path).await.map_err(|e| file("look at", &path, e))
    }

    /// Keeps what `bytes` gives, if its hash is `sha256` and it has at most `limit` bytes. Returns its length in bytes.
    ///
    /// Content that is there already is read to its end and checked all the same. It is durable on return.
    pub async fn put_stream(
        &self,
        sha256: &str,
        limit: u64,
        bytes: impl AsyncRead + Unpin,
    ) -> Result<u64, BlobError> {
        let path = self.path(sha256)?;
        let temporary = self.root.join("incoming").join(format!("{:032x}", rand::random::<u128>()));
        let received = receive(sha256, limit, bytes, &temporary).await;
        let size = match received {
            Ok(size) => size,
            Err(error) => {
                // Whether or not it can be removed, the first error is what counts; `open` clears the rest.
                let _ = fs::remove_file(&temporary).await;
                return Err(error);
            }
        };
        let folder = path.parent().expect("a blob's path has the folder of its first two digits");
        fs::create_dir_all(folder).await.map_err(|e| file("create", folder, e))?;
        fs::rename(&temporary, &path).await.map_err(|e| file("rename", &path, e))?;
        for synced in [folder, &self.root] {
            let handle = fs::File::open(synced).await.map_err(|e| file("open", synced, e))?;
            handle.sync_all().await.map_err(|e| file("sync", synced, e))?;
        }
        Ok(size)
    }

    /// Opens the content for reading; `None` if it isn't there.
    pub async fn open_blob(&self, sha256: &str) -> Result<Option<fs::File>, BlobError> {
        let path = self.path(sha256)?;
        match fs::File::open(&path).await {
            Ok(handle) => Ok(Some(handle)),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(file("open", &path, e)),
        }
    }

    /// Keeps the listing of a team's directory. Durable on return; twice is once.
    pub async fn put_listing(&self, team: &TeamId, tree: &str, listing: &[u8]) -> Result<(), BlobError> {
        let path = self.listing_path(team, tree)?;
        let temporary = self.root.join("incoming").join(format!("{:032x}", rand::random::<u128>()));
        let folder = path.parent().expect("a listing lies in its team's folder");
        fs::create_dir_all(folder).await.map_err(|e| file("create", folder, e))?;
        let mut out = fs::File::create(&temporary).await.map_err(|e| file("write", &temporary, e))?;
        out.write_all(listing).await.map_err(|e| file("write", &temporary, e))?;
        out.sync_all().await.map_err(|e| file("sync", &temporary, e))?;
        fs::rename(&temporary, &path).await.map_err(|e| file("rename", &path, e))?;
        let handle = fs::File::open(folder).await.map_err(|e| file("open", folder, e))?;
        handle.sync_all().await.map_err(|e| file("sync", folder, e))
    }

    /// Returns the listing of a team's directory; `None` if it isn't there.
    pub async fn listing(&self, team: &TeamId, tree: &str) -> Result<Option<Vec<u8>>, BlobError> {
        let path = self.listing_path(team, tree)?;
        match fs::read(&path).await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(file("read", &path, e)),
        }
    }

    fn listing_path(&self, team: &TeamId, tree: &str) -> Result<PathBuf, BlobError> {
        let content = self.path(tree)?;
        let name = content.file_name().expect("a blob's path ends with its hash");
        Ok(self.root.join("trees").join(team.as_str()).join(name))
    }

    /// Returns the folder, which the builder reads contents from.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Removes the content. Nothing happens if it isn't there.
    pub async fn remove(&self, sha256: &str) -> Result<(), BlobError> {
        remove_file(&self.path(sha256)?).await
    }
}

async fn remove_file(path: &Path) -> Result<(), BlobError> {
    match fs::remove_file(path).await {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(file("remove", path, e)),
        _ => Ok(()),
    }
}

async fn receive(
    sha256: &str,
    limit: u64,
    mut bytes: impl AsyncRead + Unpin,
    temporary: &Path,
) -> Result<u64, BlobError> {
    let failed = |e| file("write", temporary, e);
    let mut out = fs::File::create(temporary).await.map_err(failed)?;
    let mut hash = Sha256::new();
    let mut size = 0u64;
    let mut buffer = vec![0; 64 << 10];
    loop {
        let read = bytes.read(&mut buffer).await;
        let n = read.map_err(|source| BlobError::Cut { sha256: sha256.to_owned(), source })?;
        if n == 0 {
            break;
        }
        size += n as u64;
        if size > limit {
            return Err(BlobError::TooLarge { sha256: sha256.to_owned(), limit });
        }
        hash.update(&buffer[..n]);
        out.write_all(&buffer[..n]).await.map_err(failed)?;
    }
    out.flush().await.map_err(failed)?;
    out.sync_all().await.map_err(failed)?;
    let found = hex(&hash.finalize());
    if sha256.strip_prefix("sha256:").unwrap_or(sha256) == found {
        Ok(size)
    } else {
        Err(BlobError::WrongHash { sha256: sha256.to_owned(), found })
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing into a string can't fail");
        text
    })
}

fn file(what: &'static str, path: &Path, source: std::io::Error) -> BlobError {
    match source.kind() {
        std::io::ErrorKind::StorageFull => BlobError::DiskFull,
        _ => BlobError::File { what, path: path.to_owned(), source },
    }
}
