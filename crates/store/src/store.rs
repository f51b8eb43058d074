//! The door to the state of one installation.

use std::collections::HashMap;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use panda_domain::clock::Clock;
use panda_domain::ids::{DataKeyId, IdSource};
use tokio::sync::watch;

use crate::error::{Result, StoreError};
use crate::keyring::Keyring;
use crate::marks::Marks;
use crate::postgres::PostgresPool;
use crate::sealing::DataKey;
use crate::sqlite::SqlitePools;
use crate::tx::Tx;

/// Where the state lies and how long its database may take.
#[derive(Clone)]
pub struct StoreConfig {
    /// `sqlite:///path/to/file` or `postgres://…`.
    pub url: String,
    /// The most connections for reads; SQLite has one more for writes.
    pub max_connections: u32,
    /// How long one statement, one commit, or waiting for one's turn to write may take.
    pub statement_deadline: Duration,
}

impl StoreConfig {
    /// Returns the usual settings for `url`: 8 connections, 10 s.
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into(), max_connections: 8, statement_deadline: Duration::from_secs(10) }
    }
}

impl std::fmt::Debug for StoreConfig {
    /// Leaves out the URL, which may hold a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoreConfig")
            .field("max_connections", &self.max_connections)
            .field("statement_deadline", &self.statement_deadline)
            .finish_non_exhaustive()
    }
}

/// Which database is behind the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// One file, one server.
    Sqlite,
    /// A database server, any number of panda servers.
    Postgres,
}

/// The state of one installation. Clones share everything.
#[derive(Clone)]
pub struct Store {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) pools: Pools,
    pub(crate) clock: Clock,
    pub(crate) ids: IdSource,
    pub(crate) keyring: Keyring,
    pub(crate) data_keys: RwLock<HashMap<DataKeyId, DataKey>>,
    pub(crate) statement_deadline: Duration,
    pub(crate) changes: watch::Sender<u64>,
    /// Move with commits to the tables that somebody keeps copies of, here or on another server.
    pub(crate) marks: Arc<Marks>,
    listener: Option<tokio::task::JoinHandle<()>>,
}

#[expect(clippy::large_enum_variant, reason = "there is one of it in a process, behind an Arc")]
pub(crate) enum Pools {
    Sqlite(SqlitePools),
    Postgres(PostgresPool),
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(listener) = &self.listener {
            listener.abort();
        }
    }
}

impl Store {
    /// Opens the state at `config.url`, or makes an empty one, and checks that it may and can be used.
    ///
    /// Refuses a file that another server uses, a network filesystem, a schema from the future, a key that
    /// doesn't open what is there, and a database that is gone although the installation had one.
    pub async fn open(config: &StoreConfig, keyring: Keyring, clock: Clock, ids: IdSource) -> Result<Self> {
        let store = Self::connect(config, keyring, clock, ids).await?;
        store.check_schema().await?;
        store.load_data_keys().await?;
        Ok(store)
    }

    /// Opens the state for reads beside a server that may be using it: takes no lock and refuses every write.
    /// Checks schema and key like [`Store::open`].
    pub async fn look(config: &StoreConfig, keyring: Keyring, clock: Clock, ids: IdSource) -> Result<Self> {
        let (changes, _) = watch::channel(0);
        let pools = if config.url.starts_with("sqlite:") {
            Pools::Sqlite(SqlitePools::look(config).await?)
        } else {
            return Self::open(config, keyring, clock, ids).await;
        };
        let inner = Inner {
            pools,
            clock,
            ids,
            keyring,
            data_keys: RwLock::default(),
            statement_deadline: config.statement_deadline,
            changes,
            marks: Arc::default(),
            listener: None,
        };
        let store = Self { inner: Arc::new(inner) };
        store.check_schema().await?;
        store.load_data_keys().await?;
        Ok(store)
    }

    /// Opens the database without looking at what it holds.
    pub(crate) async fn connect(
        config: &StoreConfig,
        keyring: Keyring,
        clock: Clock,
        ids: IdSource,
    ) -> Result<Self> {
        let (changes, _) = watch::channel(0);
        let marks = Arc::<Marks>::default();
        let (pools, listener) = if config.url.starts_with("sqlite:") {
            (Pools::Sqlite(SqlitePools::open(config).await?), None)
        } else if config.url.starts_with("postgres://") || config.url.starts_with("postgresql://") {
            let pool = PostgresPool::open(config).await?;
            let listener = pool.listen(changes.clone(), marks.clone()).await?;
            (Pools::Postgres(pool), Some(listener))
        } else {
            let problem = "has to start with sqlite:// or postgres://".to_owned();
            return Err(StoreError::Url { problem });
        };
        let inner = Inner {
            pools,
            clock,
            ids,
            keyring,
            data_keys: RwLock::default(),
            statement_deadline: config.statement_deadline,
            changes,
            marks,
            listener,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Begins a transaction for reading and writing. On SQLite writers queue up for it, first come first served.
    pub async fn begin(&self) -> Result<Tx> {
        match &self.inner.pools {
            Pools::Sqlite(pools) => Ok(Tx::sqlite_write(self.inner.clone(), pools.begin().await?)),
            Pools::Postgres(pool) => Ok(Tx::postgres_write(self.inner.clone(), pool.begin().await?)),
        }
    }

    /// Takes a connection for reads, without a transaction around them. A write through it is refused.
    pub async fn read(&self) -> Result<Tx> {
        match &self.inner.pools {
            Pools::Sqlite(pools) => Ok(Tx::sqlite_read(self.inner.clone(), pools.read().await?)),
            Pools::Postgres(pool) => Ok(Tx::postgres_read(self.inner.clone(), pool.acquire().await?)),
        }
    }

    /// Tells whether the state can be read right now, and is still the one that was opened.
    pub async fn check(&self) -> Result<()> {
        if let Pools::Sqlite(pools) = &self.inner.pools {
            pools.still_there()?;
        }
        self.read().await?.sql("settings", "select 1 as one").one().await?;
        Ok(())
    }

    /// Returns the clock that all rows are dated with.
    pub fn clock(&self) -> &Clock {
        &self.inner.clock
    }

    /// Returns the source of all ids.
    pub fn ids(&self) -> &IdSource {
        &self.inner.ids
    }

    /// Returns which database this is.
    pub fn backend(&self) -> Backend {
        match self.inner.pools {
            Pools::Sqlite(_) => Backend::Sqlite,
            Pools::Postgres(_) => Backend::Postgres,
        }
    }

    /// Returns a counter that goes up after each commit that called [`Tx::wake`], here or on another server.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.inner.changes.subscribe()
    }

    /// Returns a mark that moves whenever something may have been written that routes or certificates are made from, here
    /// or on another server: as long as it stays the same, so do they.
    pub fn routing_mark(&self) -> u64 {
        self.inner.marks.routing()
    }

    /// Returns a mark that moves whenever something may have been written that says whom a token speaks for: here at once, by
    /// another server a moment after its commit.
    pub fn identity_mark(&self) -> u64 {
        self.inner.marks.identity()
    }

    /// Waits for running statements and closes every connection; later calls answer unavailable.
    pub async fn close(&self) {
        match &self.inner.pools {
            Pools::Sqlite(pools) => pools.close().await,
            Pools::Postgres(pool) => pool.close().await,
        }
    }
}
