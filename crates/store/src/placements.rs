//! Placements: what should run in an environment, and what was seen.

use jiff::Timestamp;
use panda_domain::app::{App, Placement};
use panda_domain::autoscale::Autoscale;
use panda_domain::formation::{Formation, Scale, Size};
use panda_domain::ids::{AppId, PlacementId, ReleaseId, TeamId};
use panda_domain::names::{AppName, EnvironmentName, ProcessName, ProjectName};

use crate::error::{Result, StoreError};
use crate::projects::Environment;
use crate::sql::Row;
use crate::tx::Tx;

/// A placement with everything that its row keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlacementRow {
    /// The placement.
    pub placement: Placement,
    /// Counts restarts of the desired release.
    pub desired_revision: u32,
    /// The revision of the release that ran well last.
    pub last_good_revision: u32,
    /// The newest version of its env.
    pub env_version: i64,
    /// The name of its project.
    pub project_name: ProjectName,
    /// What was observed last, as JSON.
    pub observed: Option<String>,
    /// When.
    pub observed_at: Option<Timestamp>,
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "select p.id, p.team_id, p.app_id, a.name as app_name, p.environment_id, e.name as environment_name,
                p.host, p.generation, p.converged_generation, p.desired_release_id, p.desired_revision,
                p.last_good_release_id, p.last_good_revision, p.env_version, p.observed, p.observed_at,
                p.deleting_at, p.created_at, j.name as project_name
            from placements p
            join apps a on a.id = p.app_id
            join environments e on e.id = p.environment_id
            join projects j on j.id = a.project_id ",
            $rest
        )
    };
}

fn read(row: &Row) -> Result<PlacementRow> {
    let placement = Placement {
        id: row.parse("id")?,
        team: row.parse("team_id")?,
        app: row.parse("app_id")?,
        app_name: row.parse("app_name")?,
        environment: row.parse("environment_id")?,
        environment_name: row.parse("environment_name")?,
        host: row.text("host")?,
        generation: row.int("generation")?,
        converged_generation: row.int("converged_generation")?,
        desired_release: row.opt_parse("desired_release_id")?,
        last_good_release: row.opt_parse("last_good_release_id")?,
        deleting_at: row.opt_time("deleting_at")?,
        created_at: row.time("created_at")?,
    };
    Ok(PlacementRow {
        placement,
        desired_revision: row.number("desired_revision")?,
        last_good_revision: row.number("last_good_revision")?,
        env_version: row.int("env_version")?,
        project_name: row.parse("project_name")?,
        observed: row.opt_text("observed")?,
        observed_at: row.opt_time("observed_at")?,
    })
}

impl Tx {
    /// Puts an app into an environment under `host`; `Taken` if the host is in use or the app is there already.
    /// The transaction can go on after `Taken`.
    pub async fn insert_placement(
        &mut self,
        app: &App,
        environment: &Environment,
        host: &str,
    ) -> Result<Placement> {
        let (id, now): (PlacementId, _) = (self.next_id(), self.now());
        let sql = "insert into placements (id, team_id, app_id, environment_id, host, created_at)
            values ($1, $2, $3, $4, $5, $6) on conflict do nothing";
        let made = self
            .sql("placements", sql)
            .bind(&id)
            .bind(&app.team)
            .bind(&app.id)
            .bind(&environment.id)
            .bind(host)
            .bind(now)
            .changed()
            .await?;
        if !made {
            let sql = "select 1 as taken from placements where host = $1";
            let what = match self.sql("placements", sql).bind(host).optional().await? {
                Some(_) => format!("host `{host}`"),
                None => format!("place of app `{}` in `{}`", app.name, environment.name),
            };
            return Err(StoreError::Taken { what });
        }
        Ok(Placement {
            id,
            team: app.team.clone(),
            app: app.id.clone(),
            app_name: app.name.clone(),
            environment: environment.id.clone(),
            environment_name: environment.name.clone(),
            host: host.to_owned(),
            generation: 0,
            converged_generation: 0,
            desired_release: None,
            last_good_release: None,
            deleting_at: None,
            created_at: now,
        })
    }

    /// Returns the team's placement with this id.
    pub async fn placement(&mut self, team: &TeamId, id: &PlacementId) -> Result<Option<PlacementRow>> {
        self.sql("placements", select!("where p.id = $1 and p.team_id = $2"))
            .bind(id)
            .bind(team)
            .maybe(read)
            .await
    }

    /// Returns the placement with this id whoever owns it: for jobs and reconcilers.
    pub async fn placement_by_id(&mut self, id: &PlacementId) -> Result<Option<PlacementRow>> {
        self.sql("placements", select!("where p.id = $1")).bind(id).maybe(read).await
    }

    /// Returns the team's placement of an app in an environment.
    pub async fn placement_by_names(
        &mut self,
        team: &TeamId,
        app: &AppName,
        environment: &EnvironmentName,
    ) -> Result<Option<PlacementRow>> {
        self.sql("placements", select!("where a.team_id = $1 and a.name = $2 and e.name = $3"))
            .bind(team)
            .bind(app)
            .bind(environment)
            .maybe(read)
            .await
    }

    /// Returns all placements of an app, oldest first.
    pub async fn placements_of_app(&mut self, team: &TeamId, app: &AppId) -> Result<Vec<PlacementRow>> {
        self.sql("placements", select!("where p.team_id = $1 and p.app_id = $2 order by p.id"))
            .bind(team)
            .bind(app)
            .list(read)
            .await
    }

    /// Returns every placement of every team, oldest first: for reconcilers.
    pub async fn all_placements(&mut self) -> Result<Vec<PlacementRow>> {
        self.sql("placements", select!("order by p.id")).list(read).await
    }

    /// Returns the placements of all teams whose newest wish wasn't seen to be reached, oldest first: for reconcilers.
    pub async fn unconverged_placements(&mut self) -> Result<Vec<PlacementRow>> {
        self.sql("placements", select!("where p.generation <> p.converged_generation order by p.id"))
            .list(read)
            .await
    }

    /// Wishes for a release. Returns the new generation.
    pub async fn set_desired(&mut self, id: &PlacementId, release: &ReleaseId, revision: u32) -> Result<i64> {
        let sql = "update placements set desired_release_id = $2, desired_revision = $3, generation = generation + 1
            where id = $1 returning generation";
        let row = self.sql("placements", sql).bind(id).bind(release).bind(revision).optional().await?;
        row.ok_or_else(|| gone(id))?.int("generation")
    }

    /// Wishes for the same release in another way, such as another scale. Returns the new generation.
    pub async fn bump_generation(&mut self, id: &PlacementId) -> Result<i64> {
        let sql = "update placements set generation = generation + 1 where id = $1 returning generation";
        let row = self.sql("placements", sql).aside().bind(id).optional().await?;
        row.ok_or_else(|| gone(id))?.int("generation")
    }

    /// Notes that a generation was seen to be reached. Returns false if there is a newer wish.
    pub async fn set_converged(&mut self, id: &PlacementId, generation: i64) -> Result<bool> {
        let sql = "update placements set converged_generation = $2 where id = $1 and generation = $2";
        self.sql("placements", sql).aside().bind(id).bind(generation).changed().await
    }

    /// Notes which release ran well last.
    pub async fn set_last_good(
        &mut self,
        id: &PlacementId,
        release: &ReleaseId,
        revision: u32,
    ) -> Result<()> {
        let sql = "update placements set last_good_release_id = $2, last_good_revision = $3 where id = $1";
        found(self.sql("placements", sql).bind(id).bind(release).bind(revision).changed().await?, id)
    }

    /// Keeps what was observed, as JSON. An older observation never replaces a newer one.
    pub async fn set_observed(&mut self, id: &PlacementId, json: &str, at: Timestamp) -> Result<()> {
        let sql = "update placements set observed = $2, observed_at = $3
            where id = $1 and (observed_at is null or observed_at <= $3)";
        self.sql("placements", sql).aside().bind(id).bind(json).bind(at).run().await?;
        Ok(())
    }

    /// Wishes that a placement is destroyed, which is a new generation. The first wish counts.
    pub async fn mark_deleting(&mut self, id: &PlacementId) -> Result<()> {
        let now = self.now();
        let sql = "update placements set generation = case when deleting_at is null then generation + 1 else generation end,
            deleting_at = coalesce(deleting_at, $2) where id = $1";
        found(self.sql("placements", sql).bind(id).bind(now).changed().await?, id)
    }

    /// Makes sure that this transaction alone gives the next number, or moves the pointers, in a placement. Taken before the
    /// placement's deployments are written, so that two who want both never wait for each other.
    pub async fn lock_placement(&mut self, team: &TeamId, id: &PlacementId) -> Result<()> {
        let sql = "update placements set generation = generation where id = $1 and team_id = $2";
        found(self.sql("placements", sql).aside().bind(id).bind(team).changed().await?, id)
    }

    /// Returns replicas and size of each process that was ever scaled.
    pub async fn formation(&mut self, id: &PlacementId) -> Result<Formation> {
        let sql =
            "select process, replicas, cpu_millis, memory_bytes, autoscale_min, autoscale_max, autoscale_cpu,
            autoscale_memory from formations where placement_id = $1";
        let rows = self.sql("formations", sql).bind(id).list(read_scale);
        Ok(rows.await?.into_iter().collect())
    }

    /// Sets replicas, size and bounds of one process.
    pub async fn set_scale(&mut self, id: &PlacementId, process: &ProcessName, scale: &Scale) -> Result<()> {
        let sql = "insert into formations (placement_id, process, replicas, cpu_millis, memory_bytes,
                autoscale_min, autoscale_max, autoscale_cpu, autoscale_memory)
            values ($1, $2, $3, $4, $5, $6, $7, $8, $9)
            on conflict (placement_id, process) do update set replicas = excluded.replicas,
                cpu_millis = excluded.cpu_millis, memory_bytes = excluded.memory_bytes,
                autoscale_min = excluded.autoscale_min, autoscale_max = excluded.autoscale_max,
                autoscale_cpu = excluded.autoscale_cpu, autoscale_memory = excluded.autoscale_memory";
        let bounds = scale.autoscale;
        self.sql("formations", sql)
            .bind(id)
            .bind(process)
            .bind(scale.replicas)
            .bind(scale.size.cpu_millis)
            .bind(scale.size.memory_bytes)
            .bind(bounds.map(|bounds| bounds.min))
            .bind(bounds.map(|bounds| bounds.max))
            .bind(bounds.and_then(|bounds| bounds.cpu_percent))
            .bind(bounds.and_then(|bounds| bounds.memory_percent))
            .run()
            .await?;
        Ok(())
    }
}

fn read_scale(row: &Row) -> Result<(ProcessName, Scale)> {
    let optional = |column| match row.opt_int(column)? {
        Some(_) => row.number::<u32>(column).map(Some),
        None => Ok(None),
    };
    let autoscale = match (optional("autoscale_min")?, optional("autoscale_max")?) {
        (Some(min), Some(max)) => Some(Autoscale {
            min,
            max,
            cpu_percent: optional("autoscale_cpu")?,
            memory_percent: optional("autoscale_memory")?,
        }),
        _ => None,
    };
    let size = Size { cpu_millis: row.number("cpu_millis")?, memory_bytes: row.number("memory_bytes")? };
    Ok((row.parse("process")?, Scale { replicas: row.number("replicas")?, size, autoscale }))
}

fn gone(id: &PlacementId) -> StoreError {
    StoreError::not_found(format!("placement `{id}`"))
}

fn found(found: bool, id: &PlacementId) -> Result<()> {
    if found { Ok(()) } else { Err(gone(id)) }
}
