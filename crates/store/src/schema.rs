//! Which schema a database has, and bringing it up to date.

use sqlx::migrate::{MigrateError, Migrator};

use crate::error::{Result, StoreError};
use crate::store::{Pools, Store};

/// The setting that names this installation.
const INSTALLATION: &str = "installation";

fn sqlite_migrations() -> Migrator {
    sqlx::migrate!("../../migrations/sqlite")
}

fn postgres_migrations() -> Migrator {
    sqlx::migrate!("../../migrations/postgres")
}

/// Returns the newest schema that this program knows.
pub(crate) fn known() -> i64 {
    sqlite_migrations().iter().map(|migration| migration.version).max().unwrap_or(0)
}

/// Leaves out what is newer than `version`, and doesn't mind what the database has beyond.
fn up_to(all: &Migrator, version: i64) -> Migrator {
    let wanted = all.iter().filter(|migration| migration.version <= version).cloned().collect();
    let mut migrations = Migrator::with_migrations(wanted);
    migrations.set_ignore_missing(true);
    migrations
}

impl Store {
    /// Brings the schema up to date, and makes the first data key of a new installation. Safe to call at each
    /// start; servers that start together do it one after the other.
    pub async fn migrate(&self) -> Result<()> {
        self.check_schema().await?;
        self.migrate_to(i64::MAX).await?;
        self.ensure_data_key().await?;
        self.note_installation().await
    }

    /// Runs the migrations up to `version`, and no more.
    pub(crate) async fn migrate_to(&self, version: i64) -> Result<()> {
        let migrated = match &self.inner.pools {
            Pools::Sqlite(pools) => {
                let migrations = up_to(&sqlite_migrations(), version);
                let acquired = pools.writer().acquire().await;
                let mut connection = acquired.map_err(|e| StoreError::from_sqlx("migrate the schema", e))?;
                migrations.run_direct(None, &mut *connection, false).await
            }
            Pools::Postgres(pool) => {
                let migrations = up_to(&postgres_migrations(), version);
                migrations.run_direct(None, &mut pool.patient().await?, false).await
            }
        };
        migrated.map_err(|error| match error {
            MigrateError::Execute(error) => StoreError::from_sqlx("migrate the schema", error),
            other => {
                StoreError::Internal { what: "migrate the schema".to_owned(), source: Some(Box::new(other)) }
            }
        })
    }

    /// Returns the newest migration that the database has.
    pub(crate) async fn schema_version(&self) -> Result<i64> {
        let mut tx = self.read().await?;
        let row =
            tx.sql("_sqlx_migrations", "select max(version) as version from _sqlx_migrations").one().await?;
        Ok(row.opt_int("version")?.unwrap_or(0))
    }

    /// Refuses a schema that a newer program made, unless that program says that this one still works with it.
    pub(crate) async fn check_schema(&self) -> Result<()> {
        let mut tx = self.read().await?;
        if !tx.has_table("_sqlx_migrations").await? {
            return Ok(());
        }
        let found =
            tx.sql("_sqlx_migrations", "select max(version) as version from _sqlx_migrations").one().await?;
        let found = found.opt_int("version")?.unwrap_or(0);
        let known = known();
        if found <= known {
            return Ok(());
        }
        let compatible: Option<i64> =
            tx.setting("schema_compatible_from").await?.and_then(|version| version.parse().ok());
        match compatible {
            Some(from) if from <= known => {
                tracing::warn!(
                    "the database has schema {found}, this version knows {known}: it can work with it"
                );
                Ok(())
            }
            _ => Err(StoreError::NewerSchema { found, known }),
        }
    }

    /// Returns the random name of this installation, which a backup keeps.
    pub async fn installation(&self) -> Result<String> {
        let name = self.read().await?.setting(INSTALLATION).await?;
        name.ok_or_else(|| StoreError::not_found("the installation's name (the schema was never migrated)"))
    }

    async fn note_installation(&self) -> Result<()> {
        let mut tx = self.begin().await?;
        let name = if let Some(name) = tx.setting(INSTALLATION).await? {
            name
        } else {
            let name = format!("{:032x}", rand::random::<u128>());
            tx.set_setting(INSTALLATION, &name).await?;
            name
        };
        tx.commit().await?;
        if let Pools::Sqlite(pools) = &self.inner.pools {
            pools.installation.note_state(&name)?;
        }
        Ok(())
    }
}

impl crate::tx::Tx {
    pub(crate) async fn has_table(&mut self, name: &str) -> Result<bool> {
        let found = self
            .sql_by(
                "sqlite_schema",
                "select 1 as found from sqlite_schema where type = 'table' and name = $1",
                "select 1 as found from pg_tables where schemaname = current_schema() and tablename = $1",
            )
            .bind(name)
            .optional()
            .await?;
        Ok(found.is_some())
    }
}
