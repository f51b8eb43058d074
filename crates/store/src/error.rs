//! What can go wrong with the state, as those who call have to tell it apart.

use std::path::PathBuf;

use sqlx::error::ErrorKind;

/// The result of everything in this crate.
pub type Result<T, E = StoreError> = std::result::Result<T, E>;

/// Why something could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database can't be used right now: locked, gone, busy or too slow. Trying again later may work.
    #[error("{what}: the database can't be used right now")]
    Unavailable {
        /// What was tried.
        what: String,
        /// What the database or the system said.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// The disk that holds the database is full.
    #[error("the disk of the database is full")]
    DiskFull,
    /// The key doesn't belong to this state.
    #[error("the key from {key} does not open this installation's secrets")]
    WrongKey {
        /// Where the key came from.
        key: String,
    },
    /// The key can't be had at all.
    #[error("read the key from {key}: {problem}")]
    KeyUnreadable {
        /// Where the key should come from.
        key: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A sealed value doesn't open: wrong key, or changed from outside.
    #[error("decrypt {what}")]
    Undecryptable {
        /// Which value.
        what: String,
    },
    /// A newer version of the program has changed the schema in a way that this one doesn't know.
    #[error(
        "the database has schema {found}, this version of panda knows {known}: start the newer version, or restore a backup"
    )]
    NewerSchema {
        /// The schema of the database.
        found: i64,
        /// The newest schema that this program knows.
        known: i64,
    },
    /// A name that has to be unique is in use.
    #[error("{what} is taken")]
    Taken {
        /// What, with its value.
        what: String,
    },
    /// The row changed since it was read.
    #[error("{what} changed meanwhile")]
    Stale {
        /// Which row.
        what: String,
    },
    /// There is no such row.
    #[error("{what} does not exist")]
    NotFound {
        /// Which row.
        what: String,
    },
    /// A row says something that the program can't understand.
    #[error("row `{row}` of table `{table}` {problem}")]
    Inconsistent {
        /// The table.
        table: &'static str,
        /// The row's id, `?` where it has none.
        row: String,
        /// What is wrong, continuing the sentence.
        problem: String,
    },
    /// Another server uses this state.
    #[error("`{path}` is in use by another panda server ({holder})", path = path.display())]
    Locked {
        /// The database file.
        path: PathBuf,
        /// Process and machine that hold it.
        holder: String,
    },
    /// The state was here and is gone.
    #[error("`{path}` {problem}, but this installation has state: put the file back or restore a backup", path = path.display())]
    StateMissing {
        /// The database file.
        path: PathBuf,
        /// What was found instead.
        problem: String,
    },
    /// The database file is damaged.
    #[error("the database is damaged ({problem}): restore a backup")]
    Corrupt {
        /// What the database says.
        problem: String,
    },
    /// SQLite would lose data there.
    #[error("`{path}` lies on a network filesystem (`{kind}`), where SQLite can't keep state safely", path = path.display())]
    NetworkFilesystem {
        /// The database file.
        path: PathBuf,
        /// The filesystem's kind, such as `nfs4`.
        kind: String,
    },
    /// The address of the database is no such thing.
    #[error("database url {problem}")]
    Url {
        /// What is wrong, continuing the sentence. Never has the password.
        problem: String,
    },
    /// A file of the state can't be read or written.
    #[error("{what} `{path}`", path = path.display())]
    File {
        /// What was tried.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A backup's passphrase is wrong.
    #[error("the passphrase does not open this backup")]
    WrongPassphrase,
    /// A backup's key would be badly kept.
    #[error("the passphrase is shorter than {shortest} characters")]
    WeakPassphrase {
        /// The shortest that is taken, characters.
        shortest: usize,
    },
    /// A backup file is damaged or not one at all.
    #[error("backup `{path}` {problem}", path = path.display())]
    BadBackup {
        /// The file.
        path: PathBuf,
        /// What is wrong, continuing the sentence.
        problem: String,
    },
    /// Restoring would overwrite state.
    #[error("{what} already holds state")]
    NotEmpty {
        /// The database or file.
        what: String,
    },
    /// A mistake in this program or an answer of the database that nobody expected.
    #[error("{what}")]
    Internal {
        /// What was tried.
        what: String,
        /// What the database said.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
}

impl StoreError {
    /// Tells whether the same call may work a little later.
    pub fn is_temporary(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::DiskFull)
    }

    pub(crate) fn file(what: &'static str, path: impl Into<PathBuf>, source: std::io::Error) -> Self {
        if source.kind() == std::io::ErrorKind::StorageFull {
            return Self::DiskFull;
        }
        Self::File { what, path: path.into(), source }
    }

    pub(crate) fn slow(what: impl Into<String>) -> Self {
        Self::Unavailable { what: what.into(), source: Some("no answer within the deadline".into()) }
    }

    pub(crate) fn not_found(what: impl Into<String>) -> Self {
        Self::NotFound { what: what.into() }
    }

    /// Makes the error of a row that has to be there and isn't.
    pub fn missing(what: &'static str) -> Self {
        Self::Inconsistent { table: "state", row: "?".to_owned(), problem: format!("lacks {what}") }
    }

    pub(crate) fn internal(what: impl Into<String>) -> Self {
        Self::Internal { what: what.into(), source: None }
    }

    /// Sorts what the driver says into what callers can act on.
    pub(crate) fn from_sqlx(what: impl Into<String>, error: sqlx::Error) -> Self {
        let what = what.into();
        if let Some(database) = error.as_database_error() {
            let code = database.code().unwrap_or_default().into_owned();
            let kind = database.kind();
            let sort = match code.parse::<i64>() {
                // SQLite gives decimal codes below 10,000, PostgreSQL five characters.
                Ok(number) if code.len() < 5 => sort_of_sqlite(number),
                _ => sort_of_postgres(&code),
            };
            return match sort {
                Sort::Busy => Self::Unavailable { what, source: Some(Box::new(error)) },
                Sort::Full => Self::DiskFull,
                Sort::Corrupt => Self::Corrupt { problem: database.message().to_owned() },
                Sort::Other if kind == ErrorKind::UniqueViolation => Self::Taken { what },
                Sort::Other if kind == ErrorKind::ForeignKeyViolation => {
                    Self::NotFound { what: format!("something that {what} refers to") }
                }
                Sort::Other => Self::Internal { what, source: Some(Box::new(error)) },
            };
        }
        match error {
            sqlx::Error::Io(ref io) if io.kind() == std::io::ErrorKind::StorageFull => Self::DiskFull,
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed => Self::Unavailable { what, source: Some(Box::new(error)) },
            _ => Self::Internal { what, source: Some(Box::new(error)) },
        }
    }
}

enum Sort {
    Busy,
    Full,
    Corrupt,
    Other,
}

fn sort_of_sqlite(code: i64) -> Sort {
    const IOERR_SHMSIZE: i64 = 4874;
    match (code & 0xff, code) {
        (13, _) | (_, IOERR_SHMSIZE) => Sort::Full,
        (11 | 26, _) => Sort::Corrupt,
        // busy, locked, read-only, I/O error, can't open
        (5 | 6 | 8 | 10 | 14, _) => Sort::Busy,
        _ => Sort::Other,
    }
}

fn sort_of_postgres(code: &str) -> Sort {
    match code {
        "53100" => Sort::Full,
        "XX001" | "XX002" => Sort::Corrupt,
        // canceled by its deadline, lock not to be had, deadlock, serialisation, read-only after a failover
        "57014" | "55P03" | "40P01" | "40001" | "25006" => Sort::Busy,
        _ if code.starts_with("08") || code.starts_with("57P") || code.starts_with("53") => Sort::Busy,
        _ => Sort::Other,
    }
}
