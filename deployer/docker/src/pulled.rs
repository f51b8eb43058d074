//! Which images this driver pulled, so that they can be removed again, and nobody else's.
//!
//! The engine doesn't tell who pulled an image. A name is noted after a pull only if the engine didn't know it before; what
//! was there stays, and so does a name that a person gives an image later: the engine drops an image with its last name.

use std::collections::{BTreeMap, HashSet};

use bollard::query_parameters::RemoveImageOptions;
use jiff::Timestamp;
use panda_deployer::runtime::{RuntimeError, RuntimeResult};
use panda_domain::image::Digest;
use serde::{Deserialize, Serialize};

use crate::engine::Engine;
use crate::images;
use crate::runtime::Driver;
use crate::state_file::Kept;

/// Names that one call removes at most.
const AT_ONCE: u64 = 20;
/// How often the time of the last use is written.
const USE_STEP_MS: i64 = 10 * 60 * 1000;

/// Names of images as the engine knows them, `repository:tag` or `repository@digest`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Pulled(BTreeMap<String, Pull>);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Pull {
    digest: Digest,
    used_ms: i64,
}

impl Pulled {
    /// Tells whether a name came by a pull of ours.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Returns names of images that aren't among `keep` and weren't used since `since_ms`, those of tags first: with its last
    /// tag an image goes whole.
    fn old(&self, keep: &HashSet<Digest>, since_ms: i64) -> Vec<String> {
        let old = self.0.iter().filter(|(_, pull)| pull.used_ms < since_ms && !keep.contains(&pull.digest));
        let mut names: Vec<String> = old.map(|(name, _)| name.clone()).collect();
        names.sort_by_key(|name| name.contains('@'));
        names
    }

    fn is_stale(&self, name: &str, now_ms: i64) -> bool {
        self.0.get(name).is_some_and(|pull| now_ms - pull.used_ms >= USE_STEP_MS)
    }
}

/// Notes names that a pull brought.
pub(crate) async fn note(
    pulled: &Kept<Pulled>,
    names: Vec<String>,
    digest: Digest,
    now_ms: i64,
) -> RuntimeResult<()> {
    pulled
        .change(move |pulled| {
            for name in names {
                pulled.0.insert(name, Pull { digest: digest.clone(), used_ms: now_ms });
            }
            Ok(())
        })
        .await
}

/// Notes that somebody asked for an image that is there.
pub(crate) async fn used(pulled: &Kept<Pulled>, name: &str, now_ms: i64) -> RuntimeResult<()> {
    if !pulled.look(|pulled| pulled.is_stale(name, now_ms)) {
        return Ok(());
    }
    let name = name.to_owned();
    pulled
        .change(move |pulled| {
            if let Some(pull) = pulled.0.get_mut(&name) {
                pull.used_ms = now_ms;
            }
            Ok(())
        })
        .await
}

impl Driver {
    /// Removes names that came by our pulls, but none of an image that any container has, running or not. The engine itself
    /// would only refuse to take the last one.
    pub(crate) async fn remove_old_images(
        &self,
        keep: &HashSet<Digest>,
        unused_since: Timestamp,
    ) -> RuntimeResult<u64> {
        let old = self.pulled.look(|pulled| pulled.old(keep, unused_since.as_millisecond()));
        if old.is_empty() {
            return Ok(0);
        }
        let containers = self.list(Vec::new()).await?;
        let used: HashSet<String> = containers.into_iter().filter_map(|summary| summary.image_id).collect();
        let mut removed = 0;
        for name in old {
            let image = images::inspect(&self.engine, &name).await?;
            let id = image.and_then(|image| image.id);
            let runs = id.as_ref().is_some_and(|id| used.contains(id));
            if runs || (id.is_some() && !remove(&self.engine, &name).await?) {
                continue;
            }
            removed += u64::from(id.is_some());
            self.pulled
                .change(move |pulled| {
                    pulled.0.remove(&name);
                    Ok(())
                })
                .await?;
            if removed >= AT_ONCE {
                break;
            }
        }
        Ok(removed)
    }
}

/// Takes a name away, and with its last name the image. Returns false if a container took the image meanwhile.
async fn remove(engine: &Engine, name: &str) -> RuntimeResult<bool> {
    let options = RemoveImageOptions { force: false, noprune: false, ..RemoveImageOptions::default() };
    let call = engine.docker.remove_image(name, Some(options), None);
    match engine.call(format!("remove image `{name}`"), call).await {
        // Gone already: somebody else took it away.
        Ok(_) | Err(RuntimeError::NotFound { .. }) => Ok(true),
        Err(RuntimeError::Conflict { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(n: u8) -> Digest {
        format!("sha256:{n:064}").parse().unwrap()
    }

    #[test]
    fn only_what_is_neither_kept_nor_used_lately_is_old_and_tags_come_first() {
        let names = [("a@sha256:1", 1, 5), ("a:tag", 1, 5), ("b:tag", 2, 5), ("c:tag", 3, 50)];
        let pulled = Pulled(
            names.map(|(name, n, used_ms)| (name.to_owned(), Pull { digest: digest(n), used_ms })).into(),
        );
        assert_eq!(pulled.old(&[digest(2)].into(), 50), ["a:tag", "a@sha256:1"]);
        assert!(pulled.old(&HashSet::new(), 5).is_empty());
        assert!(pulled.is_stale("c:tag", 50 + USE_STEP_MS) && !pulled.is_stale("c:tag", 51));
        assert!(!pulled.is_stale("nobody's", i64::MAX));
    }
}
