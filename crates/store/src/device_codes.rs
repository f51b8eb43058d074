//! Codes that sign in a command line by way of a browser.

use jiff::Timestamp;
use panda_domain::ids::{DeviceCodeId, TeamId, UserId};

use crate::error::Result;
use crate::sql::Row;
use crate::tx::Tx;

/// One request of a command line to be signed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceRow {
    /// Its id.
    pub id: DeviceCodeId,
    /// What the person types or sees.
    pub user_code: String,
    /// What the command line calls itself.
    pub client_name: String,
    /// Where it stands.
    pub state: DeviceState,
    /// When it ends.
    pub expires_at: Timestamp,
    /// When the command line last asked.
    pub polled_at: Option<Timestamp>,
}

/// Where a device code stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeviceState {
    /// Nobody decided.
    Pending,
    /// A person said yes.
    Approved {
        /// Who.
        user: UserId,
        /// For which team.
        team: TeamId,
    },
    /// A person said no.
    Denied,
    /// The command line got its token.
    Used,
}

/// A device code to be made.
#[derive(Clone)]
pub struct NewDeviceCode {
    /// Hash of the code that the command line keeps.
    pub device_hash: String,
    /// What the person types or sees.
    pub user_code: String,
    /// What the command line calls itself.
    pub client_name: String,
    /// When it ends.
    pub expires_at: Timestamp,
}

fn read(row: &Row) -> Result<DeviceRow> {
    let state = match row.text("state")?.as_str() {
        "pending" => DeviceState::Pending,
        "approved" => DeviceState::Approved { user: row.parse("user_id")?, team: row.parse("team_id")? },
        "denied" => DeviceState::Denied,
        "used" => DeviceState::Used,
        other => return Err(row.odd(format!("has an unknown `state`: `{other}`"))),
    };
    Ok(DeviceRow {
        id: row.parse("id")?,
        user_code: row.text("user_code")?,
        client_name: row.text("client_name")?,
        state,
        expires_at: row.time("expires_at")?,
        polled_at: row.opt_time("polled_at")?,
    })
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "select id, user_code, client_name, state, user_id, team_id, expires_at, polled_at from device_codes ",
            $rest
        )
    };
}

impl Tx {
    /// Makes a device code; `Taken` if one of its codes is in use.
    pub async fn insert_device_code(&mut self, new: &NewDeviceCode) -> Result<DeviceRow> {
        let (id, now): (DeviceCodeId, _) = (self.next_id(), self.now());
        let sql = "insert into device_codes (id, device_hash, user_code, client_name, state, created_at, expires_at)
            values ($1, $2, $3, $4, 'pending', $5, $6)";
        self.sql("device_codes", sql)
            .bind(&id)
            .bind(&new.device_hash)
            .bind(&new.user_code)
            .bind(&new.client_name)
            .bind(now)
            .bind(new.expires_at)
            .run()
            .await?;
        Ok(DeviceRow {
            id,
            user_code: new.user_code.clone(),
            client_name: new.client_name.clone(),
            state: DeviceState::Pending,
            expires_at: new.expires_at,
            polled_at: None,
        })
    }

    /// Returns the request whose code the command line keeps; also after its end.
    pub async fn device_by_hash(&mut self, device_hash: &str) -> Result<Option<DeviceRow>> {
        self.sql("device_codes", select!("where device_hash = $1")).bind(device_hash).maybe(read).await
    }

    /// Returns the request that shows this code, if it hasn't ended.
    pub async fn device_by_user_code(&mut self, user_code: &str) -> Result<Option<DeviceRow>> {
        let now = self.now();
        self.sql("device_codes", select!("where user_code = $1 and expires_at > $2"))
            .bind(user_code)
            .bind(now)
            .maybe(read)
            .await
    }

    /// Approves (`Some`) or denies (`None`) a request. Returns false if it isn't pending any more.
    pub async fn decide_device(
        &mut self,
        user_code: &str,
        approved: Option<(UserId, TeamId)>,
    ) -> Result<bool> {
        let now = self.now();
        let state = if approved.is_some() { "approved" } else { "denied" };
        let (user, team) = approved.unzip();
        let sql = "update device_codes set state = $3, user_id = $4, team_id = $5
            where user_code = $1 and state = 'pending' and expires_at > $2";
        self.sql("device_codes", sql)
            .bind(user_code)
            .bind(now)
            .bind(state)
            .bind(user.as_ref())
            .bind(team.as_ref())
            .changed()
            .await
    }

    /// Notes that the command line asked.
    pub async fn mark_polled(&mut self, id: &DeviceCodeId) -> Result<()> {
        let now = self.now();
        self.sql("device_codes", "update device_codes set polled_at = $2 where id = $1")
            .bind(id)
            .bind(now)
            .run()
            .await?;
        Ok(())
    }

    /// Uses up an approved request. Returns false if it isn't approved or was used before.
    pub async fn mark_used(&mut self, id: &DeviceCodeId) -> Result<bool> {
        let now = self.now();
        let sql =
            "update device_codes set state = 'used' where id = $1 and state = 'approved' and expires_at > $2";
        self.sql("device_codes", sql).bind(id).bind(now).changed().await
    }
}
