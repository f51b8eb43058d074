//! The rows of all tables, out of one database and into the other.

use std::collections::BTreeMap;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::TryStreamExt as _;
use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection as _, Row as _};

use super::file::{Line, Reader, Writer, bad};
use crate::catalogue::{Columns, Kind};
use crate::error::{Result, StoreError};
use crate::sql::Arg;
use crate::store::{Backend, Pools, Store};
use crate::tx::{Connection, Tx};

/// All tables, each after those that it refers to. Left out are counts and leases, which mean nothing elsewhere.
pub(crate) const TABLES: &[&str] = &[
    "settings",
    "data_keys",
    "claims",
    "users",
    "teams",
    "memberships",
    "sessions",
    "tokens",
    "device_codes",
    "projects",
    "environments",
    "apps",
    "placements",
    "formations",
    "env_versions",
    "blobs",
    "trees",
    "builds",
    "releases",
    "deployments",
    "deployment_progress",
    "domains",
    "ports",
    "certificates",
    "doomed_images",
    "tasks",
    "events",
    "jobs",
    "job_outputs",
];
/// Tables whose ids the database counts.
const COUNTED: &[&str] = &["deployment_progress", "events"];

macro_rules! value_of {
    ($row:expr, $at:expr, $kind:expr) => {
        match $kind {
            Kind::Text => $row.try_get::<Option<String>, _>($at).map(|v| v.map(Value::from)),
            Kind::Int => $row.try_get::<Option<i64>, _>($at).map(|v| v.map(Value::from)),
            Kind::Bool => $row.try_get::<Option<bool>, _>($at).map(|v| v.map(Value::from)),
            Kind::Bytes => {
                $row.try_get::<Option<Vec<u8>>, _>($at).map(|v| v.map(|b| Value::from(STANDARD.encode(b))))
            }
        }
        .map(|v| v.unwrap_or(Value::Null))
    };
}

/// Writes every row of one table, as it comes.
macro_rules! dump_table {
    ($connection:expr, $sql:expr, $columns:expr, $out:expr) => {{
        let mut rows = sqlx::query(AssertSqlSafe($sql)).fetch(&mut *$connection);
        let mut count = 0u64;
        let failed = |e| StoreError::from_sqlx("read rows for a backup", e);
        while let Some(row) = rows.try_next().await.map_err(failed)? {
            let mut values = Vec::with_capacity($columns.len());
            for (at, (_, kind)) in $columns.iter().enumerate() {
                values.push(value_of!(row, at, kind).map_err(failed)?);
            }
            $out.line(&Line::Row(values)).await?;
            count += 1;
        }
        count
    }};
}

/// Writes all rows as they are at one moment. Returns how many by table.
pub(super) async fn dump(store: &Store, out: &mut Writer) -> Result<BTreeMap<String, u64>> {
    let failed = |e| StoreError::from_sqlx("begin a backup", e);
    let mut tables = Vec::new();
    let mut looking = store.read().await?;
    for table in TABLES {
        tables.push((*table, looking.columns(table).await?));
    }
    drop(looking);
    let mut counts = BTreeMap::new();
    match &store.inner.pools {
        Pools::Sqlite(pools) => {
            let mut connection = pools.read().await?;
            let mut snapshot = connection.begin().await.map_err(failed)?;
            for (table, columns) in &tables {
                out.line(&head(table, columns)).await?;
                let count = dump_table!(snapshot, select(table, columns), columns, out);
                counts.insert((*table).to_owned(), count);
            }
            snapshot.rollback().await.map_err(failed)?;
        }
        Pools::Postgres(pool) => {
            let mut connection = pool.patient().await?;
            let begin = "begin isolation level repeatable read, read only";
            let mut snapshot = connection.begin_with(begin).await.map_err(failed)?;
            for (table, columns) in &tables {
                out.line(&head(table, columns)).await?;
                let count = dump_table!(snapshot, select(table, columns), columns, out);
                counts.insert((*table).to_owned(), count);
            }
            snapshot.rollback().await.map_err(failed)?;
        }
    }
    Ok(counts)
}

fn head(table: &str, columns: &Columns) -> Line {
    let columns = columns.iter().map(|(name, kind)| (name.clone(), kind.word().to_owned())).collect();
    Line::Table(table.to_owned(), columns)
}

fn select(table: &str, columns: &Columns) -> String {
    let names: Vec<&str> = columns.iter().map(|(name, _)| name.as_str()).collect();
    format!("select {} from {table} order by 1, 2", names.join(", "))
}

/// Returns the first table that has rows. Settings don't count: a migration makes some.
pub(super) async fn first_full_table(tx: &mut Tx) -> Result<Option<&'static str>> {
    for table in TABLES.iter().filter(|table| **table != "settings") {
        if count(tx, table).await? > 0 {
            return Ok(Some(table));
        }
    }
    Ok(None)
}

/// Replaces all rows by those of the backup, and counts them afterwards.
pub(super) async fn load(tx: &mut Tx, from: &Path, expected: &BTreeMap<String, u64>) -> Result<()> {
    for table in TABLES.iter().rev() {
        execute(tx, &format!("delete from {table}"), &[]).await?;
    }
    let (mut reader, _) = Reader::open(from).await?;
    let mut target: Option<(String, Vec<Kind>)> = None;
    while let Some(line) = reader.next().await? {
        match line {
            Line::Table(table, columns) => target = Some(prepare(tx, from, &table, &columns).await?),
            Line::Row(values) => {
                let (sql, kinds) = target.as_ref().ok_or_else(|| bad(from, "has a row before its table"))?;
                if values.len() != kinds.len() {
                    return Err(bad(from, "has a row with more or fewer values than columns"));
                }
                let args: Option<Vec<Arg>> =
                    values.into_iter().zip(kinds).map(|(v, kind)| arg(v, *kind)).collect();
                execute(tx, sql, &args.ok_or_else(|| bad(from, "has a value of the wrong kind"))?).await?;
            }
            Line::File(..) | Line::Data(_) | Line::End(_) => {}
        }
    }
    for (table, expected) in expected {
        let found = count(tx, table).await?;
        if found != *expected {
            return Err(bad(from, format!("gave {found} rows of `{table}` instead of {expected}")));
        }
    }
    if tx.backend() == Backend::Postgres {
        for table in COUNTED {
            let sql = format!(
                "select setval(pg_get_serial_sequence('{table}', 'id'), coalesce(max(id), 0) + 1, false) from {table}"
            );
            execute(tx, &sql, &[]).await?;
        }
    }
    Ok(())
}

async fn prepare(
    tx: &mut Tx,
    from: &Path,
    table: &str,
    columns: &[(String, String)],
) -> Result<(String, Vec<Kind>)> {
    let unknown = || bad(from, format!("has an unknown table or column in `{table}`"));
    let table = *TABLES.iter().find(|known| **known == table).ok_or_else(unknown)?;
    let known = tx.columns(table).await?;
    let mut names = Vec::new();
    let mut kinds = Vec::new();
    for (name, kind) in columns {
        // Only names that the database itself has go into the statement.
        let (name, _) = known.iter().find(|(n, k)| n == name && k.word() == kind).ok_or_else(unknown)?;
        names.push(name.as_str());
        kinds.push(Kind::parse(kind).ok_or_else(unknown)?);
    }
    let places: Vec<String> = (1..=names.len()).map(|n| format!("${n}")).collect();
    Ok((format!("insert into {table} ({}) values ({})", names.join(", "), places.join(", ")), kinds))
}

fn arg(value: Value, kind: Kind) -> Option<Arg> {
    match (kind, value) {
        (Kind::Text, Value::Null) => Some(Arg::Text(None)),
        (Kind::Int, Value::Null) => Some(Arg::Int(None)),
        (Kind::Bytes, Value::Null) => Some(Arg::Bytes(None)),
        (Kind::Text, Value::String(text)) => Some(Arg::Text(Some(text))),
        (Kind::Int, Value::Number(number)) => number.as_i64().map(|n| Arg::Int(Some(n))),
        (Kind::Bool, Value::Bool(flag)) => Some(Arg::Bool(flag)),
        (Kind::Bytes, Value::String(text)) => STANDARD.decode(text).ok().map(|b| Arg::Bytes(Some(b))),
        _ => None,
    }
}

async fn count(tx: &mut Tx, table: &str) -> Result<u64> {
    let failed = |e| StoreError::from_sqlx(format!("count the rows of `{table}`"), e);
    let sql = AssertSqlSafe(format!("select count(*) from {table}"));
    let count: i64 = match tx.connection() {
        Connection::Sqlite(connection) => {
            sqlx::query_scalar(sql).fetch_one(connection).await.map_err(failed)?
        }
        Connection::Postgres(connection) => {
            sqlx::query_scalar(sql).fetch_one(connection).await.map_err(failed)?
        }
    };
    Ok(u64::try_from(count).expect("counts aren't negative"))
}

async fn execute(tx: &mut Tx, sql: &str, args: &[Arg]) -> Result<()> {
    macro_rules! run {
        ($connection:expr) => {{
            let mut query = sqlx::query(AssertSqlSafe(sql.to_owned()));
            for arg in args {
                query = match arg.clone() {
                    Arg::Text(v) => query.bind(v),
                    Arg::Int(v) => query.bind(v),
                    Arg::Bool(v) => query.bind(v),
                    Arg::Bytes(v) => query.bind(v),
                };
            }
            query.execute($connection).await.map(|_| ())
        }};
    }
    let done = match tx.connection() {
        Connection::Sqlite(connection) => run!(connection),
        Connection::Postgres(connection) => run!(connection),
    };
    done.map_err(|e| StoreError::from_sqlx("write rows of a backup", e))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TestStore;

    #[tokio::test]
    async fn every_table_is_backed_up_or_known_to_mean_nothing_elsewhere() {
        let transient = ["rate_windows", "leases", "_sqlx_migrations", "sqlite_sequence"];
        for test in TestStore::each().await {
            let mut tx = test.store.read().await.unwrap();
            let tables = tx
                .sql_by(
                    "tables",
                    "select name from sqlite_schema where type = 'table'",
                    "select tablename::text as name from pg_tables where schemaname = current_schema()",
                )
                .list(|row| row.text("name"))
                .await
                .unwrap();
            let left: Vec<&String> = tables
                .iter()
                .filter(|name| !TABLES.contains(&name.as_str()) && !transient.contains(&name.as_str()))
                .collect();
            assert!(left.is_empty(), "{left:?} on {:?}", tx.backend());
            assert!(TABLES.iter().all(|table| tables.iter().any(|name| name == table)));
        }
    }
}
