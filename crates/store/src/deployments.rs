//! Deployments: attempts to make a release live.

use jiff::Timestamp;
use panda_domain::deployment::{DeploymentState, Trigger};
use panda_domain::event::Actor;
use panda_domain::ids::{BuildId, DeploymentId, PlacementId, ReleaseId, TaskId, TeamId};
use panda_domain::source::Source;
use serde_json::json;

use crate::error::{Result, StoreError};
use crate::page::Cursor;
use crate::sql::{Row, to_json, to_word};
use crate::tx::Tx;

/// One deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeploymentRow {
    /// Its id.
    pub id: DeploymentId,
    /// Whose.
    pub team: TeamId,
    /// Of which app and environment.
    pub placement: PlacementId,
    /// 1, 2, 3, … in its placement: the newest has the highest.
    pub sequence: i64,
    /// Where it stands.
    pub state: DeploymentState,
    /// What set it off.
    pub trigger: Trigger,
    /// Where the code comes from.
    pub source: Source,
    /// The frozen request, as JSON.
    pub request_json: String,
    /// The version of the env that was frozen with it.
    pub env_version: i64,
    /// Its build.
    pub build: Option<BuildId>,
    /// Its release.
    pub release: Option<ReleaseId>,
    /// The placement's generation that it made.
    pub generation: Option<i64>,
    /// The revision of the release that it wants.
    pub revision: u32,
    /// The task of its release command.
    pub task: Option<TaskId>,
    /// Who asked for it.
    pub actor: Actor,
    /// Whether somebody asked to cancel it.
    pub cancel_requested: bool,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// When its state began.
    pub phase_started_at: Timestamp,
    /// When it went live.
    pub live_at: Option<Timestamp>,
    /// When work on it ended.
    pub finished_at: Option<Timestamp>,
}

/// A deployment to be accepted.
#[derive(Debug, Clone)]
pub struct NewDeployment {
    /// Whose.
    pub team: TeamId,
    /// Of which app and environment.
    pub placement: PlacementId,
    /// What sets it off.
    pub trigger: Trigger,
    /// Where the code comes from.
    pub source: Source,
    /// The frozen request, as JSON.
    pub request_json: String,
    /// The version of the env that is frozen with it.
    pub env_version: i64,
    /// The revision of the release that it wants; 0 but for restarts.
    pub revision: u32,
    /// The client's own name for this request, so that sending it twice makes one deployment.
    pub idempotency_key: Option<String>,
    /// Who asks for it.
    pub actor: Actor,
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "select id, team_id, placement_id, sequence, detail, trigger_kind, source, request, env_version, build_id, release_id,
                generation, revision, task_id, actor, cancel_requested, created_at, phase_started_at, live_at,
                finished_at from deployments ",
            $rest
        )
    };
}

fn read(row: &Row) -> Result<DeploymentRow> {
    Ok(DeploymentRow {
        id: row.parse("id")?,
        team: row.parse("team_id")?,
        placement: row.parse("placement_id")?,
        sequence: row.int("sequence")?,
        state: row.json("detail")?,
        trigger: row.word("trigger_kind")?,
        source: row.json("source")?,
        request_json: row.text("request")?,
        env_version: row.int("env_version")?,
        build: row.opt_parse("build_id")?,
        release: row.opt_parse("release_id")?,
        generation: row.opt_int("generation")?,
        revision: row.number("revision")?,
        task: row.opt_parse("task_id")?,
        actor: row.json("actor")?,
        cancel_requested: row.bool("cancel_requested")?,
        created_at: row.time("created_at")?,
        phase_started_at: row.time("phase_started_at")?,
        live_at: row.opt_time("live_at")?,
        finished_at: row.opt_time("finished_at")?,
    })
}

impl Tx {
    /// Accepts a deployment in state `queued`. `Taken` if its idempotency key was used: see
    /// [`Tx::deployment_by_idempotency_key`].
    pub async fn insert_deployment(&mut self, new: &NewDeployment) -> Result<DeploymentRow> {
        let (id, now): (DeploymentId, _) = (self.next_id(), self.now());
        let state = DeploymentState::Queued;
        self.lock_placement(&new.team, &new.placement).await?;
        let sql = "insert into deployments (id, team_id, placement_id, sequence, state, detail, active, trigger_kind,
                source, request, env_version, revision, idempotency_key, actor, created_at, phase_started_at)
            values ($1, $2, $3, (select coalesce(max(sequence), 0) + 1 from deployments where placement_id = $3),
                $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $14)
            on conflict (placement_id, idempotency_key) do nothing";
        let made = self
            .sql("deployments", sql)
            .bind(&id)
            .bind(&new.team)
            .bind(&new.placement)
            .bind(state.word())
            .bind(to_json(&state))
            .bind(true)
            .bind(to_word(&new.trigger))
            .bind(to_json(&new.source))
            .bind(&new.request_json)
            .bind(new.env_version)
            .bind(new.revision)
            .bind(new.idempotency_key.clone())
            .bind(to_json(&new.actor))
            .bind(now)
            .changed()
            .await?;
        if !made {
            let key = new.idempotency_key.as_deref().unwrap_or_default();
            return Err(StoreError::Taken { what: format!("idempotency key `{key}`") });
        }
        self.add_progress(&id, "state", &json!(state)).await?;
        let row = self.deployment_by_id(&id).await?;
        row.ok_or_else(|| StoreError::internal("read the deployment that was just written"))
    }

    /// Returns the team's deployment with this id.
    pub async fn deployment(&mut self, team: &TeamId, id: &DeploymentId) -> Result<Option<DeploymentRow>> {
        self.sql("deployments", select!("where id = $1 and team_id = $2"))
            .bind(id)
            .bind(team)
            .maybe(read)
            .await
    }

    /// Returns the deployment with this id whoever owns it: for jobs and reconcilers.
    pub async fn deployment_by_id(&mut self, id: &DeploymentId) -> Result<Option<DeploymentRow>> {
        self.sql("deployments", select!("where id = $1")).bind(id).maybe(read).await
    }

    /// Returns the deployment that was accepted under the client's own name for it.
    pub async fn deployment_by_idempotency_key(
        &mut self,
        placement: &PlacementId,
        key: &str,
    ) -> Result<Option<DeploymentRow>> {
        self.sql("deployments", select!("where placement_id = $1 and idempotency_key = $2"))
            .bind(placement)
            .bind(key)
            .maybe(read)
            .await
    }

    /// Returns a placement's deployments, newest first.
    pub async fn deployments(
        &mut self,
        team: &TeamId,
        placement: &PlacementId,
        page: &Cursor,
    ) -> Result<Vec<DeploymentRow>> {
        self.sql(
            "deployments",
            select!("where placement_id = $1 and team_id = $2
                and sequence < coalesce((select sequence from deployments where placement_id = $1 and id = $3), $4)
                order by sequence desc limit $5"),
        )
        .bind(placement)
        .bind(team)
        .bind(page.before_id()?)
        .bind(if page.after.is_some() { 0 } else { i64::MAX })
        .bind(page.limit())
        .list(read)
        .await
    }

    /// Returns the deployments of all teams that work is going on for, oldest first: for reconcilers.
    pub async fn active_deployments(&mut self) -> Result<Vec<DeploymentRow>> {
        self.sql("deployments", select!("where active = $1 order by placement_id, sequence"))
            .bind(true)
            .list(read)
            .await
    }

    /// Returns a placement's deployments that work is going on for, oldest first.
    pub async fn active_deployment_of(&mut self, placement: &PlacementId) -> Result<Vec<DeploymentRow>> {
        self.sql("deployments", select!("where active = $2 and placement_id = $1 order by sequence"))
            .bind(placement)
            .bind(true)
            .list(read)
            .await
    }

    /// Returns a placement's newest deployment, whatever became of it.
    pub async fn newest_deployment(&mut self, placement: &PlacementId) -> Result<Option<DeploymentRow>> {
        self.sql("deployments", select!("where placement_id = $1 order by sequence desc limit 1"))
            .bind(placement)
            .maybe(read)
            .await
    }

    /// Returns the deployment that is live in a placement.
    pub async fn live_deployment(&mut self, placement: &PlacementId) -> Result<Option<DeploymentRow>> {
        self.sql(
            "deployments",
            select!("where placement_id = $1 and state = 'live' order by sequence desc limit 1"),
        )
        .bind(placement)
        .maybe(read)
        .await
    }

    /// Moves a deployment on. `Stale` if it isn't in the state any more that `deployment` says; a way that the domain
    /// doesn't have is an internal error. Dates the phase and appends the change to the progress.
    pub async fn advance_deployment(
        &mut self,
        deployment: &DeploymentRow,
        next: DeploymentState,
    ) -> Result<DeploymentRow> {
        let next = deployment.state.advance(next).map_err(|e| StoreError::Internal {
            what: format!("move deployment `{}` on", deployment.id),
            source: Some(Box::new(e)),
        })?;
        let now = self.now();
        let live_at = (next == DeploymentState::Live).then_some(now);
        let finished_at = (!next.is_active()).then_some(now);
        let sql = "update deployments set state = $3, detail = $4, active = $5, phase_started_at = $6,
                live_at = coalesce(live_at, $7), finished_at = coalesce(finished_at, $8)
            where id = $1 and state = $2";
        let moved = self
            .sql("deployments", sql)
            .bind(&deployment.id)
            .bind(deployment.state.word())
            .bind(next.word())
            .bind(to_json(&next))
            .bind(next.is_active())
            .bind(now)
            .bind(live_at)
            .bind(finished_at)
            .changed()
            .await?;
        if !moved {
            return Err(StoreError::Stale { what: format!("deployment `{}`", deployment.id) });
        }
        self.add_progress(&deployment.id, "state", &json!(next)).await?;
        let row = self.deployment_by_id(&deployment.id).await?;
        row.ok_or_else(|| StoreError::internal("read the deployment that was just written"))
    }

    /// Notes which build belongs to a deployment.
    pub async fn attach_build(&mut self, id: &DeploymentId, build: &BuildId) -> Result<()> {
        let sql = "update deployments set build_id = $2 where id = $1";
        found(self.sql("deployments", sql).bind(id).bind(build).changed().await?, id)
    }

    /// Notes which release a deployment made or takes.
    pub async fn attach_release(&mut self, id: &DeploymentId, release: &ReleaseId) -> Result<()> {
        let sql = "update deployments set release_id = $2 where id = $1";
        found(self.sql("deployments", sql).bind(id).bind(release).changed().await?, id)
    }

    /// Notes which generation of the placement a deployment made.
    pub async fn attach_generation(&mut self, id: &DeploymentId, generation: i64) -> Result<()> {
        let sql = "update deployments set generation = $2 where id = $1";
        found(self.sql("deployments", sql).bind(id).bind(generation).changed().await?, id)
    }

    /// Notes which attempt at its release a deployment is.
    pub async fn attach_revision(&mut self, id: &DeploymentId, revision: u32) -> Result<()> {
        let sql = "update deployments set revision = $2 where id = $1";
        found(self.sql("deployments", sql).bind(id).bind(revision).changed().await?, id)
    }

    /// Notes which task runs a deployment's release command.
    pub async fn attach_task(&mut self, id: &DeploymentId, task: &TaskId) -> Result<()> {
        let sql = "update deployments set task_id = $2 where id = $1";
        found(self.sql("deployments", sql).bind(id).bind(task).changed().await?, id)
    }

    /// Asks to cancel a deployment, its job included. Returns false if the team has no such deployment or it has ended.
    pub async fn request_cancel(&mut self, team: &TeamId, id: &DeploymentId) -> Result<bool> {
        let sql =
            "update deployments set cancel_requested = $3 where id = $1 and team_id = $2 and active = $3";
        let asked = self.sql("deployments", sql).bind(id).bind(team).bind(true).changed().await?;
        if asked {
            self.cancel_job(&panda_domain::job::deployment_key(id)).await?;
        }
        Ok(asked)
    }
}

fn found(found: bool, id: &DeploymentId) -> Result<()> {
    if found { Ok(()) } else { Err(StoreError::not_found(format!("deployment `{id}`"))) }
}
