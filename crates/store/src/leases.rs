//! Leases: who may do something that only one server may do.

use std::time::Duration;

use crate::error::Result;
use crate::tx::Tx;

impl Tx {
    /// Takes or keeps a lease for `ttl`. Returns false if somebody else holds it.
    pub async fn take_lease(&mut self, name: &str, owner: &str, ttl: Duration) -> Result<bool> {
        let now = self.now().as_millisecond();
        let until = now.saturating_add(i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX));
        let sql = "insert into leases (name, owner, until) values ($1, $2, $3)
            on conflict (name) do update set owner = excluded.owner, until = excluded.until
            where leases.owner = excluded.owner or leases.until <= $4";
        self.sql("leases", sql).bind(name).bind(owner).bind(until).bind(now).changed().await
    }

    /// Gives a lease back. Nothing happens if somebody else holds it.
    pub async fn release_lease(&mut self, name: &str, owner: &str) -> Result<()> {
        self.sql("leases", "delete from leases where name = $1 and owner = $2")
            .bind(name)
            .bind(owner)
            .run()
            .await?;
        Ok(())
    }
}
