//! The state as these commands open it: key and database by the configuration.

use std::time::Duration;

use panda_domain::clock::Clock;
use panda_domain::ids::IdSource;
use panda_store::{KeySource, Keyring, Result, Store, StoreConfig};

use crate::config::Config;

/// Returns where the database is and how long it may take.
pub(super) fn store_config(config: &Config) -> StoreConfig {
    StoreConfig {
        url: config.database.url.clone(),
        max_connections: config.database.max_connections,
        statement_deadline: Duration::from_secs(u64::from(config.database.statement_timeout_s)),
    }
}

/// Returns where the key is.
pub(super) fn key_source(config: &Config) -> KeySource {
    if config.keys.command.is_empty() {
        KeySource::File(config.keys.file.clone())
    } else {
        KeySource::Kms { command: config.keys.command.clone(), wrapped: config.keys.file.clone() }
    }
}

/// Opens the state for reading beside a server that may run: takes no lock and writes nothing.
pub(super) async fn look(config: &Config) -> Result<Store> {
    let keyring = Keyring::load(key_source(config)).await?;
    let clock = Clock::system();
    Store::look(&store_config(config), keyring, clock.clone(), IdSource::random(clock)).await
}
