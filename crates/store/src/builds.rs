//! Builds.

use jiff::Timestamp;
use panda_domain::build::BuildState;
use panda_domain::ids::{BuildId, DeploymentId, PlacementId, TeamId};
use panda_domain::image::Digest;

use crate::error::{Result, StoreError};
use crate::sql::{Row, to_json};
use crate::tx::Tx;

/// One build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildRow {
    /// Its id.
    pub id: BuildId,
    /// Whose.
    pub team: TeamId,
    /// For which app and environment.
    pub placement: PlacementId,
    /// The deployment that asked for it.
    pub deployment: DeploymentId,
    /// Where it stands.
    pub state: BuildState,
    /// Hash of source and settings: equal keys give equal images.
    pub build_key: String,
    /// How it was built, as JSON.
    pub plan_json: Option<String>,
    /// The processes that the plan found, as JSON.
    pub processes_json: Option<String>,
    /// Where its image lies in the platform's registry.
    pub repository: Option<String>,
    /// Its image.
    pub digest: Option<Digest>,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When it began.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
}

/// A build to be made.
#[derive(Debug, Clone)]
pub struct NewBuild {
    /// Whose.
    pub team: TeamId,
    /// For which app and environment.
    pub placement: PlacementId,
    /// The deployment that asks for it.
    pub deployment: DeploymentId,
    /// Hash of source and settings.
    pub build_key: String,
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "select id, team_id, placement_id, deployment_id, state, failure, build_key, plan, processes, repository,
                digest, created_at, started_at, finished_at from builds ",
            $rest
        )
    };
}

pub(crate) fn read(row: &Row) -> Result<BuildRow> {
    let state = match row.text("state")?.as_str() {
        "queued" => BuildState::Queued,
        "running" => BuildState::Running,
        "succeeded" => BuildState::Succeeded,
        "failed" => BuildState::Failed { failure: row.json("failure")? },
        "canceled" => BuildState::Canceled,
        other => return Err(row.odd(format!("has an unknown `state`: `{other}`"))),
    };
    Ok(BuildRow {
        id: row.parse("id")?,
        team: row.parse("team_id")?,
        placement: row.parse("placement_id")?,
        deployment: row.parse("deployment_id")?,
        state,
        build_key: row.text("build_key")?,
        plan_json: row.opt_text("plan")?,
        processes_json: row.opt_text("processes")?,
        repository: row.opt_text("repository")?,
        digest: row.opt_parse("digest")?,
        created_at: row.time("created_at")?,
        started_at: row.opt_time("started_at")?,
        finished_at: row.opt_time("finished_at")?,
    })
}

impl Tx {
    /// Makes a build that waits for the builder.
    pub async fn insert_build(&mut self, new: &NewBuild) -> Result<BuildRow> {
        let (id, now): (BuildId, _) = (self.next_id(), self.now());
        let sql =
            "insert into builds (id, team_id, placement_id, deployment_id, state, build_key, created_at)
            values ($1, $2, $3, $4, 'queued', $5, $6)";
        self.sql("builds", sql)
            .bind(&id)
            .bind(&new.team)
            .bind(&new.placement)
            .bind(&new.deployment)
            .bind(&new.build_key)
            .bind(now)
            .run()
            .await?;
        Ok(BuildRow {
            id,
            team: new.team.clone(),
            placement: new.placement.clone(),
            deployment: new.deployment.clone(),
            state: BuildState::Queued,
            build_key: new.build_key.clone(),
            plan_json: None,
            processes_json: None,
            repository: None,
            digest: None,
            created_at: now,
            started_at: None,
            finished_at: None,
        })
    }

    /// Returns the team's build with this id.
    pub async fn build(&mut self, team: &TeamId, id: &BuildId) -> Result<Option<BuildRow>> {
        self.sql("builds", select!("where id = $1 and team_id = $2")).bind(id).bind(team).maybe(read).await
    }

    /// Returns the newest build of a placement that succeeded with the same source and settings.
    pub async fn known_build(
        &mut self,
        placement: &PlacementId,
        build_key: &str,
    ) -> Result<Option<BuildRow>> {
        let sql = select!(
            "where placement_id = $1 and build_key = $2 and state = 'succeeded' order by finished_at desc, id desc limit 1"
        );
        self.sql("builds", sql).bind(placement).bind(build_key).maybe(read).await
    }

    /// Sets where a build stands; begins and ends are dated once. An ended build stays as it is: `Stale`.
    pub async fn set_build_state(&mut self, id: &BuildId, state: &BuildState) -> Result<()> {
        let now = self.now();
        let failure = if let BuildState::Failed { failure } = state { Some(to_json(failure)) } else { None };
        let started = (*state == BuildState::Running).then_some(now);
        let finished = state.ended().then_some(now);
        let sql = "update builds set state = $2, failure = $3, started_at = coalesce(started_at, $4), finished_at = $5
            where id = $1 and (state in ('queued', 'running') or state = $2)";
        let changed = self
            .sql("builds", sql)
            .bind(id)
            .bind(state.word())
            .bind(failure)
            .bind(started)
            .bind(finished)
            .changed()
            .await?;
        if changed { Ok(()) } else { Err(StoreError::Stale { what: format!("build `{id}`") }) }
    }

    /// Ends a build with its image. The same end twice is fine; another end after a first is `Stale`.
    pub async fn finish_build(
        &mut self,
        id: &BuildId,
        repository: &str,
        digest: &Digest,
        plan_json: &str,
        processes_json: &str,
    ) -> Result<()> {
        let now = self.now();
        let sql =
            "update builds set state = 'succeeded', repository = $2, digest = $3, plan = $4, processes = $5,
            started_at = coalesce(started_at, $6), finished_at = coalesce(finished_at, $6)
            where id = $1 and (state in ('queued', 'running') or (state = 'succeeded' and digest = $3))";
        let changed = self
            .sql("builds", sql)
            .bind(id)
            .bind(repository)
            .bind(digest.as_str())
            .bind(plan_json)
            .bind(processes_json)
            .bind(now)
            .changed()
            .await?;
        if changed { Ok(()) } else { Err(StoreError::Stale { what: format!("build `{id}`") }) }
    }

    /// Keeps the plan of a build that is still running, so that it can be shown.
    pub async fn set_build_plan(&mut self, id: &BuildId, plan_json: &str) -> Result<()> {
        self.sql("builds", "update builds set plan = $2 where id = $1")
            .bind(id)
            .bind(plan_json)
            .run()
            .await?;
        Ok(())
    }
}
