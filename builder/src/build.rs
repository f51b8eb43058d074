//! The one door: a directory and a Dockerfile become an image in the registry.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use panda_domain::failure::FailureCode;
use panda_domain::image::Digest;
use panda_domain::secret::Secret;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::buildkit::log::{Recorder, SharedRecorder, follow, send};
use crate::buildkit::solve::{CacheImage, Prepared, Solve};
use crate::buildkit::{BuildkitConfig, BuildkitError, Buildkitd, Logins, RegistryCredentials, SentFiles};
use crate::dockerfile::{Recipe, SCOPE_ARGUMENT, policy};
use crate::failure::{BuildError, BuildFailure, Ending, classify, push_may_pass};
use crate::log::{BuildEvent, LogLimits, LogSink, Mask, StepTiming, milliseconds};
use crate::registry::{Registry, RegistryProbe};

/// How long the log may take to end after the build has.
const LOG_GRACE: Duration = Duration::from_secs(2);

/// A build to be done.
#[derive(Debug)]
pub struct BuildRequest {
    /// Names the build; becomes the image's tag.
    pub build_id: String,
    /// Separates this app's caches from others'.
    pub app_id: String,
    /// The directory that the Dockerfile copies from.
    pub context: PathBuf,
    /// The Dockerfile to run.
    pub recipe: Recipe,
    /// Build arguments (not secret).
    pub args: BTreeMap<String, String>,
    /// What steps may mount, by name; masked in the log.
    pub secrets: HashMap<String, Secret>,
    /// Changes when a secret does, so that steps with secrets run again; says nothing about the values.
    pub secrets_version: String,
    /// Where to push.
    pub registry: Registry,
    /// The repository's path in the registry, without the host.
    pub repository: String,
    /// Credentials for the registries of base images, by host.
    pub credentials: HashMap<String, RegistryCredentials>,
    /// Whether results of earlier builds may be used.
    pub use_cache: bool,
    /// Where layers of earlier builds are kept besides the daemon's disk.
    pub cache: Option<CacheImage>,
    /// How long the build may take.
    pub deadline: Duration,
    /// How much of the output is kept.
    pub log_limits: LogLimits,
}

/// A finished build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildOutcome {
    /// The image's digest.
    pub digest: Digest,
    /// The repository's path, without a host.
    pub repository: String,
    /// What each step took.
    pub steps: Vec<StepTiming>,
    /// Whether every step's result was there from an earlier build.
    pub cached: bool,
    /// How long the build took, push included, in milliseconds.
    pub duration_ms: u64,
    /// How many files the daemon asked for, those it still had not counted.
    pub sent_files: u64,
    /// How many bytes of files were sent.
    pub sent_bytes: u64,
}

/// Builds images on one buildkitd; cheap to clone.
#[derive(Debug, Clone)]
pub struct Builder {
    daemon: Buildkitd,
    probe: RegistryProbe,
    /// The daemon's memory limit in bytes, for the text of an out-of-memory failure.
    memory_limit: Option<u64>,
}

impl Builder {
    /// Prepares a builder; connects when it is first used. Must be called within a Tokio runtime.
    pub fn new(config: &BuildkitConfig, memory_limit: Option<u64>) -> Result<Self, BuildkitError> {
        Ok(Self { daemon: Buildkitd::new(config)?, probe: RegistryProbe::new(), memory_limit })
    }

    /// Returns the daemon, for its version and health.
    pub fn daemon(&self) -> &Buildkitd {
        &self.daemon
    }

    /// Tells whether an image that was pushed is in the registry.
    pub async fn has_image(
        &self,
        registry: &Registry,
        repository: &str,
        digest: &Digest,
    ) -> Result<bool, BuildFailure> {
        self.probe.has(registry, repository, digest.as_str()).await
    }

    /// Builds and pushes.
    ///
    /// Ends within the deadline. When `cancel` fires, or the future is dropped, the processes of the running
    /// step are killed. A repeated call with the same request finds all steps cached.
    pub async fn build(
        &self,
        request: BuildRequest,
        log: LogSink,
        cancel: CancellationToken,
    ) -> Result<BuildOutcome, BuildError> {
        let started = Instant::now();
        let deadline = tokio::time::Instant::now() + request.deadline;
        let limit = request.deadline;
        let work = Work::new(self, request, log)?;
        // On the heap: the state of a whole build is large for a caller's own future.
        let solving = Box::pin(work.solve_with_retry());
        let ending = tokio::select! {
            biased;
            () = cancel.cancelled() => None,
            () = tokio::time::sleep_until(deadline) => Some(Err(Stop::Ending(Ending::Deadline(limit)))),
            result = solving => Some(result),
        };
        match ending {
            Some(Ok(digest)) => {
                work.close_log().await;
                work.outcome(&digest, started.elapsed()).map_err(Into::into)
            }
            Some(Err(Stop::Failed(failure))) => Err((*failure).into()),
            Some(Err(Stop::Ending(ending))) => {
                // Before the log is closed: a running step is still known as running.
                let evidence = work.recorder.with(|recorder| recorder.evidence());
                work.close_log().await;
                let evidence = match ending {
                    Ending::Deadline(_) => evidence,
                    _ => work.recorder.with(|recorder| recorder.evidence()),
                };
                let failure = classify(&ending, &evidence, self.memory_limit);
                Err(self.make_room(failure).await.into())
            }
            None => {
                work.close_log().await;
                Err(BuildError::Canceled)
            }
        }
    }

    /// Empties the daemon's cache when its disk is full. By itself it would stay full: the daemon keeps what a failed step
    /// wrote, and its own collection leaves a reserve and comes late. Who only prints that text gains nothing: filling the disk
    /// does the same.
    async fn make_room(&self, mut failure: BuildFailure) -> BuildFailure {
        if failure.failure.code != FailureCode::P110 {
            return failure;
        }
        match self.daemon.prune_when_full().await {
            Ok(freed) if freed > 0 => {
                failure.failure.fix = format!(
                    "deploy again: the builder has emptied its cache ({} MB); if it stays, the build is larger than the builder's \
                     disk: ask the operator for more (`panda-server doctor` shows it)",
                    freed >> 20
                );
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "the builder's disk is full and its cache can't be emptied"),
        }
        failure
    }
}

/// Why solving stopped.
enum Stop {
    /// The daemon or the clock ended it.
    Ending(Ending),
    /// It never began.
    Failed(Box<BuildFailure>),
}

impl From<BuildFailure> for Stop {
    fn from(failure: BuildFailure) -> Self {
        Self::Failed(Box::new(failure))
    }
}

/// One build under way.
struct Work<'a> {
    builder: &'a Builder,
    request: BuildRequest,
    log: LogSink,
    recorder: SharedRecorder,
    /// Holds the Dockerfile while the daemon may ask for it.
    directory: tempfile::TempDir,
    secrets: Arc<HashMap<String, Secret>>,
    logins: Arc<Logins>,
    sent: Arc<SentFiles>,
    followers: std::sync::Mutex<Vec<AbortOnDropHandle<()>>>,
}

impl<'a> Work<'a> {
    fn new(builder: &'a Builder, mut request: BuildRequest, log: LogSink) -> Result<Self, BuildFailure> {
        request.recipe.dockerfile = policy::admit(&request.recipe.dockerfile)?;
        policy::check_args(&request.args)?;
        let directory = write_recipe(&request.recipe).map_err(|error| {
            let fix = "ask the operator to check the disk that holds temporary files";
            BuildFailure::transient(
                FailureCode::P110,
                format!("the Dockerfile can't be written: {error}"),
                fix,
            )
        })?;
        let mut repositories = vec![request.repository.clone()];
        let cache = request.cache.as_ref();
        repositories.extend(cache.and_then(|cache| cache.repository_in(&request.registry.host)));
        let logins = request.registry.logins(std::mem::take(&mut request.credentials), repositories)?;
        let secrets = std::mem::take(&mut request.secrets);
        let passwords = logins.passwords.values().map(|credentials| &credentials.password);
        let mask = Mask::new(secrets.values().chain(passwords));
        Ok(Self {
            builder,
            recorder: SharedRecorder::new(Recorder::new(mask, request.log_limits)),
            request,
            log,
            directory,
            secrets: Arc::new(secrets),
            logins: Arc::new(logins),
            sent: Arc::default(),
            followers: std::sync::Mutex::default(),
        })
    }

    /// Solves; a push that failed for a reason that passes is tried once more, with every step cached.
    async fn solve_with_retry(&self) -> Result<String, Stop> {
        // An unreachable registry would show only after the whole build.
        let (registry, first) =
            tokio::join!(self.builder.probe.check(&self.request.registry), self.prepare(1));
        registry?;
        let error = match self.run(first?, 1).await {
            Err(Stop::Ending(Ending::Error(error))) if push_may_pass(&error) => error,
            result => return result,
        };
        let text = format!("the push failed ({}); trying once more", self.recorder.with(|r| r.mask(&error)));
        send(&self.log, vec![BuildEvent::Notice { text }]).await;
        self.run(self.prepare(2).await?, 2).await
    }

    async fn prepare(&self, attempt: u32) -> Result<Prepared, Stop> {
        let request = &self.request;
        let solve = Solve {
            reference: self.reference(attempt),
            app_id: request.app_id.clone(),
            context: request.context.clone(),
            dockerfile: self.directory.path().to_owned(),
            target: request.recipe.target.clone(),
            args: self.args(),
            secrets: self.secrets.clone(),
            logins: self.logins.clone(),
            image: format!("{}/{}:{}", request.registry.host, request.repository, request.build_id),
            insecure: request.registry.insecure,
            use_cache: request.use_cache && attempt == 1 || attempt > 1,
            cache: request.cache.clone(),
            sent: self.sent.clone(),
        };
        solve
            .prepare(&self.builder.daemon)
            .await
            .map_err(|error| Stop::Ending(Ending::Unreachable(error.to_string())))
    }

    fn args(&self) -> BTreeMap<String, String> {
        let mut args = self.request.args.clone();
        let scope = format!("{} {}", self.request.app_id, self.request.secrets_version);
        args.insert(SCOPE_ARGUMENT.to_owned(), scope);
        args
    }

    async fn run(&self, prepared: Prepared, attempt: u32) -> Result<String, Stop> {
        let daemon = &self.builder.daemon;
        let following =
            follow(daemon.clone(), self.reference(attempt), self.recorder.clone(), self.log.clone());
        let handle = AbortOnDropHandle::new(tokio::spawn(following));
        self.followers.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(handle);
        prepared.run(daemon).await.map_err(|status| {
            let text = self.recorder.with(|recorder| recorder.mask(status.message()));
            let gone = matches!(status.code(), tonic::Code::Unavailable)
                || text.contains("transport error")
                || text.contains("error reading a body from connection");
            Stop::Ending(if gone { Ending::Unreachable(text) } else { Ending::Error(text) })
        })
    }

    /// Names one Solve for the daemon: a build that is done again after a crash must not meet its old self.
    fn reference(&self, attempt: u32) -> String {
        format!("{}-{attempt}-{}", self.request.build_id, self.nonce())
    }

    /// The temporary directory's name is random and lives as long as this build.
    fn nonce(&self) -> String {
        let name = self.directory.path().file_name().unwrap_or_default().to_string_lossy();
        name.chars().filter(char::is_ascii_alphanumeric).collect()
    }

    /// Waits for the daemon's last words, then says what the log left out.
    async fn close_log(&self) {
        let followers =
            std::mem::take(&mut *self.followers.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
        let all = futures_util::future::join_all(followers);
        // What comes later than this isn't worth holding up a deploy.
        let _ = tokio::time::timeout(LOG_GRACE, all).await;
        let rest = self.recorder.with(Recorder::close);
        let _ = tokio::time::timeout(LOG_GRACE, send(&self.log, rest)).await;
    }

    fn outcome(&self, digest: &str, took: Duration) -> Result<BuildOutcome, BuildFailure> {
        let digest = Digest::from_str(digest).map_err(|error| {
            let fix = "report this; the daemon answered with something else than a digest";
            BuildFailure::new(FailureCode::P109, format!("the image has no usable digest: {error}"), fix)
        })?;
        let steps = self.recorder.with(|recorder| recorder.timings());
        let cached = steps.iter().filter(|step| counts(&step.name)).all(|step| step.cached);
        Ok(BuildOutcome {
            digest,
            repository: self.request.repository.clone(),
            cached,
            steps,
            duration_ms: milliseconds(took),
            sent_files: self.sent.files(),
            sent_bytes: self.sent.bytes(),
        })
    }
}

/// Tells steps of the Dockerfile from the daemon's own (`[internal] …`, `exporting to image`).
fn counts(name: &str) -> bool {
    name.starts_with('[') && !name.starts_with("[internal]") && !name.contains("] FROM ")
}

fn write_recipe(recipe: &Recipe) -> std::io::Result<tempfile::TempDir> {
    let directory = tempfile::Builder::new().prefix("panda-build-").tempdir()?;
    let write = |name: &str, text: &str| std::fs::write(Path::new(directory.path()).join(name), text);
    write("Dockerfile", &recipe.dockerfile)?;
    if let Some(ignore) = &recipe.dockerignore {
        write("Dockerfile.dockerignore", ignore)?;
    }
    Ok(directory)
}
