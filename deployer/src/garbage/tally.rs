//! What one pass took away.

use std::collections::BTreeMap;
use std::fmt;

/// Counts of what went, by what people call it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    counts: BTreeMap<&'static str, u64>,
    /// Whether a pass is worth it at once: this one reached a bound.
    pub(super) more: bool,
}

impl Tally {
    /// Begins to count; `more` says whether a bound was reached.
    pub(super) fn bounded(more: bool) -> Self {
        Self { more, ..Self::default() }
    }

    /// Counts `n` more of `what`.
    pub(super) fn count(&mut self, what: &'static str, n: u64) {
        if n > 0 {
            *self.counts.entry(what).or_default() += n;
        }
    }

    /// Adds another one.
    pub(super) fn add(&mut self, other: Self) {
        for (what, n) in other.counts {
            self.count(what, n);
        }
        self.more |= other.more;
    }

    /// Returns how many things went.
    pub(super) fn total(&self) -> u64 {
        self.counts.values().sum()
    }

    /// Tells whether nothing went.
    pub(super) fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, (what, count)) in self.counts.iter().enumerate() {
            let comma = if n == 0 { "" } else { ", " };
            write!(f, "{comma}{count} {what}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_names_what_went_and_leaves_out_what_did_not() {
        let mut all = Tally::default();
        all.count("rows", 0);
        assert!(all.is_empty());
        all.count("rows", 2);
        let mut other = Tally::bounded(true);
        other.count("builds", 1);
        other.count("rows", 3);
        all.add(other);
        assert_eq!((all.to_string().as_str(), all.more), ("1 builds, 5 rows", true));
    }
}
