//! What has to stay: the releases that somebody may want back, and with them builds and images.

use jiff::Timestamp;
use panda_domain::ids::{AppId, BuildId, ReleaseId, TeamId};
use panda_domain::release::ReleaseImage;
use panda_domain::source::Source;
use serde::{Deserialize, Serialize};

use crate::builds::BuildRow;
use crate::error::Result;
use crate::tx::Tx;

/// A release that is kept whole: it can be run again, and its source and build log can be looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptRelease {
    /// Whose.
    pub team: TeamId,
    /// Which.
    pub release: ReleaseId,
    /// Where its code came from.
    pub source: Source,
    /// What runs.
    pub image: ReleaseImage,
}

/// An image in the platform's registry that is to be deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DoomedImage {
    /// Its repository.
    pub repository: String,
    /// Its digest.
    pub digest: String,
}

/// Releases `r` of placements `p` that are kept: the newest `$1` of each placement, the newest `$1` that were live there,
/// what is wished, what serves, what a deployment is about that is under way, and what a task runs in.
macro_rules! kept {
    () => {
        "releases r join placements p on p.id = r.placement_id where (
            r.number > (select max(n.number) from releases n where n.placement_id = r.placement_id) - $1
            or r.id = p.desired_release_id or r.id = p.last_good_release_id
            or r.id in (select release_id from deployments where active = true and release_id is not null)
            or r.id in (select release_id from tasks where state <> 'ended')
            or r.id in (select lived.release_id from (
                select d.release_id, row_number() over (
                    partition by d.placement_id order by d.live_at desc, d.sequence desc) as place
                from deployments d where d.live_at is not null and d.release_id is not null) lived
                where lived.place <= $1))"
    };
}

/// A build that no kept release has, no deployment under way is about, and that ended (or was given up) before `$2`.
macro_rules! unneeded {
    () => {
        concat!(
            "coalesce(finished_at, created_at) < $2
            and not exists (select 1 from deployments where active = true
                and (deployments.build_id = builds.id or deployments.id = builds.deployment_id))
            and id not in (select r.build_id from ",
            kept!(),
            " and r.build_id is not null)"
        )
    };
}

/// The list of a repository's images: who finishes a build and who takes one away go one after the other.
fn images_list(repository: &str) -> String {
    format!("images/{repository}")
}

impl Tx {
    /// Returns the releases that are kept whole: the newest `keep` of each app and environment, as many that were live, and
    /// what is in use.
    pub async fn kept_releases(&mut self, keep: u32) -> Result<Vec<KeptRelease>> {
        let sql = concat!(
            "select r.id, r.team_id, r.source, r.repository, r.digest, r.own_registry, r.built_here from ",
            kept!()
        );
        self.sql("releases", sql)
            .bind(keep)
            .list(|row| {
                Ok(KeptRelease {
                    team: row.parse("team_id")?,
                    release: row.parse("id")?,
                    source: row.json("source")?,
                    image: ReleaseImage {
                        repository: row.text("repository")?,
                        digest: row.parse("digest")?,
                        own_registry: row.bool("own_registry")?,
                        built_here: row.bool("built_here")?,
                    },
                })
            })
            .await
    }

    /// Returns at most `limit` builds that ended before `before` and that nothing needs.
    pub async fn unneeded_builds(
        &mut self,
        keep: u32,
        before: Timestamp,
        limit: u32,
    ) -> Result<Vec<BuildRow>> {
        let sql = concat!(
            "select id, team_id, placement_id, deployment_id, state, failure, build_key, plan, processes, repository,
                digest, created_at, started_at, finished_at from builds where ",
            unneeded!(),
            " order by created_at limit $3"
        );
        self.sql("builds", sql).bind(keep).bind(before).bind(limit).list(crate::builds::read).await
    }

    /// Forgets a build that nothing needs, and lists its image as to be deleted unless another build or a kept release has
    /// the same. Returns false if something needs the build by now. Nobody can take it for a release meanwhile: that locks
    /// the placement too.
    pub async fn delete_unneeded_build(
        &mut self,
        build: &BuildRow,
        keep: u32,
        before: Timestamp,
    ) -> Result<bool> {
        self.lock_placement(&build.team, &build.placement).await?;
        let sql = concat!("delete from builds where id = $3 and ", unneeded!());
        if !self.sql("builds", sql).bind(keep).bind(before).bind(&build.id).changed().await? {
            return Ok(false);
        }
        if let (Some(repository), Some(digest)) = (&build.repository, &build.digest) {
            self.in_order(&images_list(repository)).await?;
            let sql = concat!(
                "insert into doomed_images (repository, digest, created_at) select $2, $3, $4
                where not exists (select 1 from builds where repository = $2 and digest = $3)
                and not exists (select 1 from ",
                kept!(),
                " and r.own_registry = true and r.repository = $2 and r.digest = $3)
                on conflict (repository, digest) do nothing"
            );
            let now = self.now();
            let statement = self.sql("doomed_images", sql).bind(keep).bind(repository);
            statement.bind(digest.as_str()).bind(now).run().await?;
        }
        Ok(true)
    }

    /// Returns which of these builds are known and haven't ended, and which are known at all.
    pub async fn known_builds(&mut self, ids: &[BuildId]) -> Result<Vec<(BuildId, bool)>> {
        let sql = (
            "select id, state in ('queued', 'running') as runs from builds where id in (select value from json_each($1))",
            "select id, state in ('queued', 'running') as runs from builds
                where id in (select jsonb_array_elements_text($1::jsonb))",
        );
        self.sql_by("builds", sql.0, sql.1)
            .bind(crate::sql::to_json(ids))
            .list(|row| Ok((row.parse("id")?, row.bool("runs")?)))
            .await
    }

    /// Lists all images that were built for an app as to be deleted; called when its rows go.
    pub(crate) async fn doom_images_of_app(&mut self, team: &TeamId, app: &AppId) -> Result<()> {
        let now = self.now();
        let sql = "insert into doomed_images (repository, digest, created_at)
            select distinct b.repository, b.digest, $3 from builds b join placements p on p.id = b.placement_id
            where p.team_id = $1 and p.app_id = $2 and b.repository is not null and b.digest is not null
            on conflict (repository, digest) do nothing";
        self.sql("doomed_images", sql).bind(team).bind(app).bind(now).run().await?;
        Ok(())
    }

    /// Lists an image that is kept before anything needs it as to be deleted from `due` on; before it is kept, so that none is
    /// forgotten. [`Tx::rescue_image`] takes it off the list.
    pub async fn expect_image(&mut self, repository: &str, digest: &str, due: Timestamp) -> Result<()> {
        self.in_order(&images_list(repository)).await?;
        let sql = "insert into doomed_images (repository, digest, created_at) select $1, $2, $3
            where not exists (select 1 from builds where repository = $1 and digest = $2)
            on conflict (repository, digest) do update set created_at = excluded.created_at
            where doomed_images.deleting_at is null";
        self.sql("doomed_images", sql).bind(repository).bind(digest).bind(due).run().await?;
        Ok(())
    }

    /// Takes an image that was just pushed off the list of those to be deleted, in the transaction that keeps its build.
    /// Returns false if its deletion may be under way: then it has to be pushed again, later.
    pub async fn rescue_image(&mut self, repository: &str, digest: &str) -> Result<bool> {
        self.in_order(&images_list(repository)).await?;
        let sql = "delete from doomed_images where repository = $1 and digest = $2 and deleting_at is null";
        self.sql("doomed_images", sql).bind(repository).bind(digest).run().await?;
        let sql = "select 1 as found from doomed_images where repository = $1 and digest = $2";
        let found = self.sql("doomed_images", sql).bind(repository).bind(digest).optional().await?;
        Ok(found.is_none())
    }

    /// Tells whether there are images to delete.
    pub async fn has_doomed_images(&mut self) -> Result<bool> {
        let now = self.now();
        let sql =
            "select 1 as found from doomed_images where created_at <= $1 or deleting_at is not null limit 1";
        Ok(self.sql("doomed_images", sql).bind(now).optional().await?.is_some())
    }

    /// Takes at most `limit` images to delete from the registry, those first whose deletion was begun before. Commit before
    /// the first is deleted, and call [`Tx::forget_doomed_image`] once the registry has deleted it.
    ///
    /// What is needed again since it was listed leaves the list: a rollback to it, or a build by an older server, which
    /// knows no list.
    pub async fn take_doomed_images(&mut self, keep: u32, limit: u32) -> Result<Vec<DoomedImage>> {
        let now = self.now();
        let sql = concat!(
            "delete from doomed_images where deleting_at is null and (
                exists (select 1 from builds b
                    where b.repository = doomed_images.repository and b.digest = doomed_images.digest)
                or exists (select 1 from ",
            kept!(),
            " and r.own_registry = true and r.repository = doomed_images.repository
                    and r.digest = doomed_images.digest))"
        );
        self.sql("doomed_images", sql).bind(keep).run().await?;
        let sql =
            "update doomed_images set deleting_at = coalesce(deleting_at, $1) where (repository, digest) in (
                select repository, digest from doomed_images where created_at <= $1 or deleting_at is not null
                order by case when deleting_at is null then 1 else 0 end, created_at limit $2)
            returning repository, digest";
        self.sql("doomed_images", sql)
            .bind(now)
            .bind(limit)
            .list(|row| Ok(DoomedImage { repository: row.text("repository")?, digest: row.text("digest")? }))
            .await
    }

    /// Notes that the registry doesn't have an image any more.
    pub async fn forget_doomed_image(&mut self, image: &DoomedImage) -> Result<()> {
        let sql = "delete from doomed_images where repository = $1 and digest = $2";
        self.sql("doomed_images", sql).bind(&image.repository).bind(&image.digest).run().await?;
        Ok(())
    }
}
