//! Every row read back from both databases.

use std::time::Duration;

use super::cells::{Cells, Rows, name};
use super::error::CopyError;
use crate::catalogue::Table;
use crate::tx::Connection;

/// Compares all rows of one table, and returns how many there are. Both sides come in the same order.
pub(super) async fn compare(
    table: &Table,
    source: Connection<'_>,
    target: Connection<'_>,
    deadline: Duration,
) -> Result<u64, CopyError> {
    let mut there = Rows::of(source, table, deadline);
    let mut here = Rows::of(target, table, deadline);
    let mut same = 0;
    loop {
        match (there.next().await?, here.next().await?) {
            (None, None) => return Ok(same),
            (Some(expected), Some(found)) if expected == found => same += 1,
            (Some(row), None) => return Err(differs(table, &row, "the target lacks it".to_owned())),
            (None, Some(row)) => return Err(differs(table, &row, "only the target has it".to_owned())),
            (Some(expected), Some(found)) => {
                return Err(differs(table, &expected, word(table, &expected, &found)));
            }
        }
    }
}

fn word(table: &Table, expected: &Cells, found: &Cells) -> String {
    if name(table, expected) != name(table, found) {
        return format!("the target has row `{}` in its place", name(table, found));
    }
    let pairs = table.columns.iter().zip(expected.iter().zip(found));
    let other: Vec<String> = pairs
        .filter(|(_, (expected, found))| expected != found)
        .map(|((column, _), _)| format!("`{column}`"))
        .collect();
    format!("{} changed", other.join(", "))
}

fn differs(table: &Table, row: &Cells, problem: String) -> CopyError {
    CopyError::Differs { table: table.name.clone(), row: name(table, row), problem }
}
