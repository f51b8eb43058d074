//! What a database itself says about its tables.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::{Result, StoreError};
use crate::tx::Tx;

/// Tables of the databases and their driver, which are no state of ours.
const FOREIGN: [&str; 2] = ["_sqlx_migrations", "sqlite_sequence"];

/// What a column holds; each has its type on both databases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Int,
    Bool,
    Bytes,
}

impl Kind {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Int => "int",
            Self::Bool => "bool",
            Self::Bytes => "bytes",
        }
    }

    /// Understands our own words and those of both databases.
    pub(crate) fn parse(word: &str) -> Option<Self> {
        match word {
            "text" => Some(Self::Text),
            "int" | "bigint" | "integer" => Some(Self::Int),
            "bool" | "boolean" => Some(Self::Bool),
            "bytes" | "blob" | "bytea" => Some(Self::Bytes),
            _ => None,
        }
    }
}

/// The columns of a table in their order.
pub(crate) type Columns = Vec<(String, Kind)>;

/// A table as both databases can have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Table {
    pub(crate) name: String,
    pub(crate) columns: Columns,
    /// Its primary key, in order.
    pub(crate) key: Vec<String>,
    /// Whether the database counts its `id`.
    pub(crate) counted: bool,
}

impl Tx {
    /// Returns the names of all tables of ours.
    pub(crate) async fn table_names(&mut self) -> Result<Vec<String>> {
        let names = self
            .sql_by(
                "tables",
                "select name from sqlite_schema where type = 'table' order by name",
                "select tablename::text as name from pg_tables where schemaname = current_schema() order by 1",
            )
            .list(|row| row.text("name"))
            .await?;
        Ok(names.into_iter().filter(|name| !FOREIGN.contains(&name.as_str())).collect())
    }

    /// Returns the columns of a table.
    pub(crate) async fn columns(&mut self, table: &str) -> Result<Columns> {
        let rows = self
            .sql_by(
                "columns",
                "select name, lower(type) as kind from pragma_table_info($1) order by cid",
                "select column_name::text as name, data_type::text as kind from information_schema.columns
                 where table_schema = current_schema() and table_name = $1 order by ordinal_position",
            )
            .bind(table)
            .all()
            .await?;
        rows.iter()
            .map(|row| {
                let (name, kind) = (row.text("name")?, row.text("kind")?);
                let kind = Kind::parse(&kind)
                    .ok_or_else(|| row.odd(format!("is column `{name}` of an unknown kind `{kind}`")))?;
                Ok((name, kind))
            })
            .collect()
    }

    /// Returns all tables, each after those that it refers to.
    pub(crate) async fn tables(&mut self) -> Result<Vec<Table>> {
        let names = self.table_names().await?;
        let references = self.references().await?;
        let mut tables = Vec::new();
        for name in in_order(names, &references)? {
            let columns = self.columns(&name).await?;
            let key = self.primary_key(&name).await?;
            let counted = self.is_counted(&name).await?;
            tables.push(Table { name, columns, key, counted });
        }
        Ok(tables)
    }

    async fn primary_key(&mut self, table: &str) -> Result<Vec<String>> {
        self.sql_by(
            "columns",
            "select name from pragma_table_info($1) where pk > 0 order by pk",
            "select a.attname::text as name from pg_index i
             join pg_class c on c.oid = i.indrelid and c.relnamespace = current_schema()::regnamespace
             join pg_attribute a on a.attrelid = c.oid and a.attnum = any (i.indkey)
             where i.indisprimary and c.relname = $1 order by array_position(i.indkey, a.attnum)",
        )
        .bind(table)
        .list(|row| row.text("name"))
        .await
    }

    async fn is_counted(&mut self, table: &str) -> Result<bool> {
        let found = self
            .sql_by(
                "tables",
                "select 1 as found from sqlite_schema where name = $1 and lower(sql) like '%autoincrement%'",
                "select 1 as found from information_schema.columns
                 where table_schema = current_schema() and table_name = $1 and is_identity = 'YES'",
            )
            .bind(table)
            .optional()
            .await?;
        Ok(found.is_some())
    }

    /// Returns which table refers to which.
    async fn references(&mut self) -> Result<Vec<(String, String)>> {
        self.sql_by(
            "references",
            "select t.name as child, f.\"table\" as parent from sqlite_schema t, pragma_foreign_key_list(t.name) f
             where t.type = 'table'",
            "select c.relname::text as child, p.relname::text as parent from pg_constraint f
             join pg_class c on c.oid = f.conrelid join pg_class p on p.oid = f.confrelid
             where f.contype = 'f' and f.connamespace = current_schema()::regnamespace",
        )
        .list(|row| Ok((row.text("child")?, row.text("parent")?)))
        .await
    }
}

/// Puts names into an order in which each comes after those that it refers to. A table may refer to itself.
fn in_order(names: Vec<String>, references: &[(String, String)]) -> Result<Vec<String>> {
    let mut waits: BTreeMap<String, BTreeSet<&str>> =
        names.into_iter().map(|name| (name, BTreeSet::new())).collect();
    for (child, parent) in references.iter().filter(|(child, parent)| child != parent) {
        waits.entry(child.clone()).or_default().insert(parent);
    }
    let mut ordered = Vec::with_capacity(waits.len());
    while !waits.is_empty() {
        let free: Vec<String> =
            waits.iter().filter(|(_, parents)| parents.is_empty()).map(|(name, _)| name.clone()).collect();
        if free.is_empty() {
            let circle: Vec<&str> = waits.keys().map(String::as_str).collect();
            return Err(StoreError::internal(format!(
                "order the tables {}, which refer to each other in a circle",
                circle.join(", ")
            )));
        }
        for name in &free {
            waits.remove(name);
        }
        for parents in waits.values_mut() {
            parents.retain(|parent| !free.iter().any(|name| name == parent));
        }
        ordered.extend(free);
    }
    Ok(ordered)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TestStore;

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(child, parent)| ((*child).to_owned(), (*parent).to_owned())).collect()
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_table_comes_after_those_that_it_refers_to() {
        let references = pairs(&[("a", "b"), ("b", "c"), ("d", "d"), ("a", "c")]);
        let ordered = in_order(names(&["a", "b", "c", "d"]), &references).unwrap();
        assert_eq!(ordered, names(&["c", "d", "b", "a"]));
        assert!(in_order(names(&["a", "b"]), &pairs(&[("a", "b"), ("b", "a")])).is_err());
    }

    #[tokio::test]
    async fn both_databases_have_the_same_tables_columns_and_keys() {
        let mut seen: Vec<Vec<Table>> = Vec::new();
        for test in TestStore::each().await {
            seen.push(test.store.read().await.unwrap().tables().await.unwrap());
        }
        assert!(seen[0].iter().all(|table| !table.columns.is_empty() && !table.key.is_empty()));
        assert!(seen[0].iter().any(|table| table.counted));
        assert!(seen.iter().all(|tables| tables == &seen[0]), "{seen:#?}");
    }
}
