//! Where a page of a list starts and how long it is.

use crate::error::{Result, StoreError};

/// The most rows of one page.
const MAX_LIMIT: u32 = 500;
/// Sorts after every id, whatever the database's collation.
const END: &str = "zzzz";

/// A place in a list that is newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    /// The id of the last row of the page before; `None` starts at the newest.
    pub after: Option<String>,
    /// The most rows wanted; more than 500 gives 500.
    pub limit: u32,
}

impl Cursor {
    /// Returns the first page of `limit` rows.
    pub fn first(limit: u32) -> Self {
        Self { after: None, limit }
    }

    /// Returns the page that follows the row with this id.
    pub fn after(id: impl Into<String>, limit: u32) -> Self {
        Self { after: Some(id.into()), limit }
    }

    pub(crate) fn limit(&self) -> i64 {
        i64::from(self.limit.min(MAX_LIMIT))
    }

    /// The bound for lists of text ids.
    pub(crate) fn before_id(&self) -> Result<String> {
        match &self.after {
            None => Ok(END.to_owned()),
            Some(id) if id.len() <= 64 && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') => {
                Ok(id.clone())
            }
            Some(_) => Err(no_such_page()),
        }
    }

    /// The bound for lists of numbers.
    pub(crate) fn before_number(&self) -> Result<i64> {
        match &self.after {
            None => Ok(i64::MAX),
            Some(number) => number.parse().map_err(|_| no_such_page()),
        }
    }
}

impl Default for Cursor {
    fn default() -> Self {
        Self::first(100)
    }
}

fn no_such_page() -> StoreError {
    StoreError::not_found("the page that this cursor names")
}
