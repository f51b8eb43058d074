//! Settings of the installation: a name and a text.

use crate::error::Result;
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
}
