//! The database that is copied: one moment of it, and nobody who writes.

use std::collections::BTreeMap;
use std::str::FromStr as _;
use std::time::Duration;

use panda_domain::clock::Clock;
use panda_domain::ids::IdSource;
use sqlx::pool::PoolConnection;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, Sqlite};

use super::cells::Rows;
use super::error::CopyError;
use super::{CopyStep, Watch, worth_copying};
use crate::catalogue::Table;
use crate::error::{Result, StoreError};
use crate::keyring::Keyring;
use crate::sqlite::path_of;
use crate::store::{Backend, Pools, Store, StoreConfig};
use crate::tx::Connection;

/// A source, opened.
pub(super) struct Source {
    store: Store,
    snapshot: Snapshot,
    deadline: Duration,
    /// All tables, also those that aren't worth copying.
    pub(super) tables: Vec<Table>,
    pub(super) installation: String,
    pub(super) schema: i64,
}

/// The connection that sees one moment.
enum Snapshot {
    Sqlite(PoolConnection<Sqlite>),
    Postgres(PgConnection),
}

impl Source {
    /// Opens the state, checks schema and key, and keeps everybody from writing.
    pub(super) async fn open(config: &StoreConfig, keyring: Keyring) -> Result<Self, CopyError> {
        refuse_missing(config)?;
        refuse_used(config).await?;
        let clock = Clock::system();
        let store = Store::open(config, keyring, clock.clone(), IdSource::random(clock)).await?;
        let mut looking = store.read().await?;
        let installation =
            if looking.has_table("settings").await? { looking.setting("installation").await? } else { None };
        let installation =
            installation.ok_or_else(|| CopyError::NoState { what: "the source".to_owned() })?;
        let tables = looking.tables().await?;
        drop(looking);
        let schema = store.schema_version().await?;
        let snapshot = match &store.inner.pools {
            Pools::Sqlite(pools) => Snapshot::Sqlite(pools.read().await?),
            Pools::Postgres(pool) => Snapshot::Postgres(pool.patient().await?),
        };
        let mut source =
            Self { store, snapshot, deadline: config.statement_deadline, tables, installation, schema };
        source.stand_still().await?;
        Ok(source)
    }

    /// Begins a snapshot. Nobody else has the SQLite file; tables of PostgreSQL are locked against writing.
    async fn stand_still(&mut self) -> Result<()> {
        let steps = match self.snapshot {
            Snapshot::Sqlite(_) => vec!["begin".to_owned()],
            Snapshot::Postgres(_) => {
                let names: Vec<String> =
                    self.tables.iter().map(|table| format!("\"{}\"", table.name)).collect();
                let lock_ms = self.deadline.as_millis();
                vec![
                    "begin isolation level repeatable read".to_owned(),
                    format!("set local lock_timeout = {lock_ms}"),
                    // Before the first look, so that what is seen is what stays.
                    format!("lock table {} in share mode", names.join(", ")),
                ]
            }
        };
        for sql in steps {
            self.execute(sql, "keep others from writing to the source").await?;
        }
        Ok(())
    }

    async fn execute(&mut self, sql: String, what: &str) -> Result<()> {
        let deadline = self.deadline;
        let sql = sqlx::raw_sql(AssertSqlSafe(sql));
        let done = async {
            match self.connection() {
                Connection::Sqlite(connection) => connection.execute(sql).await.map(|_| ()),
                Connection::Postgres(connection) => connection.execute(sql).await.map(|_| ()),
            }
        };
        match tokio::time::timeout(deadline, done).await {
            Ok(done) => done.map_err(|error| StoreError::from_sqlx(what, error)),
            Err(_) => Err(StoreError::slow(what)),
        }
    }

    pub(super) fn backend(&self) -> Backend {
        self.store.backend()
    }

    pub(super) fn deadline(&self) -> Duration {
        self.deadline
    }

    pub(super) fn connection(&mut self) -> Connection<'_> {
        match &mut self.snapshot {
            Snapshot::Sqlite(connection) => Connection::Sqlite(connection),
            Snapshot::Postgres(connection) => Connection::Postgres(connection),
        }
    }

    /// Reads every row and lets it go. Returns how many by table.
    pub(super) async fn read_all(
        &mut self,
        refuse_nul: bool,
        watch: &mut Watch<'_>,
    ) -> Result<BTreeMap<String, u64>, CopyError> {
        let mut counts = BTreeMap::new();
        let (tables, deadline) = (self.tables.clone(), self.deadline);
        for table in worth_copying(&tables) {
            let mut rows = Rows::of(self.connection(), table, deadline).refusing_nul(refuse_nul);
            let mut count = 0;
            while rows.next().await?.is_some() {
                count += 1;
            }
            watch(CopyStep::Copied { table: &table.name, rows: count, done: true });
            counts.insert(table.name.clone(), count);
        }
        Ok(counts)
    }

    /// Lets others write again. Nothing was changed.
    pub(super) async fn close(mut self) {
        // A connection that can't even roll back is closed, which does the same.
        let _ = self.execute("rollback".to_owned(), "let go of the source").await;
        let Self { store, snapshot, .. } = self;
        match snapshot {
            Snapshot::Sqlite(connection) => drop(connection),
            Snapshot::Postgres(connection) => drop(connection),
        }
        store.close().await;
    }
}

/// Opening a SQLite file would make it.
fn refuse_missing(config: &StoreConfig) -> Result<(), CopyError> {
    if config.url.starts_with("sqlite:") {
        let path = path_of(&config.url)?;
        if !path.exists() {
            return Err(CopyError::NoState { what: format!("`{}`", path.display()) });
        }
    }
    Ok(())
}

/// Refuses a PostgreSQL database that a server is connected to; each keeps a connection to listen on, also when idle. A SQLite
/// file has a lock for that.
async fn refuse_used(config: &StoreConfig) -> Result<(), CopyError> {
    if config.url.starts_with("sqlite:") {
        return Ok(());
    }
    let options = PgConnectOptions::from_str(&config.url)
        .map_err(|e| StoreError::Url { problem: format!("can't be read: {e}") })?
        .application_name("panda-copy");
    let sql = "select 'process ' || pid || ', from ' || coalesce(host(client_addr), 'a local socket')
        from pg_stat_activity where datname = current_database() and application_name = 'panda' limit 1";
    let asked = async {
        let mut connection = PgConnection::connect_with(&options).await?;
        let who: Option<String> = sqlx::query_scalar(sql).fetch_optional(&mut connection).await?;
        connection.close().await?;
        Ok(who)
    };
    let what = "look for servers that use the source";
    match tokio::time::timeout(config.statement_deadline, asked).await {
        Ok(Ok(None)) => Ok(()),
        Ok(Ok(Some(who))) => Err(CopyError::InUse { who }),
        Ok(Err(error)) => Err(StoreError::from_sqlx(what, error).into()),
        Err(_) => Err(StoreError::slow(what).into()),
    }
}
