//! The garbage reconciler: a long-running installation doesn't grow without end, and what belongs to nobody goes.
//!
//! What somebody may want back stays: the newest releases of each app and environment with source, build log and image,
//! and everything that is in use. Events, the audit log, always stay, and so do volumes. Each step decides by what the
//! state says in the same transaction in which it takes something away, removes a bounded number, and may be cut anywhere:
//! rows go before the files and images that only they named, and those are found again by having no row.

mod builds;
mod certificates;
mod error;
mod images;
mod orphans;
mod registry;
mod rows;
mod tally;
mod uploads;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};
use panda_jobs::{Outcome, Reconciler};
use panda_registry_token::RegistryKey;
use panda_store::{BlobDir, Store};

use crate::runtime::Runtime;
use error::GarbageError;
use orphans::Sightings;
use registry::ImageRegistry;
use tally::Tally;
use uploads::Sweep;

/// The next pass of a reconciler that didn't get through comes so soon.
const GO_ON: SignedDuration = SignedDuration::from_secs(1);

/// What is kept, how long, and where the files lie.
#[derive(Debug, Clone)]
pub struct GarbageSettings {
    /// So many of the newest releases of each app and environment are kept whole, and as many that were live.
    pub keep_releases: u32,
    /// How long ended jobs, tasks and builds that no kept release needs can still be looked at.
    pub keep: Duration,
    /// Uploads that were used within this time stay: their deploy may be about to come.
    pub upload_grace: Duration,
    /// For how long something at the runtime has to be seen as nobody's before it is removed.
    pub orphan_grace: Duration,
    /// The platform's own host, which always has a certificate.
    pub platform_host: String,
    /// Folder of build logs, `<build id>.log`.
    pub build_logs: PathBuf,
    /// Folder that sources are unpacked in, one folder a build.
    pub work: PathBuf,
    /// Where this process reaches the platform's registry, such as `http://127.0.0.1:7050`.
    pub registry_url: String,
    /// Makes tokens for it, where it wants them.
    pub registry_key: Option<RegistryKey>,
}

/// Takes away what nobody needs any more.
pub struct Garbage {
    store: Store,
    blobs: BlobDir,
    runtime: Arc<dyn Runtime>,
    registry: ImageRegistry,
    settings: GarbageSettings,
    sightings: Mutex<Sightings>,
    sweep: Mutex<Sweep>,
}

impl Garbage {
    /// Makes the reconciler of an installation.
    pub fn new(store: Store, blobs: BlobDir, runtime: Arc<dyn Runtime>, settings: GarbageSettings) -> Self {
        let registry = ImageRegistry::new(&settings.registry_url, settings.registry_key.clone());
        Self {
            store,
            blobs,
            runtime,
            registry,
            settings,
            sightings: Mutex::default(),
            sweep: Mutex::default(),
        }
    }

    /// Returns the time that lies `span` back.
    fn ago(&self, span: Duration) -> Timestamp {
        let span = SignedDuration::try_from(span).unwrap_or(SignedDuration::MAX);
        self.store.clock().now().checked_sub(span).unwrap_or(Timestamp::MIN)
    }

    /// The steps, in an order in which one leaves the next its work. One that fails holds up none of the others.
    fn steps(&self) -> [(&'static str, BoxFuture<'_, Result<Tally, GarbageError>>); 8] {
        [
            ("rows", self.rows().boxed()),
            ("builds", self.builds().boxed()),
            ("build files", self.build_files().boxed()),
            ("registry", self.doomed_images().boxed()),
            ("uploads", self.uploads().boxed()),
            ("runtime", self.orphans().boxed()),
            ("engine images", self.old_images().boxed()),
            ("certificates", self.certificates().boxed()),
        ]
    }
}

#[async_trait]
impl Reconciler for Garbage {
    fn name(&self) -> &'static str {
        "garbage"
    }

    async fn activate(&self) -> Outcome {
        let (mut all, mut failed) = (Tally::default(), None);
        for (object, step) in self.steps() {
            match step.await {
                Ok(tally) => all.add(tally),
                Err(error) => failed = failed.or_else(|| Some(Outcome::failed(object, &error))),
            }
        }
        if !all.is_empty() {
            tracing::info!("took away what nobody needs any more: {all}");
        }
        match failed {
            Some(failed) => failed,
            None if all.more => Outcome::Waiting { until: self.store.clock().now() + GO_ON },
            None if all.is_empty() => Outcome::Skipped,
            None => Outcome::Applied,
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
