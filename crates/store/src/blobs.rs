//! Which uploaded content each team has. The bytes lie in a [`crate::BlobDir`].

use std::collections::HashSet;

use jiff::Timestamp;
use panda_domain::ids::TeamId;

use crate::error::Result;
use crate::sql::to_json;
use crate::tx::Tx;

/// A file's content that a team has uploaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlobRow {
    /// Whose.
    pub team: TeamId,
    /// Hash of the content, hex.
    pub sha256: String,
    /// Bytes.
    pub size: u64,
    /// When it was last part of a deploy.
    pub used_at: Timestamp,
}

/// A directory that a team has uploaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeRow {
    /// Whose.
    pub team: TeamId,
    /// `sha256:…` of the canonical listing.
    pub tree: String,
    /// Bytes of all files.
    pub size: u64,
    /// How many files.
    pub files: u64,
    /// When it was last deployed.
    pub used_at: Timestamp,
}

impl Tx {
    /// Returns which of these hashes the team has.
    pub async fn have_blobs(&mut self, team: &TeamId, sha256: &[String]) -> Result<HashSet<String>> {
        let sql = (
            "select sha256 from blobs where team_id = $1 and sha256 in (select value from json_each($2))",
            "select sha256 from blobs where team_id = $1 and sha256 in (select jsonb_array_elements_text($2::jsonb))",
        );
        let rows = self
            .sql_by("blobs", sql.0, sql.1)
            .bind(team)
            .bind(to_json(sha256))
            .list(|row| row.text("sha256"));
        Ok(rows.await?.into_iter().collect())
    }

    /// Marks content as used, so that the garbage collector leaves it alone for a while.
    pub async fn touch_blobs(&mut self, team: &TeamId, sha256: &[String]) -> Result<()> {
        let now = self.now();
        let sql = (
            "update blobs set used_at = $3 where team_id = $1 and sha256 in (select value from json_each($2))",
            "update blobs set used_at = $3 where team_id = $1
                and sha256 in (select jsonb_array_elements_text($2::jsonb))",
        );
        self.sql_by("blobs", sql.0, sql.1).bind(team).bind(to_json(sha256)).bind(now).run().await?;
        Ok(())
    }

    /// Notes that the team has uploaded this content.
    pub async fn add_blob(&mut self, team: &TeamId, sha256: &str, size: u64) -> Result<()> {
        let now = self.now();
        let sql = "insert into blobs (team_id, sha256, size, created_at, used_at) values ($1, $2, $3, $4, $4)
            on conflict (team_id, sha256) do update set used_at = excluded.used_at";
        self.sql("blobs", sql).bind(team).bind(sha256).bind(size).bind(now).run().await?;
        Ok(())
    }

    /// Notes that the team has uploaded this directory.
    pub async fn add_tree(&mut self, team: &TeamId, tree: &str, size: u64, files: u64) -> Result<()> {
        let now = self.now();
        let sql = "insert into trees (team_id, tree, size, files, created_at, used_at) values ($1, $2, $3, $4, $5, $5)
            on conflict (team_id, tree) do update set used_at = excluded.used_at";
        self.sql("trees", sql).bind(team).bind(tree).bind(size).bind(files).bind(now).run().await?;
        Ok(())
    }

    /// Tells whether the team has uploaded this directory.
    pub async fn has_tree(&mut self, team: &TeamId, tree: &str) -> Result<bool> {
        let sql = "select 1 as found from trees where team_id = $1 and tree = $2";
        Ok(self.sql("trees", sql).bind(team).bind(tree).optional().await?.is_some())
    }

    /// Marks a directory as used.
    pub async fn touch_tree(&mut self, team: &TeamId, tree: &str) -> Result<()> {
        let now = self.now();
        let sql = "update trees set used_at = $3 where team_id = $1 and tree = $2";
        self.sql("trees", sql).bind(team).bind(tree).bind(now).run().await?;
        Ok(())
    }

    /// Returns the directories of all teams that were last used before `before`: for the garbage collector.
    pub async fn unused_trees(&mut self, before: Timestamp) -> Result<Vec<TreeRow>> {
        let sql = "select team_id, tree, size, files, used_at from trees where used_at < $1 order by used_at limit 1000";
        self.sql("trees", sql)
            .bind(before)
            .list(|row| {
                Ok(TreeRow {
                    team: row.parse("team_id")?,
                    tree: row.text("tree")?,
                    size: row.number("size")?,
                    files: row.number("files")?,
                    used_at: row.time("used_at")?,
                })
            })
            .await
    }

    /// Forgets a directory.
    pub async fn delete_tree(&mut self, team: &TeamId, tree: &str) -> Result<bool> {
        self.sql("trees", "delete from trees where team_id = $1 and tree = $2")
            .bind(team)
            .bind(tree)
            .changed()
            .await
    }

    /// Returns the content of all teams that was last used before `before`: for the garbage collector.
    pub async fn unused_blobs(&mut self, before: Timestamp) -> Result<Vec<BlobRow>> {
        let sql =
            "select team_id, sha256, size, used_at from blobs where used_at < $1 order by used_at limit 1000";
        self.sql("blobs", sql)
            .bind(before)
            .list(|row| {
                Ok(BlobRow {
                    team: row.parse("team_id")?,
                    sha256: row.text("sha256")?,
                    size: row.number("size")?,
                    used_at: row.time("used_at")?,
                })
            })
            .await
    }

    /// Forgets that a team has this content. Returns whether no team has it any more, so that its bytes may go.
    pub async fn delete_blob(&mut self, team: &TeamId, sha256: &str) -> Result<bool> {
        self.sql("blobs", "delete from blobs where team_id = $1 and sha256 = $2")
            .bind(team)
            .bind(sha256)
            .run()
            .await?;
        let sql = "select 1 as found from blobs where sha256 = $1 limit 1";
        Ok(self.sql("blobs", sql).bind(sha256).optional().await?.is_none())
    }
}
