//! Why a copy didn't come about.

use std::path::PathBuf;

use crate::error::StoreError;

/// Why the state wasn't copied. Never has a value of a row: it may be a secret.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// The source or the target can't be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is nothing to copy.
    #[error("{what} holds no state of panda")]
    NoState {
        /// The database or file.
        what: String,
    },
    /// A server is connected to the source.
    #[error("a panda server uses the source ({who})")]
    InUse {
        /// Its process and address at the database.
        who: String,
    },
    /// The target belongs to somebody else.
    #[error("the target has a table `{table}`, which is none of panda's")]
    ForeignTable {
        /// The table.
        table: String,
    },
    /// The target's schema isn't the source's.
    #[error("the target's tables aren't those of the source: `{table}` differs")]
    OtherTables {
        /// The first table that differs.
        table: String,
    },
    /// A value can't be, or can't be held by the target.
    #[error("row `{row}` of table `{table}` has a `{column}` that {problem}")]
    OddValue {
        /// The table.
        table: String,
        /// The row's key.
        row: String,
        /// The column.
        column: String,
        /// What is wrong, continuing the sentence.
        problem: String,
    },
    /// What was read back isn't what was written.
    #[error("row `{row}` of table `{table}` isn't the same in both databases: {problem}")]
    Differs {
        /// The table.
        table: String,
        /// The row's key.
        row: String,
        /// What differs.
        problem: String,
    },
    /// The rows are there and count; the schema stays as old as the source's.
    #[error(
        "every row was copied and is the same in both, but the target's schema wasn't brought up to date"
    )]
    NotMigrated {
        /// What was in the way.
        #[source]
        source: StoreError,
    },
    /// The database file that should be written exists.
    #[error("`{path}` exists", path = path.display())]
    FileExists {
        /// The file.
        path: PathBuf,
    },
}
