//! Which release to go back to: what was proven, and was not itself gone back from.

use jiff::Timestamp;
use panda_domain::ids::ReleaseId;
use serde::{Deserialize, Serialize};

use crate::deployments::DeploymentRow;
use crate::error::{Result, StoreError};
use crate::releases::ReleaseRow;
use crate::tx::Tx;

/// How far back releases and attempts are looked at.
const LOOK_BACK: u32 = 50;

/// What a rollback by the platform keeps as its request: which release it was made to replace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GoingBack {
    /// The release that failed after it went live.
    pub instead_of: ReleaseId,
}

struct Attempt {
    instead_of: ReleaseRow,
    state: String,
    reason: Option<String>,
    made_at: Timestamp,
}

impl Tx {
    /// Returns the release to go back to when `live` fails: the newest one that was live before it, that isn't the same
    /// thing under another number, and that wasn't gone back from since.
    pub async fn release_before(&mut self, live: &DeploymentRow) -> Result<Option<ReleaseRow>> {
        let Some(now) = &live.release else { return Ok(None) };
        let now = self.release_by_id(now).await?.ok_or_else(|| StoreError::missing("the live release"))?;
        let attempts = self.attempts_to_go_back(live).await?;
        let sql = "select release_id, live_at from deployments where placement_id = $1 and id <> $2
                and live_at is not null and live_at <= $3 and release_id is not null
            order by live_at desc, sequence desc limit $4";
        let earlier = self
            .sql("deployments", sql)
            .bind(&live.placement)
            .bind(&live.id)
            .bind(live.live_at.unwrap_or(Timestamp::MAX))
            .bind(LOOK_BACK)
            .list(|row| Ok((row.parse::<ReleaseId>("release_id")?, row.time("live_at")?)));
        for (id, live_at) in earlier.await? {
            let Some(release) = self.release_by_id(&id).await? else { continue };
            let failed = attempts.iter().any(|a| a.made_at >= live_at && same_run(&a.instead_of, &release));
            if !failed && !same_run(&release, &now) {
                return Ok(Some(release));
            }
        }
        Ok(None)
    }

    /// Tells whether going back from `live` was tried already, and failed: once more would fail again. One that a newer
    /// deployment overtook doesn't count.
    pub async fn going_back_failed(&mut self, live: &DeploymentRow) -> Result<bool> {
        let attempts = self.attempts_to_go_back(live).await?;
        let (release, live_at) = (live.release.as_ref(), live.live_at.unwrap_or(Timestamp::MIN));
        let ended = |a: &Attempt| match a.state.as_str() {
            "unhealthy" | "timed_out" | "release_failed" => true,
            "canceled" => a.reason.as_deref() != Some("overtaken"),
            _ => false,
        };
        Ok(attempts.iter().any(|a| Some(&a.instead_of.id) == release && a.made_at >= live_at && ended(a)))
    }

    async fn attempts_to_go_back(&mut self, live: &DeploymentRow) -> Result<Vec<Attempt>> {
        let sql = "select request, state, detail, created_at from deployments
            where placement_id = $1 and trigger_kind = 'auto_rollback' order by sequence desc limit $2";
        let rows = self.sql("deployments", sql).bind(&live.placement).bind(LOOK_BACK).list(|row| {
            let detail: serde_json::Value = row.json("detail")?;
            let reason = detail["reason"].as_str().map(str::to_owned);
            Ok((row.text("request")?, row.text("state")?, reason, row.time("created_at")?))
        });
        let mut attempts = Vec::new();
        for (request, state, reason, made_at) in rows.await? {
            // Those of the version before don't say it.
            let Ok(GoingBack { instead_of }) = serde_json::from_str(&request) else { continue };
            let Some(instead_of) = self.release_by_id(&instead_of).await? else { continue };
            attempts.push(Attempt { instead_of, state, reason, made_at });
        }
        Ok(attempts)
    }
}

/// Two releases that run the same thing, whatever their numbers.
fn same_run(one: &ReleaseRow, other: &ReleaseRow) -> bool {
    one.id == other.id
        || (one.image == other.image && one.config == other.config && one.env_version == other.env_version)
}
