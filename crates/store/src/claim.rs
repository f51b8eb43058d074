//! The one-time claim of a new installation.

use jiff::Timestamp;

use crate::error::Result;
use crate::sql::Row;
use crate::tx::Tx;

/// The token on the console, as a hash, and whether it was used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Hash of the token.
    pub token_hash: String,
    /// When the token was printed.
    pub created_at: Timestamp,
    /// When somebody claimed the installation with it.
    pub used_at: Option<Timestamp>,
}

fn read(row: &Row) -> Result<Claim> {
    Ok(Claim {
        token_hash: row.text("token_hash")?,
        created_at: row.time("created_at")?,
        used_at: row.opt_time("used_at")?,
    })
}

impl Tx {
    /// Returns the claim, `None` before the first start made one.
    pub async fn claim(&mut self) -> Result<Option<Claim>> {
        self.sql("claims", "select token_hash, created_at, used_at from claims where id = 1")
            .maybe(read)
            .await
    }

    /// Sets the token of an installation that nobody claimed yet; leaves a claimed one alone.
    pub async fn put_claim(&mut self, token_hash: &str) -> Result<()> {
        let now = self.now();
        let sql = "insert into claims (id, token_hash, created_at) values (1, $1, $2)
            on conflict (id) do update set token_hash = excluded.token_hash, created_at = excluded.created_at
            where claims.used_at is null";
        self.sql("claims", sql).bind(token_hash).bind(now).run().await?;
        Ok(())
    }

    /// Marks the installation as claimed. Returns false if it was already.
    pub async fn mark_claimed(&mut self) -> Result<bool> {
        let now = self.now();
        self.sql("claims", "update claims set used_at = $1 where id = 1 and used_at is null")
            .bind(now)
            .changed()
            .await
    }
}
