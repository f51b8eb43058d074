//! Releases: immutable and numbered.

use jiff::Timestamp;
use panda_domain::event::Actor;
use panda_domain::ids::{BuildId, PlacementId, ReleaseId, TeamId};
use panda_domain::release::{ReleaseConfig, ReleaseImage};
use panda_domain::source::Source;

use crate::error::Result;
use crate::page::Cursor;
use crate::sql::{Row, to_json};
use crate::tx::Tx;

/// One release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReleaseRow {
    /// Its id.
    pub id: ReleaseId,
    /// Whose.
    pub team: TeamId,
    /// Of which app and environment.
    pub placement: PlacementId,
    /// 1, 2, 3, … in its placement.
    pub number: u32,
    /// What runs.
    pub image: ReleaseImage,
    /// How it runs.
    pub config: ReleaseConfig,
    /// Where its code came from.
    pub source: Source,
    /// The version of the env that it runs with.
    pub env_version: i64,
    /// The build that made its image.
    pub build: Option<BuildId>,
    /// The number of the release that it is a copy of.
    pub copy_of: Option<u32>,
    /// Who made it.
    pub actor: Actor,
    /// When.
    pub created_at: Timestamp,
}

/// A release to be made.
#[derive(Debug, Clone)]
pub struct NewRelease {
    /// Whose.
    pub team: TeamId,
    /// Of which app and environment.
    pub placement: PlacementId,
    /// What runs.
    pub image: ReleaseImage,
    /// How it runs.
    pub config: ReleaseConfig,
    /// Where its code came from.
    pub source: Source,
    /// The version of the env that it runs with.
    pub env_version: i64,
    /// The build that made its image.
    pub build: Option<BuildId>,
    /// The number of the release that it is a copy of.
    pub copy_of: Option<u32>,
    /// Who makes it.
    pub actor: Actor,
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "select id, team_id, placement_id, number, repository, digest, own_registry, built_here, config, source,
                env_version, build_id, copy_of, actor, created_at from releases ",
            $rest
        )
    };
}

fn read(row: &Row) -> Result<ReleaseRow> {
    let copy_of = row.opt_int("copy_of")?.map(u32::try_from).transpose();
    Ok(ReleaseRow {
        id: row.parse("id")?,
        team: row.parse("team_id")?,
        placement: row.parse("placement_id")?,
        number: row.number("number")?,
        image: ReleaseImage {
            repository: row.text("repository")?,
            digest: row.parse("digest")?,
            own_registry: row.bool("own_registry")?,
            built_here: row.bool("built_here")?,
        },
        config: row.json("config")?,
        source: row.json("source")?,
        env_version: row.int("env_version")?,
        build: row.opt_parse("build_id")?,
        copy_of: copy_of.map_err(|_| row.odd("has a `copy_of` out of range".to_owned()))?,
        actor: row.json("actor")?,
        created_at: row.time("created_at")?,
    })
}

impl Tx {
    /// Makes a release with the placement's next number.
    pub async fn insert_release(&mut self, new: &NewRelease) -> Result<ReleaseRow> {
        let (id, now): (ReleaseId, _) = (self.next_id(), self.now());
        self.lock_placement(&new.team, &new.placement).await?;
        let sql = "insert into releases (id, team_id, placement_id, number, repository, digest, own_registry,
                built_here, config, source, env_version, build_id, copy_of, actor, created_at)
            values ($1, $2, $3, (select coalesce(max(number), 0) + 1 from releases where placement_id = $3),
                $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
            returning id, team_id, placement_id, number, repository, digest, own_registry, built_here, config, source,
                env_version, build_id, copy_of, actor, created_at";
        let row = self
            .sql("releases", sql)
            .bind(&id)
            .bind(&new.team)
            .bind(&new.placement)
            .bind(&new.image.repository)
            .bind(new.image.digest.as_str())
            .bind(new.image.own_registry)
            .bind(new.image.built_here)
            .bind(to_json(&new.config))
            .bind(to_json(&new.source))
            .bind(new.env_version)
            .bind(new.build.as_ref())
            .bind(new.copy_of)
            .bind(to_json(&new.actor))
            .bind(now)
            .one()
            .await?;
        read(&row)
    }

    /// Returns the team's release with this id.
    pub async fn release(&mut self, team: &TeamId, id: &ReleaseId) -> Result<Option<ReleaseRow>> {
        self.sql("releases", select!("where id = $1 and team_id = $2")).bind(id).bind(team).maybe(read).await
    }

    /// Returns the release with this id whoever owns it: for jobs and reconcilers.
    pub async fn release_by_id(&mut self, id: &ReleaseId) -> Result<Option<ReleaseRow>> {
        self.sql("releases", select!("where id = $1")).bind(id).maybe(read).await
    }

    /// Returns the release with this number.
    pub async fn release_by_number(
        &mut self,
        team: &TeamId,
        placement: &PlacementId,
        number: u32,
    ) -> Result<Option<ReleaseRow>> {
        self.sql("releases", select!("where placement_id = $1 and team_id = $2 and number = $3"))
            .bind(placement)
            .bind(team)
            .bind(number)
            .maybe(read)
            .await
    }

    /// Returns a placement's releases, newest first. The cursor names a number.
    pub async fn releases(
        &mut self,
        team: &TeamId,
        placement: &PlacementId,
        page: &Cursor,
    ) -> Result<Vec<ReleaseRow>> {
        let sql =
            select!("where placement_id = $1 and team_id = $2 and number < $3 order by number desc limit $4");
        self.sql("releases", sql)
            .bind(placement)
            .bind(team)
            .bind(page.before_number()?)
            .bind(page.limit())
            .list(read)
            .await
    }

    /// Returns a placement's newest release.
    pub async fn newest_release(&mut self, placement: &PlacementId) -> Result<Option<ReleaseRow>> {
        self.sql("releases", select!("where placement_id = $1 order by number desc limit 1"))
            .bind(placement)
            .maybe(read)
            .await
    }
}
