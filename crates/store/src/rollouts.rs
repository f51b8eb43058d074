//! What the rollout and route reconcilers read, in a constant number of queries, and the pointers they move.

use std::collections::HashMap;

use panda_domain::app::Placement;
use panda_domain::ids::{EnvironmentId, PlacementId, ReleaseId, TeamId};
use panda_domain::names::AppName;
use panda_domain::release::ReleaseConfig;

use crate::domains::DomainRow;
use crate::error::{Result, StoreError};
use crate::placements::PlacementRow;
use crate::ports::PortRow;
use crate::tx::Tx;

/// A placement with what its routes need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoutedRow {
    /// The placement.
    pub placement: Placement,
    /// The release that serves, `None` before the first.
    pub serving: Option<ServingRow>,
    /// Its proven domains.
    pub domains: Vec<DomainRow>,
    /// Its published ports.
    pub ports: Vec<PortRow>,
}

/// The release that serves a placement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServingRow {
    /// Which.
    pub release: ReleaseId,
    /// Which attempt at it.
    pub revision: u32,
    /// Its settings.
    pub config: ReleaseConfig,
}

impl Tx {
    /// Returns every placement that isn't being destroyed with its serving release, proven domains and published ports: for reconcilers.
    pub async fn routed_rows(&mut self) -> Result<Vec<RoutedRow>> {
        let sql = "select r.id, r.config from releases r join placements p on p.last_good_release_id = r.id";
        let configs =
            self.sql("releases", sql).list(|row| Ok((row.parse::<ReleaseId>("id")?, row.json("config")?)));
        let configs: HashMap<ReleaseId, ReleaseConfig> = configs.await?.into_iter().collect();
        let mut domains: HashMap<PlacementId, Vec<DomainRow>> = HashMap::new();
        for domain in self.all_verified_domains().await? {
            domains.entry(domain.placement.clone()).or_default().push(domain);
        }
        let mut ports = self.all_ports().await?;
        let rows = self.all_placements().await?.into_iter().filter(|row| row.placement.deleting_at.is_none());
        let routed = rows.map(|row| {
            let serving = row.placement.last_good_release.clone().and_then(|release| {
                let config = configs.get(&release)?.clone();
                Some(ServingRow { release, revision: row.last_good_revision, config })
            });
            RoutedRow {
                domains: domains.remove(&row.placement.id).unwrap_or_default(),
                ports: ports.remove(&row.placement.id).unwrap_or_default(),
                serving,
                placement: row.placement,
            }
        });
        Ok(routed.collect())
    }

    /// Returns the apps of an environment that serve requests, with their ports.
    pub async fn neighbours(
        &mut self,
        team: &TeamId,
        environment: &EnvironmentId,
    ) -> Result<Vec<(AppName, u16)>> {
        let sql = "select a.name, r.config from placements p join apps a on a.id = p.app_id
            join releases r on r.id = p.last_good_release_id
            where p.team_id = $1 and p.environment_id = $2 and p.deleting_at is null order by a.name";
        let rows = self
            .sql("placements", sql)
            .bind(team)
            .bind(environment)
            .list(|row| Ok((row.parse::<AppName>("name")?, row.json::<ReleaseConfig>("config")?)));
        Ok(rows.await?.into_iter().filter_map(|(app, config)| Some((app, config.web_port()?))).collect())
    }

    /// Returns the placements that work is going on for: an unreached wish, or a deployment past its build.
    pub async fn unsettled_placements(&mut self) -> Result<Vec<PlacementRow>> {
        let sql = "select distinct placement_id from deployments where state in ('releasing', 'rolling')";
        let busy = self.sql("deployments", sql).list(|row| row.parse::<PlacementId>("placement_id")).await?;
        let mut rows = self.unconverged_placements().await?;
        for id in busy {
            if !rows.iter().any(|row| row.placement.id == id) {
                rows.extend(self.placement_by_id(&id).await?);
            }
        }
        Ok(rows)
    }

    /// Wishes that nothing runs. Returns the new generation.
    pub async fn clear_desired(&mut self, id: &PlacementId) -> Result<i64> {
        let sql = "update placements set desired_release_id = null, desired_revision = 0, generation = generation + 1
            where id = $1 returning generation";
        let row = self.sql("placements", sql).bind(id).optional().await?;
        row.ok_or_else(|| StoreError::not_found(format!("placement `{id}`")))?.int("generation")
    }

    /// Notes that no release is known to serve.
    pub async fn clear_last_good(&mut self, id: &PlacementId) -> Result<()> {
        let sql = "update placements set last_good_release_id = null, last_good_revision = 0 where id = $1";
        self.sql("placements", sql).bind(id).run().await?;
        Ok(())
    }

    /// Returns the state's word of the newest deployment that made or took a release.
    pub async fn outcome_of_release(&mut self, release: &ReleaseId) -> Result<Option<String>> {
        let sql = "select state from deployments where release_id = $1 order by sequence desc limit 1";
        self.sql("deployments", sql).bind(release).maybe(|row| row.text("state")).await
    }
}
