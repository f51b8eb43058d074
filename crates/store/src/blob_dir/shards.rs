//! Who may write where files are tidied away, and what lies there.

use std::path::Path;

use panda_domain::ids::TeamId;
use tokio::fs;
use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard};

use super::{BlobDir, BlobError, file, remove_file};

/// Contents lie in so many folders, by the first two digits of their hashes, each with a lock of its own.
pub const SHARDS: usize = 256;

/// Held from before a file is written until the row that needs it is committed: the garbage reconciler, which removes files
/// without rows, leaves the file alone meanwhile.
#[derive(Debug)]
pub struct Writing(#[expect(dead_code, reason = "it is held, not read")] OwnedRwLockReadGuard<()>);

/// The files whose hashes begin with the same two digits, while nobody writes there.
#[derive(Debug)]
pub struct Shard {
    first: u8,
    _locked: OwnedRwLockWriteGuard<()>,
}

impl BlobDir {
    /// Tells that content or a listing of this hash is about to be written. Hold it until the row is committed.
    pub async fn writing(&self, sha256: &str) -> Result<Writing, BlobError> {
        let shard = self.shards[self.shard_of(sha256)?].clone();
        Ok(Writing(shard.read_owned().await))
    }

    /// Returns the shard that a hash belongs to.
    pub fn shard_of(&self, sha256: &str) -> Result<usize, BlobError> {
        let path = self.path(sha256)?;
        let folder = path.parent().and_then(Path::file_name).and_then(|name| name.to_str());
        let first = folder.and_then(|digits| usize::from_str_radix(digits, 16).ok());
        first.ok_or_else(|| BlobError::NoHash(sha256.chars().take(80).collect()))
    }

    /// Locks one of the [`SHARDS`] shards; `None` while something is being written there. Never waits: a slow upload must
    /// hold up nobody.
    pub fn lock_shard(&self, shard: usize) -> Option<Shard> {
        let first = u8::try_from(shard).ok()?;
        let locked = self.shards.get(shard)?.clone().try_write_owned().ok()?;
        Some(Shard { first, _locked: locked })
    }

    /// Returns the hashes of the contents in a shard.
    pub async fn contents(&self, shard: &Shard) -> Result<Vec<String>, BlobError> {
        let names = names(&self.root.join(format!("{:02x}", shard.first))).await?;
        Ok(names.into_iter().filter(|name| self.path(name).is_ok()).collect())
    }

    /// Returns the listings of all teams: whose, and the tree's hash in hex. Something may have been written meanwhile.
    pub async fn listings(&self) -> Result<Vec<(TeamId, String)>, BlobError> {
        let root = self.root.join("trees");
        let mut listings = Vec::new();
        for folder in names(&root).await? {
            let Ok(team) = folder.parse::<TeamId>() else { continue };
            let hashes = names(&root.join(&folder)).await?;
            listings.extend(hashes.into_iter().map(|hash| (team.clone(), hash)));
        }
        Ok(listings)
    }

    /// Removes the listing of a team's directory. Nothing happens if it isn't there.
    pub async fn remove_listing(&self, team: &TeamId, tree: &str) -> Result<(), BlobError> {
        remove_file(&self.listing_path(team, tree)?).await
    }
}

/// Returns the names in a folder; one that isn't there is empty.
async fn names(folder: &Path) -> Result<Vec<String>, BlobError> {
    let failed = |e| file("read", folder, e);
    let mut entries = match fs::read_dir(folder).await {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(failed(e)),
    };
    let mut names = Vec::new();
    while let Some(entry) = entries.next_entry().await.map_err(failed)? {
        names.extend(entry.file_name().into_string());
    }
    Ok(names)
}
