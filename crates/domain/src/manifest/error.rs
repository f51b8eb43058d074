//! What may be wrong with a manifest, for people.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The most mistakes that are reported of one file.
const MAX_REPORTED: usize = 50;

/// What sort of mistake it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MistakeKind {
    /// The file is larger than any honest one.
    TooLarge,
    /// The text is no TOML, or says a key twice.
    Syntax,
    /// Nobody knows the key.
    UnknownKey,
    /// The value is of the wrong type or out of its range.
    Invalid,
    /// The key or value is known, but this version can't do it yet.
    Unsupported,
}

/// One mistake: where, what, and what would be right.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mistake {
    /// Path of the field, such as `processes.web.port`; empty when the whole file is meant.
    pub field: String,
    /// Line in the file, from 1.
    pub line: usize,
    /// Character in the line, from 1.
    pub column: usize,
    /// What sort.
    pub kind: MistakeKind,
    /// What is wrong, a lowercase fragment.
    pub cause: String,
    /// What would be right.
    pub fix: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "panda.toml:{}:{}: ", self.line, self.column)?;
        if !self.field.is_empty() {
            write!(f, "`{}` ", self.field)?;
        }
        f.write_str(&self.cause)?;
        if self.fix.is_empty() { Ok(()) } else { write!(f, "; {}", self.fix) }
    }
}

/// Every mistake of a file, in the order of the text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("panda.toml has {}: {}", counted(.0.len()), joined(.0))]
pub struct ManifestErrors(pub Vec<Mistake>);

impl ManifestErrors {
    /// Tells whether nothing is wrong but that this version can't do what is asked.
    pub fn only_unsupported(&self) -> bool {
        self.0.iter().all(|mistake| mistake.kind == MistakeKind::Unsupported)
    }

    /// Puts the mistakes in the order of the text and keeps the first ones.
    pub(super) fn sorted(mut mistakes: Vec<Mistake>) -> Self {
        mistakes.sort_by_key(|mistake| (mistake.line, mistake.column));
        mistakes.truncate(MAX_REPORTED);
        Self(mistakes)
    }
}

fn counted(mistakes: usize) -> String {
    if mistakes == 1 { "a mistake".to_owned() } else { format!("{mistakes} mistakes") }
}

fn joined(mistakes: &[Mistake]) -> String {
    let mut text = mistakes.iter().take(3).map(ToString::to_string).collect::<Vec<_>>().join(" · ");
    if mistakes.len() > 3 {
        text.push_str(" · …");
    }
    text
}

/// What a reader of one value found wrong; the place is added by whoever knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) kind: MistakeKind,
    pub(super) cause: String,
    pub(super) fix: String,
}

impl Fault {
    pub(super) fn invalid(cause: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { kind: MistakeKind::Invalid, cause: cause.into(), fix: fix.into() }
    }

    pub(super) fn unsupported(cause: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { kind: MistakeKind::Unsupported, cause: cause.into(), fix: fix.into() }
    }
}

/// Shows a text of the user: cut to 60 characters, control characters as escapes, in backticks.
pub(super) fn shown(text: &str) -> String {
    let cut: String = text.chars().take(60).flat_map(char::escape_debug).collect();
    let dots = if text.chars().nth(60).is_some() { "…" } else { "" };
    format!("`{cut}{dots}`")
}
