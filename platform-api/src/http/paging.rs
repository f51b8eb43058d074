//! Pages of lists.

use panda_api_types::{Page, PageQuery};
use panda_store::Cursor;

use crate::error::{Error, Result};

const DEFAULT_LIMIT: u32 = 50;
const MAX_LIMIT: u32 = 200;

/// Checks what the query says about the page.
pub fn cursor(query: PageQuery) -> Result<Cursor> {
    let limit = query.limit.unwrap_or(DEFAULT_LIMIT);
    if !(1..=MAX_LIMIT).contains(&limit) {
        return Err(Error::invalid_field("limit", "has to be from 1 to 200"));
    }
    let plain = |text: &String| {
        !text.is_empty() && text.len() <= 64 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
    };
    if query.cursor.as_ref().is_some_and(|cursor| !plain(cursor)) {
        return Err(Error::invalid_field("cursor", "has to be the `next_cursor` of the page before"));
    }
    Ok(Cursor { after: query.cursor, limit })
}

/// Shows rows as a page; `key` gives what the next page starts after.
pub fn page<R, T>(
    rows: Vec<R>,
    cursor: &Cursor,
    key: impl Fn(&R) -> String,
    show: impl FnMut(R) -> T,
) -> Page<T> {
    let full = rows.len() >= cursor.limit as usize;
    let next_cursor = rows.last().filter(|_| full).map(key);
    Page { items: rows.into_iter().map(show).collect(), next_cursor }
}

/// Shows a list that is always whole.
pub(super) fn whole<R, T>(rows: Vec<R>, show: impl FnMut(R) -> T) -> Page<T> {
    Page { items: rows.into_iter().map(show).collect(), next_cursor: None }
}
