//! An app in an environment, as a list or a page shows it: one query and no column more, because nothing is read as often.

use jiff::Timestamp;
use panda_domain::autoscale::Autoscale;
use panda_domain::formation::{Formation, Scale, Size};
use panda_domain::ids::{AppId, PlacementId, ProjectId, ReleaseId, TeamId};
use panda_domain::names::{AppName, EnvironmentName, ProcessName, ProjectName};

use crate::error::Result;
use crate::page::Cursor;
use crate::sql::Row;
use crate::tx::Tx;

/// A placement with its wished scale and what was seen of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlacedRow {
    /// The placement.
    pub id: PlacementId,
    /// The app.
    pub app: AppId,
    /// Its name.
    pub app_name: AppName,
    /// The name of its project.
    pub project_name: ProjectName,
    /// The name of the environment.
    pub environment_name: EnvironmentName,
    /// The host that it was given.
    pub host: String,
    /// The release that should run.
    pub desired_release: Option<ReleaseId>,
    /// The release that ran well last.
    pub good_release: Option<GoodRelease>,
    /// Replicas and size of each process that was ever scaled.
    pub formation: Formation,
    /// What was observed last, as JSON.
    pub observed: Option<String>,
    /// When.
    pub observed_at: Option<Timestamp>,
    /// Since when it is being destroyed.
    pub deleting_at: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
}

/// A release that ran well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GoodRelease {
    /// The release.
    pub id: ReleaseId,
    /// How often it had been restarted.
    pub revision: u32,
    /// Its number.
    pub number: u32,
}

/// The formation comes in one column, so that a page of apps is one query. No process name has a space or a comma; 0 stands for
/// what isn't set.
macro_rules! select {
    ($rest:literal) => {
        concat!(
            "select p.id, p.app_id, a.name as app_name, j.name as project_name, e.name as environment_name, p.host,
                p.desired_release_id, p.last_good_release_id, p.last_good_revision,
                (select r.number from releases r where r.id = p.last_good_release_id) as good_number,
                (select string_agg(f.process || ' ' || f.replicas || ' ' || f.cpu_millis || ' ' || f.memory_bytes
                    || ' ' || coalesce(f.autoscale_min, 0) || ' ' || coalesce(f.autoscale_max, 0)
                    || ' ' || coalesce(f.autoscale_cpu, 0) || ' ' || coalesce(f.autoscale_memory, 0), ',')
                    from formations f where f.placement_id = p.id) as formation,
                p.observed, p.observed_at, p.deleting_at, p.created_at
            from placements p
            join apps a on a.id = p.app_id
            join environments e on e.id = p.environment_id
            join projects j on j.id = a.project_id ",
            $rest
        )
    };
}

fn read(row: &Row) -> Result<PlacedRow> {
    let formation = row.opt_text("formation")?.unwrap_or_default();
    let scales = formation.split(',').filter(|scale| !scale.is_empty());
    let formation =
        scales.map(|scale| scale_of(scale).ok_or_else(|| row.odd(format!("has the scale `{scale}`"))));
    let good_release = match row.opt_parse("last_good_release_id")? {
        Some(id) => Some(GoodRelease {
            id,
            revision: row.number("last_good_revision")?,
            number: row.number("good_number")?,
        }),
        None => None,
    };
    Ok(PlacedRow {
        id: row.parse("id")?,
        app: row.parse("app_id")?,
        app_name: row.parse("app_name")?,
        project_name: row.parse("project_name")?,
        environment_name: row.parse("environment_name")?,
        host: row.text("host")?,
        desired_release: row.opt_parse("desired_release_id")?,
        good_release,
        formation: formation.collect::<Result<_>>()?,
        observed: row.opt_text("observed")?,
        observed_at: row.opt_time("observed_at")?,
        deleting_at: row.opt_time("deleting_at")?,
        created_at: row.time("created_at")?,
    })
}

/// Reads `process replicas cpu_millis memory_bytes min max cpu memory`.
fn scale_of(text: &str) -> Option<(ProcessName, Scale)> {
    let mut words = text.split(' ');
    let process = words.next()?.parse().ok()?;
    let replicas = words.next()?.parse().ok()?;
    let size = Size { cpu_millis: words.next()?.parse().ok()?, memory_bytes: words.next()?.parse().ok()? };
    let mut figure = || words.next()?.parse::<u32>().ok();
    let (min, max, cpu, memory) = (figure()?, figure()?, figure()?, figure()?);
    let set = |percent: u32| Some(percent).filter(|percent| *percent > 0);
    let autoscale =
        (min > 0).then(|| Autoscale { min, max, cpu_percent: set(cpu), memory_percent: set(memory) });
    Some((process, Scale { replicas, size, autoscale }))
}

impl Tx {
    /// Returns the team's placement of an app in an environment, with its scale.
    pub async fn placed_by_names(
        &mut self,
        team: &TeamId,
        app: &AppName,
        environment: &EnvironmentName,
    ) -> Result<Option<PlacedRow>> {
        self.sql("placements", select!("where a.team_id = $1 and a.name = $2 and e.name = $3"))
            .bind(team)
            .bind(app)
            .bind(environment)
            .maybe(read)
            .await
    }

    /// Returns the team's placements with their scale, newest first.
    pub async fn placed(
        &mut self,
        team: &TeamId,
        project: Option<&ProjectId>,
        page: &Cursor,
    ) -> Result<Vec<PlacedRow>> {
        let project = project.map_or("", ProjectId::as_str);
        let sql = select!(
            "where p.team_id = $1 and p.id < $2 and ($4 = '' or a.project_id = $4) order by p.id desc limit $3"
        );
        self.sql("placements", sql)
            .bind(team)
            .bind(page.before_id()?)
            .bind(page.limit())
            .bind(project)
            .list(read)
            .await
    }
}
