//! The job behind `panda deploy --image`: which digest is meant, and the release made of it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use panda_domain::deployment::DeploymentState;
use panda_domain::event::Actor;
use panda_domain::failure::{Failure, FailureCode};
use panda_domain::ids::{DeploymentId, TeamId};
use panda_domain::image::ImageReference;
use panda_domain::job::JobPayload;
use panda_domain::manifest::DetectedProcesses;
use panda_domain::release::ReleaseImage;
use panda_domain::request::FrozenRequest;
use panda_domain::source::Source;
use panda_jobs::{Handler, JobContext, JobOutcome};
use panda_store::{DeploymentRow, NewEvent, NewRelease, Store, StoreError};
use serde_json::json;

use crate::error::DeployError;
use crate::runtime::{ResolvedImage, Runtime, RuntimeError};
use crate::waiting::{self, Step};

/// How long a registry may take, a pull included.
const PATIENCE: Duration = Duration::from_mins(10);

/// Makes releases of image deployments.
pub struct ResolveImage {
    store: Store,
    runtime: Arc<dyn Runtime>,
}

impl ResolveImage {
    /// Makes the handler.
    pub fn new(store: Store, runtime: Arc<dyn Runtime>) -> Self {
        Self { store, runtime }
    }

    async fn work(&self, context: &JobContext, team: &TeamId, id: &DeploymentId) -> Result<(), DeployError> {
        let found = self.store.read().await?.deployment(team, id).await?;
        let Some(deployment) = found.filter(|d| d.state == DeploymentState::Queued) else { return Ok(()) };
        let Source::Image { reference } = &deployment.source else { return Ok(()) };
        let (text, since) = (reference.to_string(), deployment.phase_started_at);
        if self.shown(&deployment).await?.is_none() {
            self.show(context, &deployment, &waiting::asked(&text, since)).await?;
        }
        let resolving = self.runtime.resolve_image(&text, None);
        match tokio::time::timeout(PATIENCE, resolving).await {
            Ok(Ok(image)) => self.release(context, &deployment, reference, &image).await,
            Ok(Err(RuntimeError::Rejected { reason, .. })) => {
                self.refuse(context, &deployment, not_to_be_had(reference, &reason)).await
            }
            Ok(Err(RuntimeError::NotFound { .. })) => {
                self.refuse(context, &deployment, not_to_be_had(reference, "it isn't there")).await
            }
            Ok(Err(other)) => {
                let reason = waiting::not_had(&text, &other, since);
                if other.is_transient() && self.shown(&deployment).await?.as_deref() != Some(&reason) {
                    self.show(context, &deployment, &reason).await?;
                }
                Err(other.into())
            }
            Err(_) => {
                let reason = format!("the registry took longer than {} minutes", PATIENCE.as_secs() / 60);
                self.refuse(context, &deployment, not_to_be_had(reference, &reason)).await
            }
        }
    }

    /// Returns what those who watch were told last.
    async fn shown(&self, deployment: &DeploymentRow) -> Result<Option<String>, DeployError> {
        let step = self.store.read().await?.newest_progress(&deployment.id, "step").await?;
        Ok(step.map(|step| step.body["detail"].as_str().unwrap_or_default().to_owned()))
    }

    async fn show(
        &self,
        context: &JobContext,
        deployment: &DeploymentRow,
        detail: &str,
    ) -> Result<(), DeployError> {
        let mut tx = context.begin().await?;
        step("running", detail).write(&mut tx, &deployment.id, deployment.phase_started_at).await?;
        tx.commit().await?;
        Ok(())
    }

    async fn release(
        &self,
        context: &JobContext,
        deployment: &DeploymentRow,
        reference: &ImageReference,
        image: &ResolvedImage,
    ) -> Result<(), DeployError> {
        let frozen: FrozenRequest =
            serde_json::from_str(&deployment.request_json).map_err(|_| StoreError::missing("the request"))?;
        let mut tx = context.begin_on(&deployment.team, &deployment.placement).await?;
        let row = tx
            .placement_by_id(&deployment.placement)
            .await?
            .ok_or_else(|| StoreError::missing("the placement"))?;
        // It parsed when it was accepted; going on with defaults would run something else than was asked for (P9).
        let Ok(manifest) = frozen.manifest(&row.placement.environment_name) else {
            drop(tx);
            let cause = "this version of the server can't read the panda.toml that was accepted";
            return self
                .refuse(context, deployment, Failure::new(FailureCode::P501, cause, "deploy again"))
                .await;
        };
        let detected = DetectedProcesses::of_image(only(&image.exposed));
        let config = manifest.to_release_config(&detected, &frozen.overrides());
        let current = tx.formation(&row.placement.id).await?;
        for (process, scale) in frozen.formation(&manifest, &config, &current) {
            tx.set_scale(&row.placement.id, &process, &scale).await?;
        }
        let release = NewRelease {
            team: deployment.team.clone(),
            placement: deployment.placement.clone(),
            image: ReleaseImage {
                repository: full_repository(reference),
                digest: image.digest.clone(),
                own_registry: false,
                built_here: false,
            },
            config,
            source: deployment.source.clone(),
            env_version: deployment.env_version,
            build: None,
            copy_of: None,
            actor: deployment.actor.clone(),
        };
        match tx.hand_over(deployment, &release).await {
            Ok(_) => {}
            // Canceled or overtaken meanwhile: there is nothing left to do.
            Err(StoreError::Stale { .. }) => return Ok(()),
            Err(other) => return Err(other.into()),
        }
        step("done", image.digest.as_str())
            .write(&mut tx, &deployment.id, deployment.phase_started_at)
            .await?;
        tx.commit().await?;
        Ok(())
    }

    async fn refuse(
        &self,
        context: &JobContext,
        deployment: &DeploymentRow,
        failure: Failure,
    ) -> Result<(), DeployError> {
        let mut tx = context.begin_on(&deployment.team, &deployment.placement).await?;
        let row = tx.placement_by_id(&deployment.placement).await?;
        let text = format!("a deploy failed: {}", failure.cause);
        match tx.advance_deployment(deployment, DeploymentState::BuildFailed { failure }).await {
            Err(StoreError::Stale { .. }) => return Ok(()),
            other => drop(other?),
        }
        tx.add_event(&NewEvent {
            team: Some(deployment.team.clone()),
            app: row.map(|row| row.placement.app),
            kind: "deployment.build_failed",
            actor: &Actor::Platform,
            text,
            data: json!({ "deployment": deployment.id }),
        })
        .await?;
        tx.wake();
        tx.commit().await?;
        Ok(())
    }
}

fn step<'a>(state: &'a str, detail: &'a str) -> Step<'a> {
    Step { key: "image", title: "find the image", state, detail }
}

/// A repository with its host, so that it means the same to every runtime.
fn full_repository(reference: &ImageReference) -> String {
    match (reference.host(), reference.path().contains('/')) {
        (Some(_), _) => reference.repository(),
        (None, true) => format!("docker.io/{}", reference.path()),
        (None, false) => format!("docker.io/library/{}", reference.path()),
    }
}

/// One exposed port is respected; several say nothing.
fn only(ports: &[u16]) -> Option<u16> {
    match ports {
        [port] => Some(*port),
        _ => None,
    }
}

fn not_to_be_had(reference: &ImageReference, reason: &str) -> Failure {
    let fix = "check the name and tag, and that this machine reaches the registry";
    Failure::new(FailureCode::P207, format!("the image `{reference}` can't be had: {reason}"), fix)
}

#[async_trait]
impl Handler for ResolveImage {
    async fn run(&self, context: &JobContext) -> JobOutcome {
        let payload = context.payload();
        let JobPayload::ResolveImage { team, deployment } = payload else {
            return JobOutcome::Fail {
                error: format!("a job of kind `{}` came to the image handler", payload.kind()),
            };
        };
        let ended = tokio::select! {
            () = context.stopped().cancelled() => return JobOutcome::Canceled,
            ended = self.work(context, team, deployment) => ended,
        };
        match ended {
            Ok(()) => JobOutcome::Done,
            Err(error) if error.is_transient() => {
                JobOutcome::Retry { after: Duration::from_secs(2), error: error.to_string() }
            }
            Err(error) => {
                tracing::error!(deployment.id = %deployment, error = &error as &dyn std::error::Error, "an image deployment can't go on");
                let failure = Failure::new(
                    FailureCode::P501,
                    "the platform couldn't resolve the image",
                    "tell the operator; `panda doctor` may say more",
                );
                let row = async { self.store.read().await?.deployment(team, deployment).await };
                if let Ok(Some(row)) = row.await {
                    let _ = self.refuse(context, &row, failure).await;
                }
                JobOutcome::Fail { error: error.to_string() }
            }
        }
    }
}
