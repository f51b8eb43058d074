//! The state of an installation out of one database and into another, every row compared.
//!
//! What is copied comes from the source's own catalogue, so that a table of a later migration can't be forgotten. The rows
//! are written and read back in one transaction: a copy that fails leaves no row behind. The source isn't changed.

mod cells;
mod compare;
mod error;
mod rows;
mod source;
mod target;

use std::collections::BTreeMap;

use crate::catalogue::Table;
use crate::keyring::Keyring;
use crate::store::StoreConfig;
pub use error::CopyError;
use source::Source;
use target::Target;

/// Tables that mean nothing elsewhere: who holds what right now, and how often somebody asked.
const TRANSIENT: [&str; 2] = ["leases", "rate_windows"];
/// Rows between two words about a long table.
const ROWS_A_WORD: u64 = 20_000;

/// How far a copy is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CopyStep<'a> {
    /// So many rows of the table were read, and written unless it is a dry run. Said now and then, and at its end.
    Copied {
        /// The table.
        table: &'a str,
        /// Rows so far.
        rows: u64,
        /// Whether that is all of it.
        done: bool,
    },
    /// All rows of the table were read back from both, and are the same.
    Compared {
        /// The table.
        table: &'a str,
        /// Its rows.
        rows: u64,
    },
}

/// What was copied, or would be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopySummary {
    /// The random name of the installation, which stays.
    pub installation: String,
    /// The schema of the source.
    pub schema: i64,
    /// Rows by table.
    pub rows: BTreeMap<String, u64>,
    /// Values that were opened on the target with this installation's key; 0 after a dry run.
    pub secrets_proven: u64,
}

/// Who wants to know how far it is.
pub(crate) type Watch<'w> = dyn FnMut(CopyStep<'_>) + Send + 'w;

/// Copies the state at `from` into the empty database at `to`, and compares every row before it counts.
///
/// No server may run on either. A SQLite source is locked, the tables of a PostgreSQL one can't be written to meanwhile.
/// Sealed values stay sealed; `keyring` has to open them on both sides. After a failure the target has no rows, and the copy
/// can be tried again; only [`CopyError::NotMigrated`] comes when all of them are there. With `dry_run` everything is looked at and read, and nothing written.
pub async fn copy_store(
    from: &StoreConfig,
    to: &StoreConfig,
    keyring: Keyring,
    dry_run: bool,
    watch: &mut Watch<'_>,
) -> Result<CopySummary, CopyError> {
    let mut source = Source::open(from, keyring.clone()).await?;
    let outcome = if dry_run {
        target::refuse_full(to).await?;
        source.read_all(target::refuses_nul(to), watch).await.map(|rows| (rows, 0))
    } else {
        let target = Target::open(to, keyring, &source).await?;
        let moved = target.fill(&mut source, watch).await;
        target.end(moved, &source.installation).await
    };
    let summary = outcome.map(|(rows, secrets_proven)| CopySummary {
        installation: source.installation.clone(),
        schema: source.schema,
        rows,
        secrets_proven,
    });
    source.close().await;
    summary
}

/// Leaves out what means nothing elsewhere.
fn worth_copying(tables: &[Table]) -> impl DoubleEndedIterator<Item = &Table> {
    tables.iter().filter(|table| !TRANSIENT.contains(&table.name.as_str()))
}
