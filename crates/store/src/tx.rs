//! A transaction, or a connection for reads, of either database.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use panda_domain::clock::Clock;
use panda_domain::ids::{Id, IdSource};
use sqlx::pool::PoolConnection;
use sqlx::{PgConnection, Postgres, Sqlite, SqliteConnection, Transaction};
use tokio::time::error::Elapsed;

use crate::error::{Result, StoreError};
use crate::marks::Touched;
use crate::sql::Statement;
use crate::store::{Backend, Inner};

/// What the rows are read and written through. Dropped without [`Tx::commit`], nothing was written.
pub struct Tx {
    kind: Kind,
    store: Arc<Inner>,
    wake: bool,
    /// What it wrote to that somebody keeps copies of.
    touched: Touched,
    broken: bool,
}

enum Kind {
    SqliteWrite(Transaction<'static, Sqlite>),
    SqliteRead(PoolConnection<Sqlite>),
    PostgresWrite(Transaction<'static, Postgres>),
    PostgresRead(PoolConnection<Postgres>),
}

pub(crate) enum Connection<'t> {
    Sqlite(&'t mut SqliteConnection),
    Postgres(&'t mut PgConnection),
}

impl Tx {
    pub(crate) fn sqlite_write(store: Arc<Inner>, tx: Transaction<'static, Sqlite>) -> Self {
        Self { kind: Kind::SqliteWrite(tx), store, wake: false, touched: Touched::default(), broken: false }
    }

    pub(crate) fn sqlite_read(store: Arc<Inner>, connection: PoolConnection<Sqlite>) -> Self {
        Self {
            kind: Kind::SqliteRead(connection),
            store,
            wake: false,
            touched: Touched::default(),
            broken: false,
        }
    }

    pub(crate) fn postgres_write(store: Arc<Inner>, tx: Transaction<'static, Postgres>) -> Self {
        Self { kind: Kind::PostgresWrite(tx), store, wake: false, touched: Touched::default(), broken: false }
    }

    pub(crate) fn postgres_read(store: Arc<Inner>, connection: PoolConnection<Postgres>) -> Self {
        Self {
            kind: Kind::PostgresRead(connection),
            store,
            wake: false,
            touched: Touched::default(),
            broken: false,
        }
    }

    /// Makes everything that was written in it durable. A read has nothing to commit.
    pub async fn commit(mut self) -> Result<()> {
        if self.broken {
            return Err(StoreError::slow("commit after a statement that did not end"));
        }
        if matches!(self.kind, Kind::PostgresWrite(_)) {
            if self.wake {
                self.sql("notifications", "select pg_notify('panda_changes', '')").optional().await?;
            } else if let Some(payload) = self.touched.payload() {
                let sql = "select pg_notify('panda_changes', $1)";
                self.sql("notifications", sql).bind(payload).optional().await?;
            }
        }
        let deadline = self.deadline();
        let commit = async {
            match self.kind {
                Kind::SqliteWrite(tx) => tx.commit().await,
                Kind::PostgresWrite(tx) => tx.commit().await,
                Kind::SqliteRead(_) | Kind::PostgresRead(_) => Ok(()),
            }
        };
        let outcome = tokio::time::timeout(deadline, commit).await;
        // After a failure too: nobody knows whether it was written.
        self.store.marks.move_on(self.touched);
        match outcome {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(StoreError::from_sqlx("commit", error)),
            Err(_) => return Err(StoreError::slow("commit")),
        }
        if self.wake {
            self.store.changes.send_modify(|n| *n += 1);
        }
        Ok(())
    }

    /// Wakes jobs, reconcilers and streams once this is committed.
    pub fn wake(&mut self) {
        self.wake = true;
    }

    /// Returns the clock of the store.
    pub fn clock(&self) -> &Clock {
        &self.store.clock
    }

    /// Returns the source of ids of the store.
    pub fn ids(&self) -> &IdSource {
        &self.store.ids
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.store.clock.now()
    }

    pub(crate) fn next_id<T: Id>(&self) -> T {
        self.store.ids.next()
    }

    pub(crate) fn store(&self) -> &Arc<Inner> {
        &self.store
    }

    pub(crate) fn backend(&self) -> Backend {
        match self.kind {
            Kind::SqliteWrite(_) | Kind::SqliteRead(_) => Backend::Sqlite,
            Kind::PostgresWrite(_) | Kind::PostgresRead(_) => Backend::Postgres,
        }
    }

    pub(crate) fn sql(&mut self, table: &'static str, sql: &'static str) -> Statement<'_> {
        Statement::new(self, table, sql)
    }

    /// The few statements whose text has to differ.
    pub(crate) fn sql_by(
        &mut self,
        table: &'static str,
        sqlite: &'static str,
        postgres: &'static str,
    ) -> Statement<'_> {
        let sql = match self.backend() {
            Backend::Sqlite => sqlite,
            Backend::Postgres => postgres,
        };
        Statement::new(self, table, sql)
    }

    /// Makes transactions that add to the same ordered list commit one after the other.
    ///
    /// Numbers of PostgreSQL's sequences are given before the commit: without this, somebody who follows a
    /// list could see number 6, remember it, and never see number 5, which was committed a moment later.
    pub(crate) async fn in_order(&mut self, list: &str) -> Result<()> {
        if self.backend() == Backend::Postgres {
            self.sql("locks", "select pg_advisory_xact_lock(7061, hashtext($1))")
                .bind(list)
                .optional()
                .await?;
        }
        Ok(())
    }

    pub(crate) fn connection(&mut self) -> Connection<'_> {
        match &mut self.kind {
            Kind::SqliteWrite(tx) => Connection::Sqlite(&mut *tx),
            Kind::SqliteRead(connection) => Connection::Sqlite(&mut *connection),
            Kind::PostgresWrite(tx) => Connection::Postgres(&mut *tx),
            Kind::PostgresRead(connection) => Connection::Postgres(&mut *connection),
        }
    }

    pub(crate) fn deadline(&self) -> Duration {
        self.store.statement_deadline
    }

    /// Refuses a write through [`crate::Store::read`], which would be lost half way, and anything after a
    /// statement whose end nobody saw. Notes which table is written.
    pub(crate) fn admit(&mut self, table: &str, sql: &str, moves_marks: bool) -> Result<()> {
        if self.broken {
            return Err(StoreError::slow("go on after a statement that did not end"));
        }
        let reads = matches!(self.kind, Kind::SqliteRead(_) | Kind::PostgresRead(_));
        let writes = !sql.starts_with("select");
        if reads && writes {
            return Err(StoreError::internal("write through a connection that is for reads"));
        }
        if writes && moves_marks {
            self.touched.note(table);
        }
        Ok(())
    }

    pub(crate) fn settle<T>(
        &mut self,
        table: &'static str,
        outcome: Result<Result<T, sqlx::Error>, Elapsed>,
    ) -> Result<T> {
        match outcome {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(StoreError::from_sqlx(format!("use table `{table}`"), error)),
            Err(_) => {
                self.broken = true;
                if let Kind::PostgresRead(connection) = &mut self.kind {
                    connection.close_on_drop();
                }
                Err(StoreError::slow(format!("use table `{table}`")))
            }
        }
    }
}
