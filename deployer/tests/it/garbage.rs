//! The garbage reconciler on a real store, a real folder of uploads and the runtime in memory: what goes and what stays.

mod builds;
mod orphans;
mod uploads;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use panda_deployer::garbage::{Garbage, GarbageSettings};
use panda_deployer::runtime::fake::Behaviour;
use panda_domain::deployment::Trigger;
use panda_domain::ids::{BuildId, DeploymentId};
use panda_domain::source::Source;
use panda_domain::source_tree::{ContentHash, SourceEntry, SourceKind, SourceManifest};
use panda_jobs::{Outcome, Reconciler};
use panda_store::{BlobDir, NewRelease};

use crate::support::{Rig, copy_of};

const DAY: Duration = Duration::from_hours(24);
/// Nobody listens there.
const NOBODY: &str = "http://127.0.0.1:9";

struct Yard {
    rig: Rig,
    blobs: BlobDir,
    settings: GarbageSettings,
    garbage: Garbage,
}

impl Yard {
    async fn new() -> Self {
        Self::with_registry(NOBODY).await
    }

    async fn with_registry(url: &str) -> Self {
        let rig = Rig::new().await;
        for digit in ['1', '2', '3'] {
            rig.image(digit, Behaviour::default());
        }
        let folder = rig.test.folder();
        let settings = GarbageSettings {
            keep_releases: 2,
            keep: 7 * DAY,
            upload_grace: DAY,
            orphan_grace: Duration::from_mins(5),
            platform_host: "panda.localhost".to_owned(),
            build_logs: folder.join("builds"),
            work: folder.join("work"),
            registry_url: url.to_owned(),
            registry_key: None,
        };
        for folder in [&settings.build_logs, &settings.work] {
            std::fs::create_dir(folder).unwrap();
        }
        let blobs = BlobDir::open(folder.join("blobs")).await.unwrap();
        let garbage = garbage(&rig, &blobs, &settings);
        Self { rig, blobs, settings, garbage }
    }

    /// Looks until there is nothing more to do at once.
    async fn tidy(&self) -> Outcome {
        loop {
            let outcome = self.garbage.activate().await;
            if !matches!(outcome, Outcome::Waiting { .. }) {
                return outcome;
            }
        }
    }

    fn pass(&self, time: Duration) {
        self.rig.test.clock.advance(time);
    }

    /// Announces a directory with these files, as the API does. Returns its name and what is missing.
    async fn announce(&self, files: &[&str]) -> (String, Vec<String>) {
        let entry = |text: &&str| SourceEntry {
            path: (*text).to_owned(),
            kind: SourceKind::File {
                executable: false,
                size: text.len() as u64,
                sha256: ContentHash::of(text.as_bytes()),
            },
        };
        let manifest = SourceManifest::new(files.iter().map(entry).collect()).unwrap();
        let tree = manifest.tree_hash().to_string();
        let listing = serde_json::to_string(&manifest).unwrap();
        let _writing = self.blobs.writing(&tree).await.unwrap();
        self.blobs.put_listing(&self.rig.team.id, &tree, listing.as_bytes()).await.unwrap();
        let hashes: Vec<String> = files.iter().map(|text| hash(text)).collect();
        let mut tx = self.rig.store().begin().await.unwrap();
        tx.add_tree(&self.rig.team.id, &tree, 1, files.len() as u64).await.unwrap();
        let have = tx.have_blobs(&self.rig.team.id, &hashes).await.unwrap();
        tx.commit().await.unwrap();
        (tree, hashes.into_iter().filter(|hash| !have.contains(hash)).collect())
    }

    /// Sends a file, as the API takes it.
    async fn send(&self, text: &str) {
        let hash = hash(text);
        let _writing = self.blobs.writing(&hash).await.unwrap();
        self.blobs.put_stream(&hash, 1000, text.as_bytes()).await.unwrap();
        let mut tx = self.rig.store().begin().await.unwrap();
        tx.add_blob(&self.rig.team.id, &hash, text.len() as u64).await.unwrap();
        tx.commit().await.unwrap();
    }

    async fn upload(&self, files: &[&str]) -> String {
        let (tree, missing) = self.announce(files).await;
        for text in files.iter().filter(|text| missing.contains(&hash(text))) {
            self.send(text).await;
        }
        tree
    }

    /// Accepts a deployment of a directory, as the API does; `None` when the directory is gone.
    async fn accept(&self, tree: &str) -> Option<DeploymentId> {
        let mut tx = self.rig.store().begin().await.unwrap();
        if !tx.touch_tree(&self.rig.team.id, tree).await.unwrap() {
            return None;
        }
        let new = self.rig.new_deployment(Trigger::Deploy, source_of(tree), "{}", 0);
        let made = tx.insert_deployment(&new).await.unwrap();
        tx.commit().await.unwrap();
        Some(made.id)
    }

    /// Makes a release like the one that serves, of another source or build.
    async fn release(&self, change: impl FnOnce(NewRelease) -> NewRelease) {
        let serving = self.rig.row().await.placement.last_good_release.unwrap();
        let mut tx = self.rig.store().begin().await.unwrap();
        let serving = tx.release_by_id(&serving).await.unwrap().unwrap();
        tx.insert_release(&change(copy_of(&serving))).await.unwrap();
        tx.commit().await.unwrap();
    }

    /// Which of these files are there, with row and bytes.
    async fn there(&self, files: &[&str]) -> Vec<String> {
        let mut there = Vec::new();
        for text in files {
            let hash = hash(text);
            let mut tx = self.rig.store().read().await.unwrap();
            let row =
                !tx.have_blobs(&self.rig.team.id, std::slice::from_ref(&hash)).await.unwrap().is_empty();
            assert_eq!(row, self.blobs.has(&hash).await.unwrap(), "row and bytes of `{text}` go together");
            if row {
                there.push((*text).to_owned());
            }
        }
        there
    }

    async fn has_tree(&self, tree: &str) -> bool {
        let row = self.rig.store().read().await.unwrap().has_tree(&self.rig.team.id, tree).await.unwrap();
        let listing = self.blobs.listing(&self.rig.team.id, tree).await.unwrap();
        assert_eq!(row, listing.is_some(), "row and listing go together");
        row
    }

    fn log(&self, build: &BuildId) -> PathBuf {
        self.settings.build_logs.join(format!("{build}.log"))
    }
}

fn garbage(rig: &Rig, blobs: &BlobDir, settings: &GarbageSettings) -> Garbage {
    Garbage::new(rig.store().clone(), blobs.clone(), Arc::new(rig.fake.clone()), settings.clone())
}

/// A minute less.
fn almost(time: Duration) -> Duration {
    time.saturating_sub(Duration::from_mins(1))
}

fn hash(text: &str) -> String {
    ContentHash::of(text.as_bytes()).to_string()
}

fn source_of(tree: &str) -> Source {
    Source::Upload { tree: tree.to_owned(), git_sha: None }
}
