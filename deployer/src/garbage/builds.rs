//! Builds that no kept release needs, what they left on disk, and their images in the platform's registry.

use std::collections::HashMap;
use std::path::Path;

use panda_domain::ids::BuildId;

use super::Garbage;
use super::error::GarbageError;
use super::registry::{Deleted, RegistryError};
use super::tally::Tally;

/// Builds that one pass forgets at most, each in a transaction of its own.
const BUILDS: u32 = 50;
/// Ids that the state is asked about at once.
const IDS: usize = 500;
/// Images that one pass deletes from the registry at most.
const IMAGES: u32 = 50;

impl Garbage {
    /// Forgets builds. In the same transaction the image is listed as to be deleted, if nothing else has it.
    pub(super) async fn builds(&self) -> Result<Tally, GarbageError> {
        let (keep, before) = (self.settings.keep_releases, self.ago(self.settings.keep));
        let unneeded = self.store.read().await?.unneeded_builds(keep, before, BUILDS).await?;
        let mut tally = Tally::bounded(unneeded.len() == BUILDS as usize);
        for build in &unneeded {
            let mut tx = self.store.begin().await?;
            tally.count("builds", u64::from(tx.delete_unneeded_build(build, keep, before).await?));
            tx.commit().await?;
        }
        Ok(tally)
    }

    /// Removes logs of builds that are forgotten, and sources that a build left unpacked when its server died. A build's row
    /// is there before its first file, so files are listed first and rows are asked afterwards.
    pub(super) async fn build_files(&self) -> Result<Tally, GarbageError> {
        let mut tally = Tally::default();
        let logs = names(&self.settings.build_logs).await?;
        let of_log = |name: &str| name.strip_suffix(".log").and_then(|id| id.parse().ok());
        let logs: Vec<(String, BuildId)> =
            logs.into_iter().filter_map(|name| of_log(&name).map(|id| (name, id))).collect();
        let known = self.known(&logs).await?;
        for (name, _) in logs.iter().filter(|(_, build)| !known.contains_key(build)) {
            let path = self.settings.build_logs.join(name);
            gone("remove the log", &path, tokio::fs::remove_file(&path).await)?;
            tally.count("build logs", 1);
        }
        let sources = names(&self.settings.work).await?;
        let sources: Vec<(String, BuildId)> =
            sources.into_iter().filter_map(|name| name.parse().ok().map(|id| (name, id))).collect();
        let known = self.known(&sources).await?;
        for (name, _) in sources.iter().filter(|(_, build)| known.get(build) != Some(&true)) {
            let path = self.settings.work.join(name);
            gone("remove the folder", &path, tokio::fs::remove_dir_all(&path).await)?;
            tally.count("unpacked sources", 1);
        }
        Ok(tally)
    }

    /// Returns which builds have a row, and whether they still run.
    async fn known(&self, named: &[(String, BuildId)]) -> Result<HashMap<BuildId, bool>, GarbageError> {
        let mut known = HashMap::new();
        for some in named.chunks(IDS) {
            let ids: Vec<BuildId> = some.iter().map(|(_, id)| id.clone()).collect();
            known.extend(self.store.read().await?.known_builds(&ids).await?);
        }
        Ok(known)
    }

    /// Deletes the manifests of listed images. Those that the registry doesn't answer about stay listed. The registry's own
    /// garbage collection frees the layers: docs/operating.md.
    pub(super) async fn doomed_images(&self) -> Result<Tally, GarbageError> {
        let mut tally = Tally::default();
        if !self.store.read().await?.has_doomed_images().await? {
            return Ok(tally);
        }
        // None is taken while it is away: a build that pushes the same image again would wait for the deletion's end.
        self.registry.check().await?;
        let mut tx = self.store.begin().await?;
        let doomed = tx.take_doomed_images(self.settings.keep_releases, IMAGES).await?;
        tx.commit().await?;
        tally.more = doomed.len() == IMAGES as usize;
        let mut failed = None;
        for image in &doomed {
            let deleted = match self.registry.delete(image).await {
                // One that it stumbles over holds up none of the others.
                Err(error @ RegistryError::Trouble { .. }) => {
                    failed = failed.or(Some(error));
                    continue;
                }
                deleted => deleted?,
            };
            match deleted {
                Deleted::Gone => tally.count("images in the registry", 1),
                Deleted::Refused(status) => tracing::warn!(
                    "the registry keeps `{}@{}`: it answers {status} to its deletion",
                    image.repository,
                    image.digest
                ),
            }
            let mut tx = self.store.begin().await?;
            tx.forget_doomed_image(image).await?;
            tx.commit().await?;
        }
        failed.map_or(Ok(tally), |error| Err(error.into()))
    }
}

/// Returns the names in a folder; one that isn't there is empty.
async fn names(folder: &Path) -> Result<Vec<String>, GarbageError> {
    let failed = |source| GarbageError::File { doing: "list", path: folder.to_owned(), source };
    let mut entries = match tokio::fs::read_dir(folder).await {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut names = Vec::new();
    while let Some(entry) = entries.next_entry().await.map_err(failed)? {
        names.extend(entry.file_name().into_string());
    }
    Ok(names)
}

/// What is gone already is fine.
fn gone(doing: &'static str, path: &Path, removed: std::io::Result<()>) -> Result<(), GarbageError> {
    match removed {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            Err(GarbageError::File { doing, path: path.to_owned(), source })
        }
        _ => Ok(()),
    }
}
