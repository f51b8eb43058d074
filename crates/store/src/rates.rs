//! Counting attempts, so that guessing gets slow.

use std::time::Duration;

use crate::error::Result;
use crate::tx::Tx;

/// Whether one more attempt is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RateVerdict {
    /// Go on.
    Allowed,
    /// Too many.
    Limited {
        /// Seconds until the next attempt may work, at least 1.
        retry_after_s: u64,
    },
}

impl Tx {
    /// Counts one attempt under `key`, and tells whether it is within `limit` attempts per `window`.
    pub async fn hit_rate(&mut self, key: &str, window: Duration, limit: u32) -> Result<RateVerdict> {
        let now = self.now().as_millisecond();
        let window = i64::try_from(window.as_millis()).unwrap_or(i64::MAX / 4);
        let sql = "insert into rate_windows (key, started_at, count) values ($1, $2, 1)
            on conflict (key) do update set
                count = case when rate_windows.started_at <= $3 then 1 else rate_windows.count + 1 end,
                started_at = case when rate_windows.started_at <= $3 then $2 else rate_windows.started_at end
            returning started_at, count";
        let row = self.sql("rate_windows", sql).bind(key).bind(now).bind(now - window).one().await?;
        if row.int("count")? <= i64::from(limit) {
            return Ok(RateVerdict::Allowed);
        }
        let left_ms = row.int("started_at")?.saturating_add(window) - now;
        Ok(RateVerdict::Limited { retry_after_s: u64::try_from(left_ms).unwrap_or(0).div_ceil(1000).max(1) })
    }
}
