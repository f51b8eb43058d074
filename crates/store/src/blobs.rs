//! Which uploaded content each team has. The bytes lie in a [`crate::BlobDir`].

use std::collections::{BTreeSet, HashSet};

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

    /// Notes that the team has uploaded this content.
    pub async fn add_blob(&mut self, team: &TeamId, sha256: &str, size: u64) -> Result<()> {
        let now = self.now();
        let sql = "insert into blobs (team_id, sha256, size, created_at, used_at) values ($1, $2, $3, $4, $4)
            on conflict (team_id, sha256) do update set used_at = excluded.used_at";
        self.sql("blobs", sql).bind(team).bind(sha256).bind(size).bind(now).run().await?;
        Ok(())
    }

    /// Notes that the team has uploaded this directory. What the team has of its contents is asked afterwards, in the same
    /// transaction: from then on they stay.
    pub async fn add_tree(&mut self, team: &TeamId, tree: &str, size: u64, files: u64) -> Result<()> {
        let now = self.now();
        self.in_order(&trees_list(team)).await?;
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

    /// Marks a directory as used. Returns false if the team doesn't have it (any more).
    pub async fn touch_tree(&mut self, team: &TeamId, tree: &str) -> Result<bool> {
        let now = self.now();
        let sql = "update trees set used_at = $3 where team_id = $1 and tree = $2";
        self.sql("trees", sql).bind(team).bind(tree).bind(now).changed().await
    }

    /// Returns the directories that a team has.
    pub async fn trees_of(&mut self, team: &TeamId) -> Result<BTreeSet<String>> {
        let sql = "select tree from trees where team_id = $1";
        Ok(self.sql("trees", sql).bind(team).list(|row| row.text("tree")).await?.into_iter().collect())
    }

    /// Returns at most `limit` directories that were last used before `before`, those in `needed` left out: for the garbage
    /// reconciler.
    pub async fn unused_trees(
        &mut self,
        before: Timestamp,
        needed: &BTreeSet<(TeamId, String)>,
        limit: u32,
    ) -> Result<Vec<TreeRow>> {
        let sql = (
            "select team_id, tree, size, files, used_at from trees where used_at < $1
                and team_id || ' ' || tree not in (select value from json_each($2)) order by used_at limit $3",
            "select team_id, tree, size, files, used_at from trees where used_at < $1
                and team_id || ' ' || tree not in (select jsonb_array_elements_text($2::jsonb)) order by used_at limit $3",
        );
        let needed: Vec<String> = needed.iter().map(|(team, tree)| format!("{team} {tree}")).collect();
        let statement = self.sql_by("trees", sql.0, sql.1).bind(before).bind(to_json(&needed)).bind(limit);
        statement
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

    /// Forgets a directory, unless it was used since `before`. Returns whether it is forgotten.
    pub async fn delete_tree(&mut self, team: &TeamId, tree: &str, before: Timestamp) -> Result<bool> {
        let sql = "delete from trees where team_id = $1 and tree = $2 and used_at < $3";
        self.sql("trees", sql).bind(team).bind(tree).bind(before).changed().await
    }

    /// Returns a page of at most `limit` contents of a team that were last used before `before`, by hash, from the one that
    /// follows `after` on.
    pub async fn unused_blobs(
        &mut self,
        team: &TeamId,
        before: Timestamp,
        after: &str,
        limit: u32,
    ) -> Result<Vec<BlobRow>> {
        let sql = "select team_id, sha256, size, used_at from blobs where team_id = $1 and used_at < $2 and sha256 > $3
            order by sha256 limit $4";
        let statement = self.sql("blobs", sql).bind(team).bind(before).bind(after).bind(limit);
        statement
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

    /// Forgets contents of a team that none of its directories has, unless they were used since `before`. `trees` are the
    /// directories that were looked into: if there is another one by now, which may have just these contents, nothing is
    /// forgotten. Returns how many rows went; the bytes may go once no team has them ([`Tx::known_blobs`]).
    pub async fn delete_blobs(
        &mut self,
        team: &TeamId,
        sha256: &[String],
        trees: &BTreeSet<String>,
        before: Timestamp,
    ) -> Result<u64> {
        self.in_order(&trees_list(team)).await?;
        if !self.trees_of(team).await?.is_subset(trees) {
            return Ok(0);
        }
        let sql = (
            "delete from blobs where team_id = $1 and used_at < $2 and sha256 in (select value from json_each($3))",
            "delete from blobs where team_id = $1 and used_at < $2
                and sha256 in (select jsonb_array_elements_text($3::jsonb))",
        );
        self.sql_by("blobs", sql.0, sql.1).bind(team).bind(before).bind(to_json(sha256)).run().await
    }

    /// Returns which of these hashes any team has.
    pub async fn known_blobs(&mut self, sha256: &[String]) -> Result<HashSet<String>> {
        let sql = (
            "select distinct sha256 from blobs where sha256 in (select value from json_each($1))",
            "select distinct sha256 from blobs where sha256 in (select jsonb_array_elements_text($1::jsonb))",
        );
        let rows = self.sql_by("blobs", sql.0, sql.1).bind(to_json(sha256)).list(|row| row.text("sha256"));
        Ok(rows.await?.into_iter().collect())
    }
}

/// Who adds a directory and who forgets contents go one after the other: see [`Tx::in_order`].
fn trees_list(team: &TeamId) -> String {
    format!("trees/{team}")
}
