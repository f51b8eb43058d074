//! Fresh stores for tests: SQLite in a folder of its own always, PostgreSQL when `PANDA_TEST_POSTGRES` names a
//! server, on which each store gets a database of its own.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use panda_domain::clock::Clock;
use panda_domain::ids::IdSource;
use sqlx::{Connection as _, Executor as _, PgConnection};
use tempfile::TempDir;

use crate::keyring::Keyring;
use crate::store::{Backend, Store, StoreConfig};

/// The variable with the URL of the PostgreSQL server for tests, such as `postgres://user@localhost:5432/postgres`.
pub const POSTGRES_VARIABLE: &str = "PANDA_TEST_POSTGRES";

/// A migrated, empty store with everything that is needed to open it again. Removed when dropped.
pub struct TestStore {
    /// The store.
    pub store: Store,
    /// The clock that it runs on; stands still until it is moved.
    pub clock: Clock,
    /// How to open it again.
    pub config: StoreConfig,
    /// Where its key lies.
    pub key_file: PathBuf,
    folder: TempDir,
    database: Option<Database>,
}

impl TestStore {
    /// Returns a store on SQLite.
    pub async fn sqlite() -> Self {
        let folder = TempDir::new().expect("make a temporary folder");
        let url = format!("sqlite://{}", folder.path().join("panda.db").display());
        Self::open(url, folder, None).await
    }

    /// Returns a store on PostgreSQL, `None` (and a loud line) where there is no server for tests.
    pub async fn postgres() -> Option<Self> {
        let database = Database::create().await?;
        let folder = TempDir::new().expect("make a temporary folder");
        Some(Self::open(database.url.clone(), folder, Some(database)).await)
    }

    /// Returns one store for each database that there is.
    pub async fn each() -> Vec<Self> {
        let mut stores = vec![Self::sqlite().await];
        stores.extend(Self::postgres().await);
        stores
    }

    async fn open(url: String, folder: TempDir, database: Option<Database>) -> Self {
        let config = StoreConfig { url, max_connections: 8, statement_deadline: Duration::from_secs(10) };
        let key_file = folder.path().join("key");
        let keyring = Keyring::create_file(&key_file).expect("make a key");
        let start: Timestamp = "2030-01-01T00:00:00Z".parse().expect("this is a time");
        let clock = Clock::manual(start);
        let ids = IdSource::random(clock.clone());
        let store = Store::open(&config, keyring, clock.clone(), ids).await.expect("open a fresh store");
        store.migrate().await.expect("migrate a fresh store");
        Self { store, clock, config, key_file, folder, database }
    }

    /// Returns which database is behind it.
    pub fn backend(&self) -> Backend {
        self.store.backend()
    }

    /// Returns a folder that goes when the store does.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Lets go of the store, so that it can be opened anew: returns how, where its key lies, and what removes all of it
    /// when dropped.
    pub fn release(self) -> (StoreConfig, PathBuf, Remains) {
        let Self { store, config, key_file, folder, database, .. } = self;
        drop(store);
        (config, key_file, Remains { folder, _database: database })
    }

    /// Returns everything that the database holds: the bytes of its files, or the rows of PostgreSQL.
    pub async fn dump(&self) -> String {
        let all = if let Some(database) = &self.database {
            rows_of(&database.url).await.expect("read every row")
        } else {
            let mut bytes = Vec::new();
            for file in ["panda.db", "panda.db-wal"] {
                bytes.extend(std::fs::read(self.folder.path().join(file)).unwrap_or_default());
            }
            String::from_utf8_lossy(&bytes).into_owned()
        };
        let installation = self.store.installation().await.expect("it has a name");
        assert!(all.contains(&installation), "this isn't all of it");
        all
    }

    /// Runs any SQL on the database, past everything that the store checks.
    pub async fn tamper(&self, sql: &str) {
        let sql = sqlx::raw_sql(sqlx::AssertSqlSafe(sql.to_owned()));
        if let Some(database) = &self.database {
            let mut connection = PgConnection::connect(&database.url).await.expect("connect");
            connection.execute(sql).await.expect("tamper");
            connection.close().await.expect("close");
        } else {
            let path = crate::sqlite::path_of(&self.config.url).expect("the url was made here");
            let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
            let mut connection = sqlx::SqliteConnection::connect_with(&options).await.expect("connect");
            connection.execute(sql).await.expect("tamper");
            connection.close().await.expect("close");
        }
    }
}

/// Everything that the rows of a PostgreSQL hold, bytes as text where they are that.
async fn rows_of(url: &str) -> sqlx::Result<String> {
    let mut connection = PgConnection::connect(url).await?;
    connection.execute("set bytea_output = 'escape'").await?;
    let sql = "select quote_ident(tablename) from pg_tables where schemaname = current_schema()";
    let tables: Vec<String> = sqlx::query_scalar(sql).fetch_all(&mut connection).await?;
    let mut all = String::new();
    for table in tables {
        let sql = format!("select coalesce(string_agg(t::text, ' '), '') from {table} t");
        let rows: String = sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_one(&mut connection).await?;
        all.push_str(&rows);
    }
    connection.close().await?;
    Ok(all)
}

/// Somebody who writes into a SQLite file past the server, and takes long.
pub struct OtherWriter(sqlx::SqliteConnection);

impl OtherWriter {
    /// Begins to write: nobody else can until [`OtherWriter::end`].
    pub async fn begin(path: &Path) -> Self {
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
        let mut connection = sqlx::SqliteConnection::connect_with(&options).await.expect("connect");
        connection.execute("begin immediate").await.expect("begin to write");
        Self(connection)
    }

    /// Ends it.
    pub async fn end(mut self) {
        self.0.execute("rollback").await.expect("roll back");
        self.0.close().await.expect("close");
    }
}

/// Removes what a [`TestStore`] left when it is dropped.
pub struct Remains {
    folder: TempDir,
    _database: Option<Database>,
}

impl Remains {
    /// Returns the folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// An empty database on the PostgreSQL server for tests. Dropped with its content.
pub struct Database {
    /// Its URL.
    pub url: String,
    server: String,
    name: String,
}

impl Database {
    /// Makes one, or says loudly that there is no server to make it on.
    pub async fn create() -> Option<Self> {
        let Some(server) = server() else {
            skip("postgresql", &format!("{POSTGRES_VARIABLE} is not set"));
            return None;
        };
        let name = format!("panda_test_{:016x}", rand::random::<u64>());
        run(&server, &format!("create database {name}")).await;
        let (base, options) =
            server.split_once('?').map_or((server.as_str(), ""), |(base, options)| (base, options));
        let (base, _) = base.rsplit_once('/').expect("the server's url ends with a database");
        let url =
            if options.is_empty() { format!("{base}/{name}") } else { format!("{base}/{name}?{options}") };
        Some(Self { url, server, name })
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let (server, name) = (self.server.clone(), self.name.clone());
        let dropper = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("make a runtime");
            runtime.block_on(run(&server, &format!("drop database {name} with (force)")));
        });
        // A test that fails shouldn't die of its cleaning up.
        let _ = dropper.join();
    }
}

/// Notes that a test, or its half on PostgreSQL, can't run here, where `tests/ground/test.sh` counts it; the names stand in
/// docs/testing.md. What `panda_test_support::skip` does, which this crate's tests can't use from below.
#[expect(clippy::print_stderr, reason = "people who run the tests have to see it")]
pub fn skip(name: &str, reason: &str) {
    eprintln!("SKIPPED {name}: {reason}");
    let Some(list) = std::env::var_os("PANDA_TEST_SKIPS") else { return };
    let file = std::fs::File::options().append(true).open(&list);
    let written = file.and_then(|mut file| file.write_all(format!("{name}\t{reason}\n").as_bytes()));
    written.expect("the list of skips can be written");
}

fn server() -> Option<String> {
    std::env::var(POSTGRES_VARIABLE).ok().filter(|url| !url.is_empty())
}

async fn run(server: &str, sql: &str) {
    let mut connection =
        PgConnection::connect(server).await.expect("connect to the PostgreSQL server for tests");
    connection
        .execute(sqlx::raw_sql(sqlx::AssertSqlSafe(sql.to_owned())))
        .await
        .expect("run on the server for tests");
    let _ = connection.close().await;
}
