//! Host names that people own. Anybody may claim one, only one team can prove it.

use jiff::Timestamp;
use panda_domain::ids::{AppId, DomainId, PlacementId, TeamId};
use panda_domain::names::Hostname;

use crate::error::{Result, StoreError};
use crate::sql::Row;
use crate::tx::Tx;

/// A host and path that lead to an app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DomainRow {
    /// Its id.
    pub id: DomainId,
    /// Whose.
    pub team: TeamId,
    /// Where requests go.
    pub placement: PlacementId,
    /// The host.
    pub host: Hostname,
    /// The path that requests start with; `/` is all.
    pub path: String,
    /// What the owner puts into DNS to prove it.
    pub proof_token: String,
    /// When it was proven.
    pub verified_at: Option<Timestamp>,
}

/// A domain to be added.
#[derive(Debug, Clone)]
pub struct NewDomain {
    /// Whose.
    pub team: TeamId,
    /// Where requests go.
    pub placement: PlacementId,
    /// The host.
    pub host: Hostname,
    /// The path that requests start with.
    pub path: String,
    /// What the owner puts into DNS to prove it.
    pub proof_token: String,
}

macro_rules! select {
    ($rest:literal) => {
        concat!("select id, team_id, placement_id, host, path, proof_token, verified_at from domains ", $rest)
    };
}

fn read(row: &Row) -> Result<DomainRow> {
    Ok(DomainRow {
        id: row.parse("id")?,
        team: row.parse("team_id")?,
        placement: row.parse("placement_id")?,
        host: row.parse("host")?,
        path: row.text("path")?,
        proof_token: row.text("proof_token")?,
        verified_at: row.opt_time("verified_at")?,
    })
}

impl Tx {
    /// Adds an unproven domain; `Taken` if the team has the same host and path, or another team has proven the host.
    pub async fn insert_domain(&mut self, new: &NewDomain) -> Result<DomainRow> {
        let (id, now): (DomainId, _) = (self.next_id(), self.now());
        self.refuse_foreign_host(&new.team, &new.host).await?;
        let sql = "insert into domains (id, team_id, placement_id, host, path, proof_token, created_at)
            values ($1, $2, $3, $4, $5, $6, $7) on conflict (team_id, host, path) do nothing";
        let made = self
            .sql("domains", sql)
            .bind(&id)
            .bind(&new.team)
            .bind(&new.placement)
            .bind(&new.host)
            .bind(&new.path)
            .bind(&new.proof_token)
            .bind(now)
            .changed()
            .await?;
        if !made {
            return Err(taken(&new.host));
        }
        Ok(DomainRow {
            id,
            team: new.team.clone(),
            placement: new.placement.clone(),
            host: new.host.clone(),
            path: new.path.clone(),
            proof_token: new.proof_token.clone(),
            verified_at: None,
        })
    }

    /// Returns a placement's domains by host and path.
    pub async fn domains(&mut self, team: &TeamId, placement: &PlacementId) -> Result<Vec<DomainRow>> {
        self.sql("domains", select!("where placement_id = $1 and team_id = $2 order by host, path"))
            .bind(placement)
            .bind(team)
            .list(read)
            .await
    }

    /// Returns the team's domain of this host and path.
    pub async fn domain(&mut self, team: &TeamId, host: &Hostname, path: &str) -> Result<Option<DomainRow>> {
        self.sql("domains", select!("where team_id = $1 and host = $2 and path = $3"))
            .bind(team)
            .bind(host)
            .bind(path)
            .maybe(read)
            .await
    }

    /// Returns the team that has proven a host, with one of its domains there.
    pub async fn verified_domain_by_host(&mut self, host: &Hostname) -> Result<Option<(TeamId, DomainRow)>> {
        let sql = select!("where host = $1 and verified_at is not null order by path limit 1");
        let row = self.sql("domains", sql).bind(host).maybe(read).await?;
        Ok(row.map(|domain| (domain.team.clone(), domain)))
    }

    /// Returns whose app a routed host leads to.
    pub async fn owner_of_host(&mut self, host: &str) -> Result<Option<(TeamId, AppId)>> {
        let sql = "select team_id, app_id from placements where host = $1
            union all select p.team_id, p.app_id from domains d join placements p on p.id = d.placement_id
                where d.host = $1 and d.verified_at is not null limit 1";
        self.sql("domains", sql)
            .bind(host)
            .maybe(|row| Ok((row.parse("team_id")?, row.parse("app_id")?)))
            .await
    }

    /// Notes that a domain was proven; `Taken` if another team proved the host first. A certificate that people gave for the host
    /// while it was routed before is forgotten: it may be another team's.
    pub async fn mark_verified(&mut self, team: &TeamId, id: &DomainId) -> Result<()> {
        let now = self.now();
        let row = self
            .sql("domains", select!("where team_id = $1 and id = $2"))
            .bind(team)
            .bind(id)
            .maybe(read)
            .await?;
        let domain = row.ok_or_else(|| StoreError::not_found(format!("domain `{id}`")))?;
        self.in_order(domain.host.as_str()).await?;
        self.refuse_foreign_host(team, &domain.host).await?;
        self.forget_given_certificate(&domain.host).await?;
        let sql = "update domains set verified_at = coalesce(verified_at, $2) where id = $1";
        self.sql("domains", sql).bind(id).bind(now).run().await?;
        Ok(())
    }

    /// Removes a domain, and with the last one of a host the certificate that people gave for it. Returns false if the team has no
    /// such domain.
    pub async fn delete_domain(&mut self, team: &TeamId, id: &DomainId) -> Result<bool> {
        let sql = "delete from domains where team_id = $1 and id = $2 returning host";
        let deleted = self.sql("domains", sql).bind(team).bind(id).maybe(|row| row.parse("host")).await?;
        match deleted {
            Some(host) => self.forget_given_certificate(&host).await.map(|()| true),
            None => Ok(false),
        }
    }

    /// Returns the proven domains of all teams by host and path: for reconcilers.
    pub async fn all_verified_domains(&mut self) -> Result<Vec<DomainRow>> {
        self.sql("domains", select!("where verified_at is not null order by host, path")).list(read).await
    }

    /// Forgets the certificate that people gave for a host which nobody has proven.
    async fn forget_given_certificate(&mut self, host: &Hostname) -> Result<()> {
        if self.verified_domain_by_host(host).await?.is_none() {
            self.delete_own_certificate(host.as_str()).await?;
        }
        Ok(())
    }

    async fn refuse_foreign_host(&mut self, team: &TeamId, host: &Hostname) -> Result<()> {
        match self.verified_domain_by_host(host).await? {
            Some((owner, _)) if owner != *team => Err(taken(host)),
            _ => Ok(()),
        }
    }
}

fn taken(host: &Hostname) -> StoreError {
    StoreError::Taken { what: format!("domain `{host}`") }
}
