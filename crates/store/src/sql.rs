//! One SQL text on both databases: arguments, rows, and the statement that joins them.

use std::fmt::Display;
use std::str::FromStr;

use futures_util::TryStreamExt as _;
use jiff::Timestamp;
use panda_domain::ids::{
    AppId, BuildId, DeploymentId, DeviceCodeId, DomainId, EnvironmentId, JobId, PlacementId, ProjectId,
    ReleaseId, SessionId, TaskId, TeamId, TokenId, UserId,
};
use panda_domain::names::{
    AppName, Email, EnvKey, EnvironmentName, Hostname, ProcessName, ProjectName, TeamName, TokenName,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row as _, query};

use crate::error::{Result, StoreError};
use crate::tx::{Connection, Tx};

/// A value that goes into a statement. `None` is NULL of that type, which PostgreSQL wants to know.
#[derive(Debug, Clone)]
pub(crate) enum Arg {
    Text(Option<String>),
    Int(Option<i64>),
    Bool(bool),
    Bytes(Option<Vec<u8>>),
}

/// A row of either database.
pub(crate) struct Row {
    table: &'static str,
    inner: EitherRow,
}

pub(crate) enum EitherRow {
    Sqlite(SqliteRow),
    Postgres(PgRow),
}

impl From<SqliteRow> for EitherRow {
    fn from(row: SqliteRow) -> Self {
        Self::Sqlite(row)
    }
}

impl From<PgRow> for EitherRow {
    fn from(row: PgRow) -> Self {
        Self::Postgres(row)
    }
}

/// A statement with its arguments, about to run in a [`Tx`].
#[must_use]
pub(crate) struct Statement<'t> {
    tx: &'t mut Tx,
    table: &'static str,
    sql: &'static str,
    args: Vec<Arg>,
    moves_marks: bool,
}

/// Runs one expression for whichever database is behind the transaction, within its deadline.
macro_rules! on_both {
    ($statement:ident, |$query:ident, $connection:ident| $body:expr, $map:expr) => {{
        let Statement { tx, table, sql, args, moves_marks } = $statement;
        tx.admit(table, sql, moves_marks)?;
        let deadline = tx.deadline();
        let outcome = match tx.connection() {
            Connection::Sqlite($connection) => {
                let mut $query = query(sql);
                for arg in args {
                    $query = match arg {
                        Arg::Text(v) => $query.bind(v),
                        Arg::Int(v) => $query.bind(v),
                        Arg::Bool(v) => $query.bind(v),
                        Arg::Bytes(v) => $query.bind(v),
                    };
                }
                tokio::time::timeout(deadline, $body).await.map(|r| r.map($map.0))
            }
            Connection::Postgres($connection) => {
                let mut $query = query(sql);
                for arg in args {
                    $query = match arg {
                        Arg::Text(v) => $query.bind(v),
                        Arg::Int(v) => $query.bind(v),
                        Arg::Bool(v) => $query.bind(v),
                        Arg::Bytes(v) => $query.bind(v),
                    };
                }
                tokio::time::timeout(deadline, $body).await.map(|r| r.map($map.1))
            }
        };
        tx.settle(table, outcome)
    }};
}

impl<'t> Statement<'t> {
    pub(crate) fn new(tx: &'t mut Tx, table: &'static str, sql: &'static str) -> Self {
        Self { tx, table, sql, args: Vec::with_capacity(8), moves_marks: true }
    }

    /// Says that it changes no column that somebody keeps a copy of, although its table has such columns.
    pub(crate) fn aside(mut self) -> Self {
        self.moves_marks = false;
        self
    }

    /// Adds the next argument: `$1`, `$2`, ….
    pub(crate) fn bind(mut self, value: impl Into<Arg>) -> Self {
        self.args.push(value.into());
        self
    }

    /// Runs it and returns how many rows it changed.
    pub(crate) async fn run(self) -> Result<u64> {
        on_both!(
            self,
            |query, connection| query.execute(connection),
            (
                |done: sqlx::sqlite::SqliteQueryResult| done.rows_affected(),
                |done: sqlx::postgres::PgQueryResult| done.rows_affected()
            )
        )
    }

    /// Returns the first row, if there is one.
    pub(crate) async fn optional(self) -> Result<Option<Row>> {
        let table = self.table;
        let row = on_both!(
            self,
            |query, connection| query.fetch_optional(connection),
            (
                |row: Option<SqliteRow>| row.map(EitherRow::Sqlite),
                |row: Option<PgRow>| row.map(EitherRow::Postgres)
            )
        )?;
        Ok(row.map(|inner| Row { table, inner }))
    }

    /// Returns the row that must be there.
    pub(crate) async fn one(self) -> Result<Row> {
        let table = self.table;
        self.optional().await?.ok_or_else(|| StoreError::not_found(format!("row of `{table}`")))
    }

    /// Returns all rows.
    pub(crate) async fn all(self) -> Result<Vec<Row>> {
        let table = self.table;
        let rows: Vec<EitherRow> = on_both!(
            self,
            |query, connection| query.fetch_all(connection),
            (
                |rows: Vec<SqliteRow>| rows.into_iter().map(EitherRow::Sqlite).collect::<Vec<_>>(),
                |rows: Vec<PgRow>| rows.into_iter().map(EitherRow::Postgres).collect::<Vec<_>>()
            )
        )?;
        Ok(rows.into_iter().map(|inner| Row { table, inner }).collect())
    }

    /// Runs it and tells whether it changed anything.
    pub(crate) async fn changed(self) -> Result<bool> {
        Ok(self.run().await? > 0)
    }

    /// Returns all rows, each understood by `read` as it comes: a row of the database is several times as large.
    pub(crate) async fn list<T>(self, read: impl Fn(&Row) -> Result<T>) -> Result<Vec<T>> {
        let table = self.table;
        let understood: Vec<Result<T>> = on_both!(
            self,
            |query, connection| async {
                let rows = query.fetch(connection);
                rows.map_ok(|row| read(&Row { table, inner: row.into() })).try_collect().await
            },
            (|rows: Vec<Result<T>>| rows, |rows: Vec<Result<T>>| rows)
        )?;
        understood.into_iter().collect()
    }

    /// Returns the first row, if there is one, understood by `read`.
    pub(crate) async fn maybe<T>(self, read: impl Fn(&Row) -> Result<T>) -> Result<Option<T>> {
        self.optional().await?.as_ref().map(read).transpose()
    }
}

macro_rules! readers {
    ($($(#[$doc:meta])* $name:ident -> $type:ty;)*) => {$(
        $(#[$doc])*
        pub(crate) fn $name(&self, column: &'static str) -> Result<$type> {
            match &self.inner {
                EitherRow::Sqlite(row) => row.try_get::<$type, _>(column),
                EitherRow::Postgres(row) => row.try_get::<$type, _>(column),
            }
            .map_err(|error| self.odd(format!("has an unreadable `{column}`: {error}")))
        }
    )*};
}

impl Row {
    readers! {
        text -> String;
        opt_text -> Option<String>;
        int -> i64;
        opt_int -> Option<i64>;
        bool -> bool;
        bytes -> Vec<u8>;
        opt_bytes -> Option<Vec<u8>>;
    }

    /// Reads a number that has to be in the range of `T`.
    pub(crate) fn number<T: TryFrom<i64>>(&self, column: &'static str) -> Result<T> {
        let value = self.int(column)?;
        T::try_from(value).map_err(|_| self.odd(format!("has `{column}` = {value}, out of range")))
    }

    /// Reads an id, name or other text with rules.
    pub(crate) fn parse<T>(&self, column: &'static str) -> Result<T>
    where
        T: FromStr,
        T::Err: Display,
    {
        self.text(column)?.parse().map_err(|e| self.odd(format!("has an invalid `{column}`: {e}")))
    }

    /// Reads an id, name or other text with rules, or NULL.
    pub(crate) fn opt_parse<T>(&self, column: &'static str) -> Result<Option<T>>
    where
        T: FromStr,
        T::Err: Display,
    {
        self.opt_text(column)?
            .map(|text| text.parse().map_err(|e| self.odd(format!("has an invalid `{column}`: {e}"))))
            .transpose()
    }

    /// Reads a text that holds JSON.
    pub(crate) fn json<T: DeserializeOwned>(&self, column: &'static str) -> Result<T> {
        serde_json::from_str(&self.text(column)?)
            .map_err(|e| self.odd(format!("has an unreadable `{column}`: {e}")))
    }

    /// Reads a word that `T` knows by its serde names.
    pub(crate) fn word<T: DeserializeOwned>(&self, column: &'static str) -> Result<T> {
        let word = self.text(column)?;
        serde_json::from_value(serde_json::Value::String(word))
            .map_err(|e| self.odd(format!("has an unknown `{column}`: {e}")))
    }

    /// Reads milliseconds since the epoch.
    pub(crate) fn time(&self, column: &'static str) -> Result<Timestamp> {
        self.to_time(column, self.int(column)?)
    }

    /// Reads milliseconds since the epoch, or NULL.
    pub(crate) fn opt_time(&self, column: &'static str) -> Result<Option<Timestamp>> {
        self.opt_int(column)?.map(|ms| self.to_time(column, ms)).transpose()
    }

    fn to_time(&self, column: &'static str, ms: i64) -> Result<Timestamp> {
        Timestamp::from_millisecond(ms).map_err(|_| self.odd(format!("has `{column}` = {ms}, no time")))
    }

    /// Says what is wrong with this row.
    pub(crate) fn odd(&self, problem: String) -> StoreError {
        let id = match &self.inner {
            EitherRow::Sqlite(row) => row.try_get::<String, _>("id").ok(),
            EitherRow::Postgres(row) => row.try_get::<String, _>("id").ok(),
        };
        StoreError::Inconsistent { table: self.table, row: id.unwrap_or_else(|| "?".to_owned()), problem }
    }
}

/// Writes a value as the JSON text that a column keeps.
pub(crate) fn to_json<T: Serialize + ?Sized>(value: &T) -> String {
    serde_json::to_string(value).expect("the domain's types have text keys and can't fail to serialise")
}

/// Writes an enum without data as its serde word.
pub(crate) fn to_word<T: Serialize>(value: &T) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        other => unreachable!("only enums without data are words, not {other:?}"),
    }
}

impl From<&str> for Arg {
    fn from(value: &str) -> Self {
        Self::Text(Some(value.to_owned()))
    }
}
impl From<String> for Arg {
    fn from(value: String) -> Self {
        Self::Text(Some(value))
    }
}
impl From<&String> for Arg {
    fn from(value: &String) -> Self {
        Self::Text(Some(value.clone()))
    }
}
impl From<Option<String>> for Arg {
    fn from(value: Option<String>) -> Self {
        Self::Text(value)
    }
}
impl From<Option<&str>> for Arg {
    fn from(value: Option<&str>) -> Self {
        Self::Text(value.map(str::to_owned))
    }
}
impl From<i64> for Arg {
    fn from(value: i64) -> Self {
        Self::Int(Some(value))
    }
}
impl From<Option<i64>> for Arg {
    fn from(value: Option<i64>) -> Self {
        Self::Int(value)
    }
}
impl From<u32> for Arg {
    fn from(value: u32) -> Self {
        Self::Int(Some(i64::from(value)))
    }
}
impl From<Option<u32>> for Arg {
    fn from(value: Option<u32>) -> Self {
        Self::Int(value.map(i64::from))
    }
}
impl From<u64> for Arg {
    fn from(value: u64) -> Self {
        Self::Int(Some(i64::try_from(value).unwrap_or(i64::MAX)))
    }
}
impl From<bool> for Arg {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}
impl From<Vec<u8>> for Arg {
    fn from(value: Vec<u8>) -> Self {
        Self::Bytes(Some(value))
    }
}
impl From<Option<Vec<u8>>> for Arg {
    fn from(value: Option<Vec<u8>>) -> Self {
        Self::Bytes(value)
    }
}
impl From<Timestamp> for Arg {
    fn from(value: Timestamp) -> Self {
        Self::Int(Some(value.as_millisecond()))
    }
}
impl From<Option<Timestamp>> for Arg {
    fn from(value: Option<Timestamp>) -> Self {
        Self::Int(value.map(Timestamp::as_millisecond))
    }
}

macro_rules! texts {
    ($($type:ty)*) => {$(
        impl From<&$type> for Arg {
            fn from(value: &$type) -> Self { Self::Text(Some(value.as_str().to_owned())) }
        }
        impl From<Option<&$type>> for Arg {
            fn from(value: Option<&$type>) -> Self { Self::Text(value.map(|v| v.as_str().to_owned())) }
        }
    )*};
}
texts!(
    AppId BuildId DeploymentId DeviceCodeId DomainId EnvironmentId JobId PlacementId ProjectId ReleaseId SessionId
    TaskId TeamId TokenId UserId
    AppName Email EnvKey EnvironmentName Hostname ProcessName ProjectName TeamName TokenName
);
