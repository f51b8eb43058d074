//! The durable job behind `panda deploy` of a directory: source → plan → image → release.
//!
//! Each step leaves a committed row, so a crash goes on there: a deployment that is `building` keeps its build, a known build
//! of the same source and settings is used as it is, and the hand-over is one transaction.

mod record;
mod settings;

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use panda_domain::build::BuildState;
use panda_domain::deployment::DeploymentState;
use panda_domain::event::Actor;
use panda_domain::failure::{Failure, FailureCode};
use panda_domain::ids::{BuildId, DeploymentId, TeamId};
use panda_domain::image::Digest;
use panda_domain::job::JobPayload;
use panda_domain::manifest::{DetectedProcesses, Manifest};
use panda_domain::release::ReleaseImage;
use panda_domain::request::FrozenRequest;
use panda_domain::secret::Secret;
use panda_domain::source::{Source, repository_of};
use panda_domain::source_tree::SourceManifest;
use panda_jobs::{Handler, JobContext, JobOutcome, Stop};
use panda_store::{
    BlobDir, BuildRow, DeploymentRow, NewBuild, NewEvent, NewRelease, PlacementRow, Store, StoreError,
};
use serde_json::json;

use crate::build::{BuildOutcome, BuildRequest, Builder};
use crate::failure::{BuildError, BuildFailure};
use crate::log::LogLimits;
use crate::plan::{BuildPlan, PlanKind, plan};
use crate::registry::Registry;
use crate::settings::BuildSettings;
use crate::source::{SourceView, materialise};

pub use settings::{build_key, settings_of};

/// Tries while builder or registry can't be reached, before the build is called failed.
const TRIES: u32 = 5;

/// Where the job works.
#[derive(Debug, Clone)]
pub struct BuildPlaces {
    /// Sources are unpacked below it, one folder a build, gone afterwards.
    pub work: PathBuf,
    /// Build logs, `<build id>.log`.
    pub logs: PathBuf,
}

/// Builds images for deployments.
pub struct BuildJob {
    store: Store,
    blobs: BlobDir,
    builder: Builder,
    registry: Registry,
    places: BuildPlaces,
}

/// Why the job can't go on as it is.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    /// The build itself failed; the deployment ends.
    #[error("{}", .0.failure.cause)]
    Failed(Box<BuildFailure>),
    /// Somebody or something newer ended it.
    #[error("the build was canceled")]
    Canceled,
    /// The state can't be read or written.
    #[error("read or write the state")]
    Store(#[from] StoreError),
}

impl From<BuildFailure> for Trouble {
    fn from(failure: BuildFailure) -> Self {
        Self::Failed(Box::new(failure))
    }
}

/// What the job works on.
struct Work {
    deployment: DeploymentRow,
    row: PlacementRow,
    frozen: FrozenRequest,
    manifest: Manifest,
    settings: BuildSettings,
    key: String,
}

impl BuildJob {
    /// Makes the handler.
    pub fn new(
        store: Store,
        blobs: BlobDir,
        builder: Builder,
        registry: Registry,
        places: BuildPlaces,
    ) -> Self {
        Self { store, blobs, builder, registry, places }
    }

    async fn work(&self, context: &JobContext, team: &TeamId, id: &DeploymentId) -> Result<(), Trouble> {
        let Some(work) = self.load(team, id).await? else { return Ok(()) };
        if !work.frozen.no_cache {
            let known = self.store.read().await?.known_build(&work.row.placement.id, &work.key).await?;
            if let Some(known) = known
                && self.reuse(context, &work, &known).await?
            {
                return Ok(());
            }
        }
        let (deployment, build) = self.begin(context, &work).await?;
        let work = Work { deployment, ..work };
        let recorder = record::Recorder::open(context, &work.deployment.id, &self.places.logs, &build).await;
        let built = self.build(context, &work, &build, recorder).await;
        // What was unpacked is of no use any more, whatever became of it; the next attempt unpacks afresh.
        let _ = tokio::fs::remove_dir_all(self.places.work.join(build.as_str())).await;
        match built {
            Ok((plan, outcome)) => self.hand_over(context, &work, &build, &plan, &outcome).await,
            Err(trouble) => Err(trouble),
        }
    }

    /// Loads a deployment that still has to be built; `None` when there is nothing to do any more.
    async fn load(&self, team: &TeamId, id: &DeploymentId) -> Result<Option<Work>, Trouble> {
        let mut tx = self.store.read().await?;
        let Some(deployment) = tx.deployment(team, id).await? else { return Ok(None) };
        let Source::Upload { tree, .. } = &deployment.source else { return Ok(None) };
        if !matches!(deployment.state, DeploymentState::Queued | DeploymentState::Building) {
            return Ok(None);
        }
        let Some(row) = tx.placement_by_id(&deployment.placement).await? else { return Ok(None) };
        let frozen: FrozenRequest = serde_json::from_str(&deployment.request_json)
            .map_err(|_| StoreError::missing("a readable request"))?;
        // It parsed when it was accepted; going on with defaults would run something else than was asked for (P9).
        let manifest = frozen.manifest(&row.placement.environment_name).map_err(|_| {
            let cause = "this version of the server can't read the panda.toml that was accepted";
            BuildFailure::new(FailureCode::P501, cause, "deploy again")
        })?;
        let settings = settings_of(&manifest, &frozen);
        let tree = tree.parse().map_err(|_| StoreError::missing("a source that can be found"))?;
        let key = build_key(tree, &settings, deployment.env_version);
        Ok(Some(Work { deployment, row, frozen, manifest, settings, key }))
    }

    /// Marks the deployment as building and gives it a build; one that was building before a crash keeps its own.
    async fn begin(&self, context: &JobContext, work: &Work) -> Result<(DeploymentRow, BuildId), Trouble> {
        let mut tx = context.begin_on(&work.row.placement.team, &work.row.placement.id).await?;
        if work.deployment.state == DeploymentState::Building
            && let Some(build) = &work.deployment.build
        {
            return Ok((work.deployment.clone(), build.clone()));
        }
        let deployment = tx.advance_deployment(&work.deployment, DeploymentState::Building).await?;
        let new = NewBuild {
            team: deployment.team.clone(),
            placement: deployment.placement.clone(),
            deployment: deployment.id.clone(),
            build_key: work.key.clone(),
        };
        let build = tx.insert_build(&new).await?;
        tx.set_build_state(&build.id, &BuildState::Running).await?;
        tx.attach_build(&deployment.id, &build.id).await?;
        tx.wake();
        tx.commit().await?;
        Ok((DeploymentRow { build: Some(build.id.clone()), ..deployment }, build.id))
    }

    async fn build(
        &self,
        context: &JobContext,
        work: &Work,
        build: &BuildId,
        mut recorder: record::Recorder<'_>,
    ) -> Result<(BuildPlan, BuildOutcome), Trouble> {
        let folder = self.places.work.join(build.as_str());
        let plan = self.prepare(work, &folder).await?;
        recorder.planned(&plan).await;
        let json =
            serde_json::to_string(&plan).map_err(|_| StoreError::missing("a plan that can be kept"))?;
        let mut tx = context.begin().await?;
        tx.set_build_plan(build, &json).await?;
        tx.commit().await?;
        let request = self.request(work, build, &plan, folder).await?;
        let (sink, events) = tokio::sync::mpsc::channel(1024);
        let building = self.builder.build(request, sink, context.stopped().clone());
        let (built, ()) = tokio::join!(building, recorder.follow(events));
        match built {
            Ok(outcome) => Ok((plan, outcome)),
            Err(BuildError::Canceled) => Err(Trouble::Canceled),
            Err(BuildError::Failed(failure)) => Err(Trouble::Failed(failure)),
        }
    }

    /// Unpacks the source and decides how it is built.
    async fn prepare(&self, work: &Work, folder: &std::path::Path) -> Result<BuildPlan, Trouble> {
        let gone = || {
            BuildFailure::new(
                FailureCode::P112,
                "the source isn't there any more",
                "send it again: `panda deploy --no-cache`",
            )
        };
        let Source::Upload { tree, .. } = &work.deployment.source else { return Err(gone().into()) };
        let listing =
            self.blobs.listing(&work.deployment.team, tree).await.map_err(|_| gone())?.ok_or_else(gone)?;
        let source: SourceManifest = serde_json::from_slice(&listing).map_err(|_| gone())?;
        let (settings, blobs, folder) = (work.settings.clone(), self.blobs.clone(), folder.to_owned());
        let planned = tokio::task::spawn_blocking(move || {
            if folder.exists() {
                std::fs::remove_dir_all(&folder).map_err(|_| unreadable())?;
            }
            materialise(&source, &folder, |hash| blobs.path(&hash.to_string()).ok())
                .map_err(|error| error.failure())?;
            let view = SourceView::open(&folder).ok_or_else(unreadable)?;
            plan(&view, &settings).map_err(BuildFailure::from)
        });
        Ok(planned.await.map_err(|_| unreadable())??)
    }

    async fn request(
        &self,
        work: &Work,
        build: &BuildId,
        plan: &BuildPlan,
        folder: PathBuf,
    ) -> Result<BuildRequest, Trouble> {
        let placement = &work.row.placement;
        let env = self
            .store
            .read()
            .await?
            .env_at(&placement.team, &placement.id, work.deployment.env_version)
            .await?;
        let mut secrets: HashMap<String, Secret> = HashMap::new();
        for name in &work.settings.secrets {
            let value =
                env.iter().find(|(key, _)| key.as_str() == name).map(|(_, value)| value.value.clone());
            let missing = || {
                let cause = format!("the build wants the secret `{name}`, which isn't set");
                BuildFailure::new(
                    FailureCode::P201,
                    cause,
                    format!("`panda env set --secret --no-deploy {name}`, then deploy again"),
                )
            };
            secrets.insert(name.clone(), value.ok_or_else(missing)?);
        }
        Ok(BuildRequest {
            build_id: build.as_str().replace('_', "-"),
            app_id: placement.app.to_string(),
            context: if plan.root == "." { folder } else { folder.join(&plan.root) },
            recipe: plan.recipe(),
            args: work.settings.args.clone(),
            secrets,
            secrets_version: work.deployment.env_version.to_string(),
            registry: self.registry.clone(),
            repository: repository_of(&placement.team, &placement.app_name),
            credentials: HashMap::new(),
            use_cache: work.settings.cache && !work.frozen.no_cache,
            cache: None,
            deadline: Duration::from_secs(u64::from(work.settings.timeout_s)),
            log_limits: LogLimits::default(),
        })
    }

    /// Keeps the build and hands its release to the rollout, in one transaction.
    async fn hand_over(
        &self,
        context: &JobContext,
        work: &Work,
        build: &BuildId,
        plan: &BuildPlan,
        outcome: &BuildOutcome,
    ) -> Result<(), Trouble> {
        let detected = plan.detected_processes();
        let plan_json =
            serde_json::to_string(plan).map_err(|_| StoreError::missing("a plan that can be kept"))?;
        let processes = serde_json::to_string(&detected)
            .map_err(|_| StoreError::missing("processes that can be kept"))?;
        self.keep_image(context, outcome).await?;
        let mut tx = context.begin_on(&work.row.placement.team, &work.row.placement.id).await?;
        tx.finish_build(build, &outcome.repository, &outcome.digest, &plan_json, &processes).await?;
        if !tx.rescue_image(&outcome.repository, outcome.digest.as_str()).await? {
            return Err(taken_along().into());
        }
        let built_here = !matches!(plan.kind, PlanKind::Dockerfile(_));
        self.release(
            &mut tx,
            work,
            &detected,
            build,
            outcome.repository.clone(),
            outcome.digest.clone(),
            built_here,
        )
        .await?;
        tx.commit().await?;
        Ok(())
    }

    /// Makes sure that the image wasn't taken along with an old build that had the same, between its push and now. First it
    /// leaves the list of those to be deleted, then it is looked for: the other way round it could go in between.
    async fn keep_image(&self, context: &JobContext, outcome: &BuildOutcome) -> Result<(), Trouble> {
        let mut tx = context.begin().await?;
        let kept = tx.rescue_image(&outcome.repository, outcome.digest.as_str()).await?;
        tx.commit().await?;
        if kept && self.builder.has_image(&self.registry, &outcome.repository, &outcome.digest).await? {
            return Ok(());
        }
        Err(taken_along().into())
    }

    /// Uses a known build: no build at all. Returns false if it was taken away a moment ago, or its image isn't in the registry
    /// any more, as after a restore on another machine. A registry that can't be asked is no reason to build: it would be needed
    /// for that as well.
    async fn reuse(&self, context: &JobContext, work: &Work, known: &BuildRow) -> Result<bool, Trouble> {
        let incomplete = || StoreError::missing("the image of a known build");
        let repository = known.repository.clone().ok_or_else(incomplete)?;
        let digest = known.digest.clone().ok_or_else(incomplete)?;
        let detected: DetectedProcesses = known
            .processes_json
            .as_deref()
            .and_then(|json| serde_json::from_str(json).ok())
            .ok_or_else(incomplete)?;
        let plan: Option<BuildPlan> =
            known.plan_json.as_deref().and_then(|json| serde_json::from_str(json).ok());
        let built_here = plan.is_some_and(|plan| !matches!(plan.kind, PlanKind::Dockerfile(_)));
        if matches!(self.builder.has_image(&self.registry, &repository, &digest).await, Ok(false)) {
            return Ok(false);
        }
        let mut tx = context.begin_on(&work.row.placement.team, &work.row.placement.id).await?;
        if tx.build(&work.row.placement.team, &known.id).await?.is_none() {
            return Ok(false);
        }
        let step = json!({ "key": "build", "title": "build", "state": "skipped", "elapsed_ms": 0, "detail": "the same source was built before" });
        tx.add_progress(&work.deployment.id, "step", &step).await?;
        tx.attach_build(&work.deployment.id, &known.id).await?;
        self.release(&mut tx, work, &detected, &known.id, repository, digest, built_here).await?;
        tx.commit().await?;
        Ok(true)
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one release, each used once")]
    async fn release(
        &self,
        tx: &mut panda_store::Tx,
        work: &Work,
        detected: &DetectedProcesses,
        build: &BuildId,
        repository: String,
        digest: Digest,
        built_here: bool,
    ) -> Result<(), Trouble> {
        let placement = &work.row.placement;
        let config = work.manifest.to_release_config(detected, &work.frozen.overrides());
        let current = tx.formation(&placement.id).await?;
        for (process, scale) in work.frozen.formation(&work.manifest, &config, &current) {
            tx.set_scale(&placement.id, &process, &scale).await?;
        }
        let release = NewRelease {
            team: placement.team.clone(),
            placement: placement.id.clone(),
            image: ReleaseImage { repository, digest, own_registry: true, built_here },
            config,
            source: work.deployment.source.clone(),
            env_version: work.deployment.env_version,
            build: Some(build.clone()),
            copy_of: None,
            actor: work.deployment.actor.clone(),
        };
        tx.hand_over(&work.deployment, &release).await?;
        Ok(())
    }

    /// Ends the deployment with the reason.
    async fn fail(
        &self,
        context: &JobContext,
        (team, id): (&TeamId, &DeploymentId),
        failure: Failure,
    ) -> Result<(), StoreError> {
        let Some(known) = self.store.read().await?.deployment(team, id).await? else { return Ok(()) };
        let mut tx = context.begin_on(team, &known.placement).await?;
        let Some(deployment) = tx.deployment(team, id).await? else { return Ok(()) };
        if let Some(build) = &deployment.build {
            tx.set_build_state(build, &BuildState::Failed { failure: failure.clone() }).await?;
        }
        if matches!(deployment.state, DeploymentState::Queued | DeploymentState::Building) {
            let text = format!("a build failed: {}", failure.cause);
            tx.advance_deployment(&deployment, DeploymentState::BuildFailed { failure }).await?;
            let app = tx.placement_by_id(&deployment.placement).await?.map(|row| row.placement.app);
            let data = json!({ "deployment": id });
            let (kind, actor) = ("deployment.build_failed", &Actor::Platform);
            tx.add_event(&NewEvent { team: Some(team.clone()), app, kind, actor, text, data }).await?;
        }
        tx.wake();
        tx.commit().await
    }

    /// Tells those who watch why it isn't built yet. Not being able to say so stops nothing.
    async fn show_retry(&self, context: &JobContext, id: &DeploymentId, failure: &Failure) {
        let detail = format!("{}; try {} of {TRIES} follows", failure.cause, context.attempt() + 1);
        let step = json!({ "key": "build", "title": "build", "state": "running", "elapsed_ms": 0, "detail": detail });
        let write = async {
            let mut tx = context.begin().await?;
            tx.add_progress(id, "step", &step).await?;
            tx.wake();
            tx.commit().await
        };
        if let Err(error) = write.await {
            let error: StoreError = error;
            tracing::debug!(deployment.id = %id, %error, "a line of progress was lost");
        }
    }

    async fn note_canceled(
        &self,
        context: &JobContext,
        team: &TeamId,
        id: &DeploymentId,
    ) -> Result<(), StoreError> {
        let mut tx = context.begin().await?;
        if let Some(build) = tx.deployment(team, id).await?.and_then(|d| d.build) {
            tx.set_build_state(&build, &BuildState::Canceled).await?;
        }
        tx.commit().await
    }
}

fn unreadable() -> BuildFailure {
    BuildFailure::new(
        FailureCode::P112,
        "the source can't be unpacked",
        "`panda-server doctor` tells the operator whether the disk is full",
    )
}

#[async_trait]
impl Handler for BuildJob {
    async fn run(&self, context: &JobContext) -> JobOutcome {
        let payload = context.payload();
        let JobPayload::Build { team, deployment } = payload else {
            return JobOutcome::Fail {
                error: format!("a job of kind `{}` came to the builder", payload.kind()),
            };
        };
        match self.work(context, team, deployment).await {
            Ok(()) => JobOutcome::Done,
            // A server that stops hasn't canceled anything: the next one builds again.
            Err(Trouble::Canceled) if context.stop_reason() != Some(Stop::Canceled) => JobOutcome::Canceled,
            Err(Trouble::Canceled) => match self.note_canceled(context, team, deployment).await {
                Ok(()) => JobOutcome::Canceled,
                Err(error) => JobOutcome::Retry { after: Duration::from_secs(1), error: error.to_string() },
            },
            // Somebody ended the deployment meanwhile: its work is of no use.
            Err(Trouble::Store(StoreError::Stale { .. })) => JobOutcome::Canceled,
            Err(Trouble::Failed(failure)) if failure.transient && context.attempt() < TRIES => {
                self.show_retry(context, deployment, &failure.failure).await;
                JobOutcome::Retry { after: Duration::from_secs(3), error: failure.failure.cause.clone() }
            }
            Err(Trouble::Failed(failure)) => match self
                .fail(context, (team, deployment), failure.failure)
                .await
            {
                Ok(()) => JobOutcome::Done,
                Err(error) => JobOutcome::Retry { after: Duration::from_secs(1), error: error.to_string() },
            },
            Err(Trouble::Store(error @ (StoreError::Undecryptable { .. } | StoreError::WrongKey { .. }))) => {
                let fix = "tell the operator: the server's key doesn't open this app's env";
                let failure = Failure::new(FailureCode::P303, "env and secrets can't be decrypted", fix);
                match self.fail(context, (team, deployment), failure).await {
                    Ok(()) => JobOutcome::Fail { error: error.to_string() },
                    Err(error) => {
                        JobOutcome::Retry { after: Duration::from_secs(5), error: error.to_string() }
                    }
                }
            }
            Err(Trouble::Store(error)) => {
                JobOutcome::Retry { after: Duration::from_secs(2), error: error.to_string() }
            }
        }
    }
}

/// The job is tried again, and pushes again.
fn taken_along() -> BuildFailure {
    let cause = "the image is just what an old build left, and that is being deleted at this moment";
    BuildFailure::transient(FailureCode::P111, cause, "deploy again")
}
