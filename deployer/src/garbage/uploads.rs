//! Uploaded directories and their contents.
//!
//! A directory goes when it wasn't used for a while and neither a kept release nor a deployment under way needs it; accepting
//! a deploy marks its directory as used in its own transaction. A content goes when no directory of its team has it. Files go
//! when they have no row, while nobody can be writing there.

use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

use jiff::Timestamp;
use panda_domain::ids::TeamId;
use panda_domain::source::Source;
use panda_domain::source_tree::SourceManifest;
use panda_store::{SHARDS, Tx};

use super::error::GarbageError;
use super::tally::Tally;
use super::{Garbage, lock};

/// Directories that one transaction forgets at most.
const TREES: u32 = 100;
/// Contents that one transaction forgets at most.
const CONTENTS: u32 = 500;
/// Contents that one pass forgets at most.
const CONTENTS_AT_ONCE: u64 = 5000;
/// Contents become garbage when a directory goes; what a crash left is found by a look so often.
const FULL_LOOK: Duration = Duration::from_hours(24);

/// When everything was looked at last, `None` while something is left. Lost with the server: then everything is.
#[derive(Debug, Default)]
pub(super) struct Sweep {
    contents: Option<Timestamp>,
    files: Option<Timestamp>,
}

impl Garbage {
    /// Forgets directories, then contents, then removes files.
    pub(super) async fn uploads(&self) -> Result<Tally, GarbageError> {
        let before = self.ago(self.settings.upload_grace);
        let mut all = self.trees(before).await?;
        if !all.is_empty() {
            // Noted before the work, so that a pass that fails on the way is made up for.
            *lock(&self.sweep) = Sweep::default();
        }
        let looked_at = lock(&self.sweep).contents;
        if self.is_due(looked_at) {
            lock(&self.sweep).files = None;
            let tally = self.contents(before).await?;
            let now = self.store.clock().now();
            lock(&self.sweep).contents = (!tally.more).then_some(now);
            all.add(tally);
        }
        let looked_at = lock(&self.sweep).files;
        if self.is_due(looked_at) {
            let (tally, complete) = self.files().await?;
            let now = self.store.clock().now();
            lock(&self.sweep).files = complete.then_some(now);
            all.add(tally);
        }
        Ok(all)
    }

    fn is_due(&self, looked_at: Option<Timestamp>) -> bool {
        looked_at.is_none_or(|at| at <= self.ago(FULL_LOOK))
    }

    async fn trees(&self, before: Timestamp) -> Result<Tally, GarbageError> {
        let mut tx = self.store.read().await?;
        let needed = self.needed_trees(&mut tx).await?;
        let unused = tx.unused_trees(before, &needed, TREES).await?;
        drop(tx);
        let mut tally = Tally::bounded(unused.len() == TREES as usize);
        if unused.is_empty() {
            return Ok(tally);
        }
        // Once more in the transaction that forgets: a deployment may have come meanwhile.
        let mut tx = self.store.begin().await?;
        let needed = self.needed_trees(&mut tx).await?;
        for row in unused {
            let key = (row.team, row.tree);
            if !needed.contains(&key) && tx.delete_tree(&key.0, &key.1, before).await? {
                tally.count("uploaded directories", 1);
            }
        }
        tx.commit().await?;
        Ok(tally)
    }

    async fn needed_trees(&self, tx: &mut Tx) -> Result<BTreeSet<(TeamId, String)>, GarbageError> {
        let kept = tx.kept_releases(self.settings.keep_releases).await?;
        let active = tx.active_deployments().await?;
        let sources = kept
            .into_iter()
            .map(|release| (release.team, release.source))
            .chain(active.into_iter().map(|deployment| (deployment.team, deployment.source)));
        let trees = sources.filter_map(|(team, source)| match source {
            Source::Upload { tree, .. } => Some((team, tree)),
            Source::Image { .. } | Source::Release { .. } => None,
        });
        Ok(trees.collect())
    }

    async fn contents(&self, before: Timestamp) -> Result<Tally, GarbageError> {
        let mut tally = Tally::default();
        let teams = self.store.read().await?.teams().await?;
        for team in teams {
            let left = CONTENTS_AT_ONCE.saturating_sub(tally.total());
            tally.add(self.contents_of(&team.id, before, left).await?);
        }
        Ok(tally)
    }

    async fn contents_of(&self, team: &TeamId, before: Timestamp, most: u64) -> Result<Tally, GarbageError> {
        let mut tally = Tally::default();
        let trees = self.store.read().await?.trees_of(team).await?;
        let needed = self.contents_of_trees(team, &trees).await?;
        let mut after = String::new();
        loop {
            let page = self.store.read().await?.unused_blobs(team, before, &after, CONTENTS).await?;
            let Some(last) = page.last() else { return Ok(tally) };
            after.clone_from(&last.sha256);
            let unneeded: Vec<String> =
                page.into_iter().map(|row| row.sha256).filter(|hash| !needed.contains(hash)).collect();
            if unneeded.is_empty() {
                continue;
            }
            if tally.total() >= most {
                tally.more = true;
                return Ok(tally);
            }
            let mut tx = self.store.begin().await?;
            let forgotten = tx.delete_blobs(team, &unneeded, &trees, before).await?;
            tx.commit().await?;
            tally.count("uploaded files", forgotten);
            if forgotten == 0 {
                // A directory came meanwhile: what it needs has to be read first.
                tally.more = true;
                return Ok(tally);
            }
        }
    }

    /// Returns the hashes of all contents of these directories. One that can't be read is an error: what isn't known to be
    /// unneeded stays.
    async fn contents_of_trees(
        &self,
        team: &TeamId,
        trees: &BTreeSet<String>,
    ) -> Result<HashSet<String>, GarbageError> {
        let mut needed = HashSet::new();
        for tree in trees {
            let unreadable = || GarbageError::Listing { team: team.clone(), tree: tree.clone() };
            let listing = self.blobs.listing(team, tree).await?.ok_or_else(unreadable)?;
            let read =
                tokio::task::spawn_blocking(move || serde_json::from_slice::<SourceManifest>(&listing));
            let manifest = read.await.map_err(|_| unreadable())?.map_err(|_| unreadable())?;
            needed.extend(manifest.files().map(|(_, _, hash)| hash.to_string()));
        }
        Ok(needed)
    }

    /// Removes files without a row. Returns whether it looked everywhere: where something is being written it doesn't.
    async fn files(&self) -> Result<(Tally, bool), GarbageError> {
        let (mut tally, mut complete) = (Tally::default(), true);
        for shard in 0..SHARDS {
            let Some(shard) = self.blobs.lock_shard(shard) else {
                complete = false;
                continue;
            };
            let there = self.blobs.contents(&shard).await?;
            if there.is_empty() {
                continue;
            }
            let known = self.store.read().await?.known_blobs(&there).await?;
            for hash in there.iter().filter(|hash| !known.contains(*hash)) {
                self.blobs.remove(hash).await?;
                tally.count("files of uploads", 1);
            }
        }
        for (team, hash) in self.blobs.listings().await? {
            let tree = format!("sha256:{hash}");
            if self.store.read().await?.has_tree(&team, &tree).await? {
                continue;
            }
            let shard = self.blobs.shard_of(&hash).ok().and_then(|shard| self.blobs.lock_shard(shard));
            let Some(_shard) = shard else {
                complete = false;
                continue;
            };
            // Now that nobody can be between the file and its row.
            if !self.store.read().await?.has_tree(&team, &tree).await? {
                self.blobs.remove_listing(&team, &tree).await?;
                tally.count("listings of uploads", 1);
            }
        }
        Ok((tally, complete))
    }
}
