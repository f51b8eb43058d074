//! Rows as both databases have them: values that can be compared.

use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, Row as _};

use super::error::CopyError;
use crate::catalogue::{Kind, Table};
use crate::error::StoreError;
use crate::store::Backend;
use crate::tx::Connection;

/// A value. SQLite keeps booleans as numbers and any value in any column; here each is of its column's kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Cell {
    Text(Option<String>),
    Int(Option<i64>),
    Bool(Option<bool>),
    Bytes(Option<Vec<u8>>),
}

impl Cell {
    /// Returns about how much memory it takes.
    pub(super) fn size(&self) -> usize {
        match self {
            Self::Text(text) => text.as_ref().map_or(0, String::len),
            Self::Bytes(bytes) => bytes.as_ref().map_or(0, Vec::len),
            Self::Int(_) | Self::Bool(_) => 8,
        }
    }

    fn has_nul(&self) -> bool {
        matches!(self, Self::Text(Some(text)) if text.contains('\0'))
    }

    fn told(&self) -> String {
        match self {
            Self::Text(Some(text)) => text.clone(),
            Self::Int(Some(number)) => number.to_string(),
            Self::Bool(Some(flag)) => flag.to_string(),
            Self::Bytes(Some(_)) => "(bytes)".to_owned(),
            _ => "(none)".to_owned(),
        }
    }
}

/// The values of one row, in the order of its table's columns.
pub(super) type Cells = Vec<Cell>;

/// Names a row by its key.
pub(super) fn name(table: &Table, row: &Cells) -> String {
    let key = table.columns.iter().zip(row).filter(|((name, _), _)| table.key.contains(name));
    key.map(|(_, cell)| cell.told()).collect::<Vec<_>>().join(", ")
}

/// All rows of one table, one after the other: a table is never in memory as a whole.
pub(super) struct Rows<'c> {
    table: &'c Table,
    stream: BoxStream<'c, Result<Cells, Problem>>,
    deadline: Duration,
    refuse_nul: bool,
}

/// A value that can't be read, by its column, or what the driver says.
enum Problem {
    Value { row: String, column: String, problem: String },
    Driver(sqlx::Error),
}

impl<'c> Rows<'c> {
    /// Begins to read, in the order of the key, which is the same on both databases.
    pub(super) fn of(connection: Connection<'c>, table: &'c Table, deadline: Duration) -> Self {
        let stream = match connection {
            Connection::Sqlite(connection) => sqlx::query(AssertSqlSafe(select(table, Backend::Sqlite)))
                .fetch(connection)
                .map(|row| row.map_err(Problem::Driver).and_then(|row| read(table, &row, sqlite_cell)))
                .boxed(),
            Connection::Postgres(connection) => sqlx::query(AssertSqlSafe(select(table, Backend::Postgres)))
                .fetch(connection)
                .map(|row| row.map_err(Problem::Driver).and_then(|row| read(table, &row, postgres_cell)))
                .boxed(),
        };
        Self { table, stream, deadline, refuse_nul: false }
    }

    /// Refuses texts that PostgreSQL can't hold.
    pub(super) fn refusing_nul(mut self, refuse: bool) -> Self {
        self.refuse_nul = refuse;
        self
    }

    /// Returns the next row; `None` behind the last.
    pub(super) async fn next(&mut self) -> Result<Option<Cells>, CopyError> {
        let what = || format!("read table `{}`", self.table.name);
        let next = tokio::time::timeout(self.deadline, self.stream.next()).await;
        match next.map_err(|_| StoreError::slow(what()))? {
            None => Ok(None),
            Some(Ok(row)) => {
                let nul =
                    self.table.columns.iter().zip(&row).find(|(_, cell)| self.refuse_nul && cell.has_nul());
                match nul {
                    None => Ok(Some(row)),
                    Some(((column, _), _)) => Err(CopyError::OddValue {
                        table: self.table.name.clone(),
                        row: name(self.table, &row),
                        column: column.clone(),
                        problem: "has a NUL character, which PostgreSQL can't hold".to_owned(),
                    }),
                }
            }
            Some(Err(Problem::Driver(error))) => Err(StoreError::from_sqlx(what(), error).into()),
            Some(Err(Problem::Value { row, column, problem })) => {
                Err(CopyError::OddValue { table: self.table.name.clone(), row, column, problem })
            }
        }
    }
}

/// Orders texts by their bytes, as SQLite does, whatever language the other database has.
fn select(table: &Table, backend: Backend) -> String {
    let names: Vec<String> = table.columns.iter().map(|(name, _)| format!("\"{name}\"")).collect();
    let keys = table.columns.iter().filter(|(name, _)| table.key.is_empty() || table.key.contains(name));
    let keys: Vec<String> = keys
        .map(|(name, kind)| match (kind, backend) {
            (Kind::Text, Backend::Postgres) => format!("\"{name}\" collate \"C\""),
            _ => format!("\"{name}\""),
        })
        .collect();
    format!("select {} from \"{}\" order by {}", names.join(", "), table.name, keys.join(", "))
}

fn read<R>(
    table: &Table,
    row: &R,
    cell: impl Fn(&R, usize, Kind) -> Result<Cell, sqlx::Error>,
) -> Result<Cells, Problem> {
    let mut cells = Cells::with_capacity(table.columns.len());
    for (at, (column, kind)) in table.columns.iter().enumerate() {
        match cell(row, at, *kind) {
            Ok(read) => cells.push(read),
            Err(_) => {
                return Err(Problem::Value {
                    row: name(table, &cells),
                    column: column.clone(),
                    problem: format!("is no {}", kind.word()),
                });
            }
        }
    }
    Ok(cells)
}

fn sqlite_cell(row: &SqliteRow, at: usize, kind: Kind) -> Result<Cell, sqlx::Error> {
    Ok(match kind {
        Kind::Text => Cell::Text(row.try_get(at)?),
        Kind::Int => Cell::Int(row.try_get(at)?),
        Kind::Bytes => Cell::Bytes(row.try_get(at)?),
        // The driver takes any number for a boolean.
        Kind::Bool => match row.try_get_unchecked::<Option<i64>, _>(at)? {
            None => Cell::Bool(None),
            Some(0) => Cell::Bool(Some(false)),
            Some(1) => Cell::Bool(Some(true)),
            Some(_) => return Err(sqlx::Error::Decode("neither 0 nor 1".into())),
        },
    })
}

fn postgres_cell(row: &PgRow, at: usize, kind: Kind) -> Result<Cell, sqlx::Error> {
    Ok(match kind {
        Kind::Text => Cell::Text(row.try_get(at)?),
        Kind::Int => Cell::Int(row.try_get(at)?),
        Kind::Bool => Cell::Bool(row.try_get(at)?),
        Kind::Bytes => Cell::Bytes(row.try_get(at)?),
    })
}
