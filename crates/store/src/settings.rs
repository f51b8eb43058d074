//! Settings of the installation: a name and a text.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use panda_domain::secret::Secret;

use crate::error::{Result, StoreError};
use crate::tx::Tx;

impl Tx {
    /// Returns the text of a setting, `None` if it was never set.
    pub async fn setting(&mut self, key: &str) -> Result<Option<String>> {
        self.sql("settings", "select value from settings where key = $1")
            .bind(key)
            .maybe(|row| row.text("value"))
            .await
    }

    /// Sets a setting.
    pub async fn set_setting(&mut self, key: &str, value: &str) -> Result<()> {
        let sql = "insert into settings (key, value) values ($1, $2)
            on conflict (key) do update set value = excluded.value";
        self.sql("settings", sql).bind(key).bind(value).run().await?;
        Ok(())
    }

    /// Returns a setting that is kept sealed, `None` if it was never set.
    pub async fn sealed_setting(&mut self, key: &str) -> Result<Option<Secret>> {
        let Some(text) = self.setting(key).await? else { return Ok(None) };
        let sealed = STANDARD
            .decode(text)
            .map_err(|_| StoreError::Undecryptable { what: format!("setting `{key}`") })?;
        self.unseal(&format!("settings/{key}"), &format!("setting `{key}`"), &sealed).await.map(Some)
    }

    /// Sets a setting that is kept sealed unless it is set; returns what is kept. Of two at once the second waits, and gets what the
    /// first kept.
    pub async fn keep_sealed_setting(&mut self, key: &str, value: &Secret) -> Result<Secret> {
        let sealed = STANDARD.encode(self.seal(&format!("settings/{key}"), value)?);
        let sql = "insert into settings (key, value) values ($1, $2) on conflict (key) do nothing";
        self.sql("settings", sql).bind(key).bind(sealed).run().await?;
        let kept = self.sealed_setting(key).await?;
        kept.ok_or_else(|| StoreError::not_found(format!("setting `{key}`, which was just kept")))
    }

    /// Sets a setting that is kept sealed.
    pub async fn set_sealed_setting(&mut self, key: &str, value: &Secret) -> Result<()> {
        let sealed = self.seal(&format!("settings/{key}"), value)?;
        self.set_setting(key, &STANDARD.encode(sealed)).await
    }
}
