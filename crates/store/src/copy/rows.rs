//! Rows into the target, many at a time.

use std::time::Duration;

use sqlx::AssertSqlSafe;

use super::cells::{Cell, Cells, Rows};
use super::error::CopyError;
use super::{CopyStep, ROWS_A_WORD, Watch};
use crate::catalogue::Table;
use crate::error::{Result, StoreError};
use crate::store::Backend;
use crate::tx::{Connection, Tx};

/// What one statement inserts at most. SQLite takes 32,766 arguments, PostgreSQL 65,535.
const MOST_ROWS: usize = 500;
const MOST_ARGUMENTS: usize = 30_000;
const MOST_BYTES: usize = 1 << 20;

/// Writes all rows that come, and returns how many.
pub(super) async fn write(
    tx: &mut Tx,
    table: &Table,
    rows: &mut Rows<'_>,
    watch: &mut Watch<'_>,
) -> Result<u64, CopyError> {
    let most = MOST_ROWS.min(MOST_ARGUMENTS / table.columns.len().max(1));
    let (mut batch, mut bytes, mut count): (Vec<Cells>, usize, u64) = (Vec::new(), 0, 0);
    while let Some(row) = rows.next().await? {
        bytes += row.iter().map(Cell::size).sum::<usize>();
        batch.push(row);
        count += 1;
        if batch.len() >= most || bytes >= MOST_BYTES {
            insert(tx, table, std::mem::take(&mut batch)).await?;
            bytes = 0;
        }
        if count.is_multiple_of(ROWS_A_WORD) {
            watch(CopyStep::Copied { table: &table.name, rows: count, done: false });
        }
    }
    insert(tx, table, batch).await?;
    watch(CopyStep::Copied { table: &table.name, rows: count, done: true });
    Ok(count)
}

async fn insert(tx: &mut Tx, table: &Table, batch: Vec<Cells>) -> Result<()> {
    if batch.is_empty() {
        return Ok(());
    }
    let width = table.columns.len();
    let names: Vec<String> = table.columns.iter().map(|(name, _)| format!("\"{name}\"")).collect();
    let places: Vec<String> = (0..batch.len())
        .map(|row| {
            let places: Vec<String> = (1..=width).map(|at| format!("${}", row * width + at)).collect();
            format!("({})", places.join(", "))
        })
        .collect();
    let sql = format!("insert into \"{}\" ({}) values {}", table.name, names.join(", "), places.join(", "));
    run(tx, &table.name, sql, batch.into_iter().flatten().collect()).await.map(|_| ())
}

/// Runs a statement whose text is made of the catalogue's names. Returns how many rows it changed.
pub(super) async fn run(tx: &mut Tx, table: &str, sql: String, cells: Vec<Cell>) -> Result<u64> {
    macro_rules! execute {
        ($connection:expr) => {{
            let mut query = sqlx::query(AssertSqlSafe(sql));
            for cell in cells {
                query = match cell {
                    Cell::Text(v) => query.bind(v),
                    Cell::Int(v) => query.bind(v),
                    Cell::Bool(v) => query.bind(v),
                    Cell::Bytes(v) => query.bind(v),
                };
            }
            query.execute($connection).await.map(|done| done.rows_affected())
        }};
    }
    let what = format!("write table `{table}`");
    let deadline = tx.deadline();
    let done = async {
        match tx.connection() {
            Connection::Sqlite(connection) => execute!(connection),
            Connection::Postgres(connection) => execute!(connection),
        }
    };
    match tokio::time::timeout(deadline, done).await {
        Ok(done) => done.map_err(|error| StoreError::from_sqlx(what, error)),
        Err(_) => Err(StoreError::slow(what)),
    }
}

/// Asks for one number.
pub(super) async fn number(
    connection: Connection<'_>,
    sql: String,
    deadline: Duration,
) -> Result<Option<i64>> {
    let what = "ask the database for a number";
    let asked = async {
        let sql = AssertSqlSafe(sql);
        match connection {
            Connection::Sqlite(connection) => sqlx::query_scalar(sql).fetch_optional(connection).await,
            Connection::Postgres(connection) => sqlx::query_scalar(sql).fetch_optional(connection).await,
        }
    };
    match tokio::time::timeout(deadline, asked).await {
        Ok(number) => number.map_err(|error| StoreError::from_sqlx(what, error)),
        Err(_) => Err(StoreError::slow(what)),
    }
}

/// Returns the number that the next row of a counted table gets.
pub(super) async fn next_number(
    connection: Connection<'_>,
    backend: Backend,
    table: &str,
    deadline: Duration,
) -> Result<i64> {
    let sql = match backend {
        Backend::Sqlite => format!("select seq + 1 from sqlite_sequence where name = '{table}'"),
        // The sequence's name as PostgreSQL gives it to an identity column.
        Backend::Postgres => {
            format!(
                "select case when is_called then last_value + 1 else last_value end from \"{table}_id_seq\""
            )
        }
    };
    Ok(number(connection, sql, deadline).await?.unwrap_or(1))
}

/// Lets a counted table go on behind all numbers that were ever given: somebody may remember one that is gone.
pub(super) async fn count_on(tx: &mut Tx, table: &str, next: i64) -> Result<()> {
    match tx.backend() {
        Backend::Postgres => {
            let sql = format!("select setval(pg_get_serial_sequence('{table}', 'id'), {next}, false)");
            run(tx, table, sql, Vec::new()).await?;
        }
        Backend::Sqlite => {
            let last = next - 1;
            let sql = format!("update sqlite_sequence set seq = {last} where name = '{table}'");
            if run(tx, table, sql, Vec::new()).await? == 0 {
                let sql = format!("insert into sqlite_sequence (name, seq) values ('{table}', {last})");
                run(tx, table, sql, Vec::new()).await?;
            }
        }
    }
    Ok(())
}
