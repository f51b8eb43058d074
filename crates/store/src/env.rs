//! Environment variables, versioned and sealed. Nothing here ever gives an empty env for one that can't be read.

use std::collections::BTreeMap;

use jiff::Timestamp;
use panda_domain::env::{Env, EnvChange, EnvValue};
use panda_domain::event::Actor;
use panda_domain::ids::{PlacementId, TeamId};
use panda_domain::names::EnvKey;

use crate::error::{Result, StoreError};
use crate::page::Cursor;
use crate::sql::{Row, to_json};
use crate::tx::Tx;

/// One variable as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvRow {
    /// Its name.
    pub key: EnvKey,
    /// Its value, and whether it is a secret.
    pub value: EnvValue,
    /// The version that set it.
    pub version: i64,
    /// 8 hex digits that change when the value does.
    pub fingerprint: String,
    /// Who set it.
    pub actor: Actor,
    /// When.
    pub at: Timestamp,
}

/// One change of one variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvHistoryRow {
    /// The version that the change made.
    pub version: i64,
    /// The variable's name.
    pub key: EnvKey,
    /// Whether it was set, not removed.
    pub set: bool,
    /// Whether it is a secret.
    pub secret: bool,
    /// 8 hex digits that change when the value does; empty for a removed one.
    pub fingerprint: String,
    /// Who changed it.
    pub actor: Actor,
    /// When.
    pub at: Timestamp,
}

fn place(placement: &PlacementId, key: &str, version: i64) -> String {
    format!("env/{placement}/{key}/{version}")
}

impl Tx {
    /// Returns all variables as they were at `version`.
    pub async fn env_at(&mut self, team: &TeamId, placement: &PlacementId, version: i64) -> Result<Env> {
        let rows = self.env_rows_at(team, placement, version).await?;
        Ok(rows.into_iter().map(|row| (row.key, row.value)).collect())
    }

    /// Returns all variables as they are now, by name. Values of secrets are in it too: who shows rows leaves them out.
    pub async fn env_rows(&mut self, team: &TeamId, placement: &PlacementId) -> Result<Vec<EnvRow>> {
        let version = self.env_version(team, placement).await?;
        self.env_rows_at(team, placement, version).await
    }

    /// Changes variables. Returns the new version, or the old one if every value is as it was. A secret stays one.
    pub async fn change_env(
        &mut self,
        team: &TeamId,
        placement: &PlacementId,
        changes: &BTreeMap<EnvKey, EnvChange>,
        actor: &Actor,
    ) -> Result<i64> {
        // Takes the number first: that locks the row, so that two changes come one after the other.
        let sql = "update placements set env_version = env_version + 1 where id = $1 and team_id = $2
            returning env_version";
        let row = self.sql("placements", sql).aside().bind(placement).bind(team).optional().await?;
        let version = row.ok_or_else(|| no_placement(placement))?.int("env_version")?;
        let now: BTreeMap<EnvKey, EnvValue> = self.env_at(team, placement, version - 1).await?;
        let mut changed = false;
        for (key, change) in changes {
            let sealed = match (change, now.get(key)) {
                (EnvChange::Unset, None) => continue,
                (EnvChange::Unset, Some(old)) => (None, old.secret),
                (EnvChange::Set(new), old) => {
                    let secret = new.secret || old.is_some_and(|old| old.secret);
                    if old.is_some_and(|old| old.value == new.value && old.secret == secret) {
                        continue;
                    }
                    (Some(&new.value), secret)
                }
            };
            self.insert_env(team, placement, version, key, sealed, actor).await?;
            changed = true;
        }
        if changed {
            return Ok(version);
        }
        let sql = "update placements set env_version = env_version - 1 where id = $1";
        self.sql("placements", sql).aside().bind(placement).run().await?;
        Ok(version - 1)
    }

    /// Returns the changes of the newest versions, without values. The cursor counts and names versions.
    pub async fn env_history(
        &mut self,
        placement: &PlacementId,
        page: &Cursor,
    ) -> Result<Vec<EnvHistoryRow>> {
        let sql = "select version, key, sealed is not null as is_set, secret, fingerprint, actor, at from env_versions
            where placement_id = $1 and version in (
                select distinct version from env_versions where placement_id = $1 and version < $2
                order by version desc limit $3)
            order by version desc, key";
        self.sql("env_versions", sql)
            .bind(placement)
            .bind(page.before_number()?)
            .bind(page.limit())
            .list(|row| {
                Ok(EnvHistoryRow {
                    version: row.int("version")?,
                    key: row.parse("key")?,
                    set: row.bool("is_set")?,
                    secret: row.bool("secret")?,
                    fingerprint: row.text("fingerprint")?,
                    actor: row.json("actor")?,
                    at: row.time("at")?,
                })
            })
            .await
    }

    async fn env_version(&mut self, team: &TeamId, placement: &PlacementId) -> Result<i64> {
        let sql = "select env_version from placements where id = $1 and team_id = $2";
        let row = self.sql("placements", sql).aside().bind(placement).bind(team).optional().await?;
        row.ok_or_else(|| no_placement(placement))?.int("env_version")
    }

    async fn env_rows_at(
        &mut self,
        team: &TeamId,
        placement: &PlacementId,
        version: i64,
    ) -> Result<Vec<EnvRow>> {
        let newest = self.env_version(team, placement).await?;
        if version > newest || version < 0 {
            return Err(StoreError::not_found(format!("env version {version} of placement `{placement}`")));
        }
        let sql =
            "select v.key, v.sealed, v.secret, v.fingerprint, v.version, v.actor, v.at from env_versions v
            where v.placement_id = $1 and v.team_id = $2 and v.sealed is not null and v.version = (
                select max(w.version) from env_versions w
                where w.placement_id = v.placement_id and w.key = v.key and w.version <= $3)
            order by v.key";
        let rows = self.sql("env_versions", sql).bind(placement).bind(team).bind(version).all().await?;
        let mut variables = Vec::with_capacity(rows.len());
        for row in &rows {
            variables.push(self.open_env(placement, row).await?);
        }
        Ok(variables)
    }

    async fn open_env(&mut self, placement: &PlacementId, row: &Row) -> Result<EnvRow> {
        let key: EnvKey = row.parse("key")?;
        let version = row.int("version")?;
        let about = place(placement, key.as_str(), version);
        let what = format!("variable `{key}` of placement `{placement}`");
        let value = self.unseal(&about, &what, &row.bytes("sealed")?).await?;
        Ok(EnvRow {
            value: EnvValue { value, secret: row.bool("secret")? },
            key,
            version,
            fingerprint: row.text("fingerprint")?,
            actor: row.json("actor")?,
            at: row.time("at")?,
        })
    }

    async fn insert_env(
        &mut self,
        team: &TeamId,
        placement: &PlacementId,
        version: i64,
        key: &EnvKey,
        (value, secret): (Option<&panda_domain::secret::Secret>, bool),
        actor: &Actor,
    ) -> Result<()> {
        let now = self.now();
        let sealed =
            value.map(|value| self.seal(&place(placement, key.as_str(), version), value)).transpose()?;
        let about = format!("env/{placement}/{key}");
        let fingerprint = value.map(|value| self.fingerprint(&about, value)).transpose()?.unwrap_or_default();
        let sql = "insert into env_versions (placement_id, team_id, version, key, sealed, secret, fingerprint, actor, at)
            values ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
        self.sql("env_versions", sql)
            .bind(placement)
            .bind(team)
            .bind(version)
            .bind(key)
            .bind(sealed)
            .bind(secret)
            .bind(fingerprint)
            .bind(to_json(actor))
            .bind(now)
            .run()
            .await?;
        Ok(())
    }

    /// Opens every sealed value that there is, of all teams. Returns how many; the first that doesn't open is named.
    pub(crate) async fn prove_secrets(&mut self) -> Result<u64> {
        let sql = "select v.placement_id, v.key, v.sealed, v.secret, v.fingerprint, v.version, v.actor, v.at
            from env_versions v where v.sealed is not null";
        let rows = self.sql("env_versions", sql).all().await?;
        for row in &rows {
            self.open_env(&row.parse("placement_id")?, row).await?;
        }
        let keys = self.all_certificates().await?.iter().filter(|c| c.key.is_some()).count();
        Ok((rows.len() + keys) as u64)
    }
}

fn no_placement(placement: &PlacementId) -> StoreError {
    StoreError::not_found(format!("placement `{placement}`"))
}
