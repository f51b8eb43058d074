//! What a build tells while it runs, and the rules for its text: bounded, secrets masked.

mod lines;
mod mask;

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub(crate) use lines::LineBuffer;
pub use lines::MAX_LINE_BYTES;
pub use mask::Mask;

/// Where a build's events go. A full channel slows the log down, never the build's cancellation; a closed
/// one is ignored.
pub type LogSink = tokio::sync::mpsc::Sender<BuildEvent>;

/// One thing that happened in a build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum BuildEvent {
    /// A step began.
    StepStarted {
        /// Counts from 1 within the build.
        step: u32,
        /// What the step does, as in `[build 3/6] RUN npm ci`.
        name: String,
    },
    /// A step ended; a step that runs in phases ends more than once, the last one counts.
    StepFinished {
        /// The number from its start.
        step: u32,
        /// What the step does.
        name: String,
        /// How it ended.
        end: StepEnd,
        /// How long it took.
        duration_ms: u64,
    },
    /// A step printed a line.
    Line {
        /// The step's number.
        step: u32,
        /// Whether it went to standard error.
        stderr: bool,
        /// Milliseconds since the Unix epoch, by the daemon's clock.
        at_ms: i64,
        /// The line without its end, control codes as printed, secrets masked.
        text: String,
    },
    /// The platform says something.
    Notice {
        /// One line.
        text: String,
    },
}

/// How a step ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "end", rename_all = "snake_case")]
pub enum StepEnd {
    /// It ran.
    Done,
    /// Its result was there from an earlier build.
    Cached,
    /// It failed.
    Failed {
        /// The daemon's text.
        error: String,
    },
    /// The build was canceled while it ran.
    Canceled,
}

/// A step of a finished build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepTiming {
    /// What the step did.
    pub name: String,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
    /// Whether its result was there from an earlier build.
    pub cached: bool,
}

/// How much of a build's output is kept.
#[derive(Debug, Clone, Copy)]
pub struct LogLimits {
    /// Bytes of lines; what comes later is counted and named in a notice.
    pub total_bytes: u64,
}

impl Default for LogLimits {
    fn default() -> Self {
        Self { total_bytes: 20 << 20 }
    }
}

/// Makes a stored line safe to print on a terminal or a page: escape sequences are dropped, of several
/// overwritten states of a line only the last stays, other control characters become `␀`-style symbols.
pub fn sanitize(line: &str) -> String {
    let last = line.trim_end_matches('\r').rsplit('\r').next().unwrap_or_default();
    let mut out = String::with_capacity(last.len());
    let mut chars = last.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' => skip_escape(&mut chars),
            '\t' => out.push('\t'),
            '\u{0}'..='\u{1f}' => out.push(char::from_u32(0x2400 + c as u32).unwrap_or('\u{fffd}')),
            '\u{7f}'..='\u{9f}'
            | '\u{200e}'
            | '\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}' => {}
            c => out.push(c),
        }
    }
    out
}

/// Reads over one escape sequence whose ESC was read: CSI up to its final byte, OSC up to BEL or ST.
fn skip_escape(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    match chars.next() {
        Some('[') => while chars.next().is_some_and(|c| !matches!(c, '@'..='~')) {},
        Some(']' | 'P' | '_' | '^' | 'X') => {
            while let Some(c) = chars.next() {
                if c == '\u{7}' || (c == '\u{1b}' && chars.next_if_eq(&'\\').is_some()) {
                    break;
                }
            }
        }
        Some('(' | ')' | '#' | '%') => {
            chars.next();
        }
        _ => {}
    }
}

pub(crate) fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_moves_a_cursor_or_sets_a_title_survives() {
        assert_eq!(sanitize("\u{1b}[31mred\u{1b}[0m \u{1b}]0;title\u{7}x\u{1b}(B"), "red x");
        assert_eq!(sanitize("10%\r55%\r100%\r"), "100%");
        assert_eq!(sanitize("a\u{8}b\u{9b}31mc\u{202e}d"), "a\u{2408}b31mcd");
        assert_eq!(sanitize("tab\tumlaut ü"), "tab\tumlaut ü");
        assert_eq!(sanitize("\u{1b}]never ends"), "");
    }
}
