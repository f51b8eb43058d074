//! Numbers on the command line, refused in words that say what would do.

use std::ops::RangeInclusive;

use panda_domain::autoscale::PERCENTS;
use panda_domain::formation::MAX_REPLICAS;

/// A value that isn't what it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{value}` is no {noun}")]
pub(crate) struct WrongValue {
    value: String,
    noun: &'static str,
    /// What would do.
    pub(crate) fix: String,
}

fn number(
    value: &str,
    noun: &'static str,
    range: RangeInclusive<u32>,
    more: &str,
) -> Result<u32, WrongValue> {
    value.parse().ok().filter(|number| range.contains(number)).ok_or_else(|| WrongValue {
        value: value.to_owned(),
        noun,
        fix: format!("use a whole number from {} to {}{more}", range.start(), range.end()),
    })
}

/// Reads a number of instances.
pub(crate) fn replicas(text: &str) -> Result<u32, WrongValue> {
    number(text, "number of instances", 0..=MAX_REPLICAS, "; 0 stops the process")
}

/// Reads the fewest or the most instances.
pub(crate) fn bound(text: &str) -> Result<u32, WrongValue> {
    number(text, "number of instances", 1..=MAX_REPLICAS, "")
}

/// Reads a load: `70` or `70%`.
pub(crate) fn percent(text: &str) -> Result<u32, WrongValue> {
    number(text.strip_suffix('%').unwrap_or(text), "percentage", PERCENTS, "")
}

/// Reads a port.
pub(crate) fn port(text: &str) -> Result<u16, WrongValue> {
    let number = number(text, "port", 1..=u32::from(u16::MAX), "")?;
    Ok(u16::try_from(number).expect("the range ends at the largest port"))
}

/// Reads how many entries of a list are wanted.
pub(crate) fn lines(text: &str) -> Result<u32, WrongValue> {
    number(text, "number of lines", 1..=10_000, "")
}

/// Reads the days that a token lives.
pub(crate) fn days(text: &str) -> Result<u32, WrongValue> {
    number(text, "number of days", 1..=365, "")
}
