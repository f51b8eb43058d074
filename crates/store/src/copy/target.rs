//! The database that is filled.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr as _;

use panda_domain::clock::Clock;
use panda_domain::ids::IdSource;
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection as _, PgConnection};

use super::cells::Rows;
use super::compare::compare;
use super::error::CopyError;
use super::source::Source;
use super::{CopyStep, Watch, rows, worth_copying};
use crate::error::{Result, StoreError};
use crate::installation::{self, Installation, beside};
use crate::keyring::Keyring;
use crate::sqlite::path_of;
use crate::store::{Backend, Store, StoreConfig};
use crate::tx::Tx;

/// A target, open and without rows.
pub(super) struct Target {
    store: Store,
    /// The place that a SQLite file takes when it is complete, and where it is until then.
    file: Option<(Installation, PathBuf)>,
}

/// Rows by table, and values that were opened.
pub(super) type Moved = (BTreeMap<String, u64>, u64);

/// Tells whether a database can't hold NUL characters in texts.
pub(super) fn refuses_nul(config: &StoreConfig) -> bool {
    !config.url.starts_with("sqlite:")
}

impl Target {
    /// Makes the tables as the source has them; what is there already has to be the same, and empty.
    pub(super) async fn open(
        config: &StoreConfig,
        keyring: Keyring,
        source: &Source,
    ) -> Result<Self, CopyError> {
        refuse_full(config).await?;
        let mut config = config.clone();
        let mut file = None;
        if config.url.starts_with("sqlite:") {
            let path = path_of(&config.url)?;
            let place = Installation::take_to_replace(&path)?;
            let ready = beside(&path, ".copying");
            installation::clear(&ready)?;
            config.url = format!("sqlite://{}", ready.display());
            file = Some((place, ready));
        }
        let clock = Clock::system();
        let store = Store::connect(&config, keyring, clock.clone(), IdSource::random(clock)).await?;
        store.check_schema().await?;
        store.migrate_to(source.schema).await?;
        let found = store.read().await?.tables().await?;
        let other = source.tables.iter().find(|table| !found.contains(table));
        let other = other.or_else(|| found.iter().find(|table| !source.tables.contains(table)));
        match other {
            Some(table) => Err(CopyError::OtherTables { table: table.name.clone() }),
            None => Ok(Self { store, file }),
        }
    }

    /// Writes all rows, reads them back and compares them, and opens every secret: in one transaction.
    pub(super) async fn fill(&self, source: &mut Source, watch: &mut Watch<'_>) -> Result<Moved, CopyError> {
        let mut tx = self.store.begin().await?;
        if tx.backend() == Backend::Postgres {
            // Reading a table back may take long as a whole; each row has its deadline here.
            rows::run(&mut tx, "settings", "set local statement_timeout = 0".to_owned(), Vec::new()).await?;
        }
        // Two copies at once: the second waits here, and then finds rows.
        tx.in_order("store copy").await?;
        refuse_rows(&mut tx).await?;
        let (tables, deadline) = (source.tables.clone(), source.deadline());
        for table in worth_copying(&tables).rev() {
            // What the migrations themselves wrote; the source has it too, and knows better.
            rows::run(&mut tx, &table.name, format!("delete from \"{}\"", table.name), Vec::new()).await?;
        }
        let refuse_nul = tx.backend() == Backend::Postgres;
        let mut counts = BTreeMap::new();
        for table in worth_copying(&tables) {
            let mut reading = Rows::of(source.connection(), table, deadline).refusing_nul(refuse_nul);
            counts.insert(table.name.clone(), rows::write(&mut tx, table, &mut reading, watch).await?);
        }
        for table in worth_copying(&tables) {
            let same = compare(table, source.connection(), tx.connection(), deadline).await?;
            watch(CopyStep::Compared { table: &table.name, rows: same });
        }
        let backend = source.backend();
        for table in worth_copying(&tables).filter(|table| table.counted) {
            let next = rows::next_number(source.connection(), backend, &table.name, deadline).await?;
            rows::count_on(&mut tx, &table.name, next).await?;
        }
        tx.load_data_keys().await?;
        let proven = tx.prove_secrets().await?;
        tx.commit().await?;
        Ok((counts, proven))
    }

    /// Brings the schema up to date and a SQLite file to its place; or takes away what failed.
    pub(super) async fn end(
        self,
        moved: Result<Moved, CopyError>,
        installation: &str,
    ) -> Result<Moved, CopyError> {
        let ended = match moved {
            Ok(moved) => self.store.migrate().await.map(|()| moved).map_err(|error| match self.file {
                // Nothing counts until the file is at its place.
                Some(_) => CopyError::from(error),
                None => CopyError::NotMigrated { source: error },
            }),
            Err(error) => Err(error),
        };
        self.store.close().await;
        if let Some((place, ready)) = self.file {
            if ended.is_err() {
                installation::clear(&ready)?;
            } else {
                place.replace_by(&ready, installation)?;
            }
        }
        ended
    }
}

/// Refuses a target that holds anything, without changing it.
pub(super) async fn refuse_full(config: &StoreConfig) -> Result<(), CopyError> {
    if config.url.starts_with("sqlite:") {
        let path = path_of(&config.url)?;
        let note = beside(&path, ".state.json");
        return match [path, note].into_iter().find(|path| path.exists()) {
            Some(path) => Err(CopyError::FileExists { path }),
            None => Ok(()),
        };
    }
    let options = PgConnectOptions::from_str(&config.url)
        .map_err(|e| StoreError::Url {
            problem: format!("has to start with sqlite:// or postgres:// ({e})"),
        })?
        .application_name("panda-copy");
    let what = "look at the target";
    let looked = async {
        let mut connection = PgConnection::connect_with(&options).await?;
        let foreign: Option<String> = sqlx::query_scalar(
            "select tablename::text from pg_tables where schemaname = current_schema() and not exists
             (select 1 from pg_tables where schemaname = current_schema() and tablename = '_sqlx_migrations') limit 1",
        )
        .fetch_optional(&mut connection)
        .await?;
        let state: Option<String> = sqlx::query_scalar(
            "select tablename::text from pg_tables where schemaname = current_schema() and tablename = 'data_keys'",
        )
        .fetch_optional(&mut connection)
        .await?;
        let keys: i64 = match state {
            None => 0,
            Some(_) => {
                sqlx::query_scalar("select count(*) from data_keys").fetch_one(&mut connection).await?
            }
        };
        connection.close().await?;
        Ok((foreign, keys))
    };
    match tokio::time::timeout(config.statement_deadline, looked).await {
        Ok(Ok((Some(table), _))) => Err(CopyError::ForeignTable { table }),
        Ok(Ok((None, 0))) => Ok(()),
        Ok(Ok((None, _))) => {
            Err(StoreError::NotEmpty { what: "the target (an installation lives there)".to_owned() }.into())
        }
        Ok(Err(error)) => Err(StoreError::from_sqlx(what, error).into()),
        Err(_) => Err(StoreError::slow(what).into()),
    }
}

/// Refuses rows that no migration made.
async fn refuse_rows(tx: &mut Tx) -> Result<(), CopyError> {
    let not_empty = |table: &str| StoreError::NotEmpty { what: format!("the target (table `{table}`)") };
    if tx.setting("installation").await?.is_some() {
        return Err(not_empty("settings").into());
    }
    let deadline = tx.deadline();
    for table in tx.table_names().await?.iter().filter(|table| *table != "settings") {
        let sql = format!("select count(*) from \"{table}\"");
        if rows::number(tx.connection(), sql, deadline).await?.unwrap_or(0) > 0 {
            return Err(not_empty(table).into());
        }
    }
    Ok(())
}
