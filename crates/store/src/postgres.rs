//! PostgreSQL: a pool, and the ear for what other servers committed.

use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgListener, PgPool, PgPoolOptions};
use sqlx::{Connection as _, Executor as _, PgConnection, Postgres, Transaction};
use tokio::sync::watch;

use crate::error::{Result, StoreError};
use crate::marks::{Marks, Touched};
use crate::store::StoreConfig;

/// A connection that was idle for longer is asked whether it is still there before it is used.
const TRUST_IDLE: Duration = Duration::from_secs(2);

pub(crate) struct PostgresPool {
    pool: PgPool,
    options: PgConnectOptions,
    deadline: Duration,
}

impl PostgresPool {
    pub(crate) async fn open(config: &StoreConfig) -> Result<Self> {
        let options = PgConnectOptions::from_str(&config.url)
            .map_err(|e| StoreError::Url { problem: format!("can't be read: {e}") })?
            .application_name("panda");
        let deadline = config.statement_deadline;
        let settings =
            format!("set statement_timeout = {ms}; set lock_timeout = {ms}", ms = deadline.as_millis());
        let pool = PgPoolOptions::new()
            // One more, because the listener keeps one for itself.
            .max_connections(config.max_connections.max(2) + 1)
            .acquire_timeout(deadline)
            .test_before_acquire(false)
            .after_connect(move |connection, _| {
                let settings = settings.clone();
                Box::pin(async move {
                    connection.execute(sqlx::raw_sql(sqlx::AssertSqlSafe(settings))).await.map(|_| ())
                })
            })
            .before_acquire(|connection, about| {
                Box::pin(async move {
                    if about.idle_for > TRUST_IDLE {
                        connection.ping().await?;
                    }
                    Ok(true)
                })
            })
            .connect_lazy_with(options.clone());
        let pool = Self { pool, options, deadline };
        pool.acquire().await?;
        Ok(pool)
    }

    pub(crate) async fn begin(&self) -> Result<Transaction<'static, Postgres>> {
        match tokio::time::timeout(self.deadline, self.pool.begin_with("BEGIN")).await {
            Ok(begun) => begun.map_err(|e| StoreError::from_sqlx("begin to write", e)),
            Err(_) => Err(StoreError::slow("begin to write")),
        }
    }

    pub(crate) async fn acquire(&self) -> Result<PoolConnection<Postgres>> {
        self.pool.acquire().await.map_err(|e| StoreError::from_sqlx("connect to the database", e))
    }

    /// Opens a connection outside of the pool, whose statements may take their time.
    pub(crate) async fn patient(&self) -> Result<PgConnection> {
        match tokio::time::timeout(self.deadline, PgConnection::connect_with(&self.options)).await {
            Ok(connected) => connected.map_err(|e| StoreError::from_sqlx("connect to the database", e)),
            Err(_) => Err(StoreError::slow("connect to the database")),
        }
    }

    /// Bumps `changes` for each commit that any server wanted others to hear of, and moves the marks for each that may have
    /// changed what somebody keeps a copy of.
    pub(crate) async fn listen(
        &self,
        changes: watch::Sender<u64>,
        marks: Arc<Marks>,
    ) -> Result<tokio::task::JoinHandle<()>> {
        let failed = |e| StoreError::from_sqlx("listen for changes", e);
        let mut listener = PgListener::connect_with(&self.pool).await.map_err(failed)?;
        listener.listen("panda_changes").await.map_err(failed)?;
        Ok(tokio::spawn(async move {
            loop {
                // `None` is a lost connection: what was said meanwhile is unknown, so everybody looks.
                match listener.try_recv().await {
                    Ok(told) => {
                        marks.move_on(told.as_ref().map_or(Touched::ALL, |told| Touched::of(told.payload())));
                        if told.is_none_or(|told| told.payload().is_empty()) {
                            changes.send_modify(|n| *n += 1);
                        }
                    }
                    Err(sqlx::Error::PoolClosed) => return,
                    Err(error) => {
                        tracing::warn!("listen for changes: {error}");
                        tokio::time::sleep(Duration::from_secs(1)).await;
                    }
                }
            }
        }))
    }

    pub(crate) async fn close(&self) {
        self.pool.close().await;
    }
}
