//! Published TCP ports: each is one app's in one environment, from its deploy until no release that serves wants it.

use std::collections::HashMap;

use panda_domain::ids::{PlacementId, TeamId};
use panda_domain::port::{HeldPort, PortRange, PortState, TcpPort, fulfilled};

use crate::error::Result;
use crate::sql::{Row, to_json};
use crate::tx::Tx;

/// A published port of an app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortRow {
    /// Whose.
    pub placement: PlacementId,
    /// The port, and what for it was given.
    pub held: HeldPort,
    /// What the runtime told of it last.
    pub observed: Option<PortState>,
}

/// Why a port can't be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PortRefusal {
    /// It is somebody's already.
    Taken(u16),
    /// All that may be published are somebody's.
    AllTaken,
}

macro_rules! select {
    ($rest:literal) => {
        concat!("select published, placement_id, process, port, observed from ports ", $rest)
    };
}

fn read(row: &Row) -> Result<PortRow> {
    let observed = row.opt_text("observed")?;
    Ok(PortRow {
        placement: row.parse("placement_id")?,
        held: HeldPort {
            published: row.number("published")?,
            process: row.parse("process")?,
            port: row.number("port")?,
        },
        // What a later version wrote there is seen anew soon.
        observed: observed.and_then(|text| serde_json::from_str(&text).ok()),
    })
}

impl Tx {
    /// Gives a placement every port that it wishes and doesn't have: the one that it names, else the lowest free one. What it has
    /// stays until [`Tx::settle_ports`]. Twice is once. A refusal leaves what was given before it in the transaction.
    pub async fn claim_ports(
        &mut self,
        team: &TeamId,
        placement: &PlacementId,
        wishes: &[TcpPort],
        range: &PortRange,
    ) -> Result<Result<(), PortRefusal>> {
        if wishes.is_empty() {
            return Ok(Ok(()));
        }
        let held: Vec<HeldPort> =
            self.ports(team, placement).await?.into_iter().map(|row| row.held).collect();
        for (wish, has) in wishes.iter().zip(fulfilled(wishes, &held)) {
            let got = match (has, wish.published) {
                (Some(_), _) => continue,
                (None, Some(published)) => self.take_port(team, placement, wish, published).await?,
                (None, None) => self.take_any_port(team, placement, wish, wishes, range).await?,
            };
            if !got {
                return Ok(Err(wish.published.map_or(PortRefusal::AllTaken, PortRefusal::Taken)));
            }
        }
        Ok(Ok(()))
    }

    /// Frees every port of a placement that the wishes of what serves now don't need.
    pub async fn settle_ports(&mut self, placement: &PlacementId, wishes: &[TcpPort]) -> Result<()> {
        let sql = select!("where placement_id = $1 order by created_at, published");
        let held = self.sql("ports", sql).bind(placement).list(|row| Ok(read(row)?.held)).await?;
        let kept = fulfilled(wishes, &held);
        for gone in held.iter().filter(|held| !kept.contains(&Some(held.published))) {
            let sql = "delete from ports where placement_id = $1 and published = $2";
            self.sql("ports", sql).bind(placement).bind(u32::from(gone.published)).run().await?;
        }
        Ok(())
    }

    /// Returns a placement's ports, those that it has longest first.
    pub async fn ports(&mut self, team: &TeamId, placement: &PlacementId) -> Result<Vec<PortRow>> {
        let sql = select!("where placement_id = $1 and team_id = $2 order by created_at, published");
        self.sql("ports", sql).bind(placement).bind(team).list(read).await
    }

    /// Returns the ports of all teams by placement: for reconcilers.
    pub async fn all_ports(&mut self) -> Result<HashMap<PlacementId, Vec<PortRow>>> {
        let rows = self.sql("ports", select!("order by created_at, published")).list(read).await?;
        let mut all: HashMap<PlacementId, Vec<PortRow>> = HashMap::new();
        for row in rows {
            all.entry(row.placement.clone()).or_default().push(row);
        }
        Ok(all)
    }

    /// Notes what the runtime told of a port.
    pub async fn note_port(&mut self, published: u16, state: &PortState) -> Result<()> {
        let sql = "update ports set observed = $2 where published = $1";
        self.sql("ports", sql).bind(u32::from(published)).bind(to_json(state)).run().await?;
        Ok(())
    }

    async fn take_any_port(
        &mut self,
        team: &TeamId,
        placement: &PlacementId,
        wish: &TcpPort,
        wishes: &[TcpPort],
        range: &PortRange,
    ) -> Result<bool> {
        let taken = self.sql("ports", "select published from ports").list(|row| row.number("published"));
        let taken: Vec<u16> = taken.await?;
        let named = |port: u16| wishes.iter().any(|wish| wish.published == Some(port));
        for free in range.iter().filter(|port| !taken.contains(port) && !named(*port)) {
            // Somebody else may have taken it meanwhile.
            if self.take_port(team, placement, wish, free).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn take_port(
        &mut self,
        team: &TeamId,
        placement: &PlacementId,
        wish: &TcpPort,
        published: u16,
    ) -> Result<bool> {
        let now = self.now();
        let sql = "insert into ports (published, team_id, placement_id, process, port, created_at)
            values ($1, $2, $3, $4, $5, $6) on conflict (published) do nothing";
        self.sql("ports", sql)
            .bind(u32::from(published))
            .bind(team)
            .bind(placement)
            .bind(&wish.process)
            .bind(u32::from(wish.port))
            .bind(now)
            .changed()
            .await
    }
}
