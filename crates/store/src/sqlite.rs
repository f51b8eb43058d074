//! SQLite: one writer, several readers, one server.

use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{Connection as _, Sqlite, Transaction};

use crate::error::{Result, StoreError};
use crate::installation::Installation;
use crate::store::StoreConfig;

/// More readers than this don't help: each is a thread.
const MAX_READERS: u32 = 4;
/// SQLite's own cache of pages, `-` and KiB. Each connection has one, and a look at all apps fills it with pages that the
/// kernel has in memory anyway: with readers' caches as large as the writer's a server of 1,000 apps took 14 MiB more.
const WRITER_CACHE: &str = "-1000";
const READER_CACHE: &str = "-256";

pub(crate) struct SqlitePools {
    /// Exactly one connection: writers of this process queue here, in order, instead of meeting `SQLITE_BUSY`.
    write: SqlitePool,
    read: SqlitePool,
    pub(crate) installation: Installation,
    deadline: Duration,
}

impl SqlitePools {
    pub(crate) async fn open(config: &StoreConfig) -> Result<Self> {
        let path = path_of(&config.url)?;
        let installation = Installation::take(&path)?;
        Self::connect(config, &path, installation, false).await
    }

    /// Opens a file for reads beside the server that may be using it.
    pub(crate) async fn look(config: &StoreConfig) -> Result<Self> {
        let path = path_of(&config.url)?;
        let installation = Installation::look(&path)?;
        Self::connect(config, &path, installation, true).await
    }

    async fn connect(
        config: &StoreConfig,
        path: &Path,
        installation: Installation,
        only_look: bool,
    ) -> Result<Self> {
        // The database gives up a little before we do, so that its own words reach the log.
        let busy = config.statement_deadline.mul_f32(0.9);
        let options = SqliteConnectOptions::new()
            .filename(path)
            .foreign_keys(true)
            .busy_timeout(busy)
            .synchronous(SqliteSynchronous::Full)
            .pragma("cache_size", WRITER_CACHE)
            .pragma("journal_size_limit", "67108864");
        let writer = options.clone().thread_name(|_| "panda-db-write".to_owned());
        let writer = if only_look {
            writer.pragma("query_only", "on")
        } else {
            writer.create_if_missing(true).journal_mode(SqliteJournalMode::Wal)
        };
        let reader = options
            .create_if_missing(false)
            .pragma("query_only", "on")
            .pragma("cache_size", READER_CACHE)
            .thread_name(|n| format!("panda-db-read-{n}"));
        let write = pool(1, config.statement_deadline)
            // A full disk makes SQLite roll back by itself; sqlx's own rollback then fails, and it believes for ever that the
            // transaction is still open. Such a connection is replaced.
            .before_acquire(|connection, _| Box::pin(std::future::ready(Ok(!connection.is_in_transaction()))))
            .connect_lazy_with(writer);
        let read = pool(config.max_connections.clamp(1, MAX_READERS), config.statement_deadline)
            .connect_lazy_with(reader);
        let mut pools = Self { write, read, installation, deadline: config.statement_deadline };
        pools.first_look(path).await?;
        pools.installation.remember_file()?;
        Ok(pools)
    }

    /// Connects, which makes the file if there was none, and reads all of it once.
    async fn first_look(&mut self, path: &Path) -> Result<()> {
        let what = || format!("open `{}`", path.display());
        let look = async {
            let mut connection = self.write.acquire().await?;
            let verdict: String =
                sqlx::query_scalar("pragma quick_check(1)").fetch_one(&mut *connection).await?;
            let tables: i64 = sqlx::query_scalar("select count(*) from sqlite_schema where type = 'table'")
                .fetch_one(&mut *connection)
                .await?;
            Ok((verdict, tables))
        };
        let (verdict, tables) = look.await.map_err(|e| StoreError::from_sqlx(what(), e))?;
        if verdict != "ok" {
            return Err(StoreError::Corrupt { problem: verdict });
        }
        if tables == 0 && self.installation.existed() {
            return Err(StoreError::StateMissing { path: path.to_owned(), problem: "is empty".to_owned() });
        }
        Ok(())
    }

    pub(crate) async fn begin(&self) -> Result<Transaction<'static, Sqlite>> {
        self.still_there()?;
        let begin = self.write.begin_with("BEGIN IMMEDIATE");
        match tokio::time::timeout(self.deadline, begin).await {
            Ok(begun) => begun.map_err(|e| StoreError::from_sqlx("begin to write", e)),
            Err(_) => Err(StoreError::slow("begin to write")),
        }
    }

    pub(crate) async fn read(&self) -> Result<PoolConnection<Sqlite>> {
        self.read.acquire().await.map_err(|e| StoreError::from_sqlx("begin to read", e))
    }

    /// Finds out whether the file at the path is still the one that is open. SQLite itself would go on writing
    /// into a file that has no name any more.
    pub(crate) fn still_there(&self) -> Result<()> {
        self.installation.still_there()
    }

    pub(crate) fn writer(&self) -> &SqlitePool {
        &self.write
    }

    pub(crate) async fn close(&self) {
        self.read.close().await;
        self.write.close().await;
    }
}

fn pool(max: u32, deadline: Duration) -> SqlitePoolOptions {
    SqlitePoolOptions::new()
        .max_connections(max)
        .acquire_timeout(deadline)
        // A file doesn't hang up; asking first would double the cost of a small read.
        .test_before_acquire(false)
        .max_lifetime(None)
        .idle_timeout(Duration::from_mins(10))
}

/// Returns the file that a `sqlite:` URL names.
pub(crate) fn path_of(url: &str) -> Result<PathBuf> {
    let rest = url.strip_prefix("sqlite://").or_else(|| url.strip_prefix("sqlite:")).unwrap_or(url);
    if rest.is_empty() || rest.contains([':', '?']) || rest.ends_with('/') {
        let problem = "has to be sqlite:// and the path of a file, without options".to_owned();
        return Err(StoreError::Url { problem });
    }
    Ok(PathBuf::from(rest))
}
