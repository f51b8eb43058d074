//! What people and programs read: stdout is data, stderr is talk.

use std::io::{self, IsTerminal, Write};

use console::{Alignment, measure_text_width, pad_str};
use panda_api_types::Problem;
use serde::Serialize;

use crate::error::CliError;
use crate::sanitize::{Colours, clean};

/// Where and how to print.
#[derive(Debug, Clone)]
pub(crate) struct Output {
    /// JSON on stdout.
    pub(crate) json: bool,
    /// Whether a person sits in front of stderr.
    pub(crate) talks_to_person: bool,
    /// Whether stdout is a terminal.
    pub(crate) terminal: bool,
    colours_out: Colours,
    colours_err: Colours,
}

impl Output {
    /// Looks at the streams and at NO_COLOR.
    pub(crate) fn new(json: bool) -> Self {
        let colours = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
            && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        let (terminal, talks) = (io::stdout().is_terminal(), io::stderr().is_terminal());
        Self {
            json,
            talks_to_person: talks,
            terminal,
            colours_out: Colours::kept_if(colours && terminal),
            colours_err: Colours::kept_if(colours && talks),
        }
    }

    /// Tells whether questions can be asked.
    pub(crate) fn interactive(&self) -> bool {
        io::stdin().is_terminal() && self.talks_to_person && !self.json
    }

    /// Prints a line of data; control codes of the server's text are taken out.
    pub(crate) fn line(&self, text: &str) {
        write_or_leave(&mut io::stdout().lock(), &format!("{}\n", clean(text, self.colours_out)));
    }

    /// Prints a value as JSON over several lines.
    #[expect(clippy::unused_self, reason = "all printing goes through the output")]
    pub(crate) fn json<T: Serialize>(&self, value: &T) {
        let text = serde_json::to_string_pretty(value).expect("our types have only text keys");
        write_or_leave(&mut io::stdout().lock(), &format!("{text}\n"));
    }

    /// Prints a value as one line of JSON.
    #[expect(clippy::unused_self, reason = "all printing goes through the output")]
    pub(crate) fn json_line<T: Serialize>(&self, value: &T) {
        let text = serde_json::to_string(value).expect("our types have only text keys");
        write_or_leave(&mut io::stdout().lock(), &format!("{text}\n"));
    }

    /// Tells that something was done: to programs as a line of data, to people in words.
    pub(crate) fn done<T: Serialize>(&self, value: &T, text: &str) {
        if self.json {
            self.json_line(value);
        } else {
            self.say(text);
        }
    }

    /// Says something on stderr.
    pub(crate) fn say(&self, text: &str) {
        // A closed stderr is nobody listening; there is nowhere left to say so.
        let _ = writeln!(io::stderr().lock(), "{}", clean(text, self.colours_err));
    }

    /// Returns the text in a colour where stdout shows colours.
    pub(crate) fn paint(&self, text: &str, code: u8) -> String {
        if self.colours_out == Colours::Keep {
            format!("\u{1b}[{code}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }

    /// Prints rows under headings; columns are as wide as what they hold.
    pub(crate) fn table(&self, headings: &[&str], rows: Vec<Vec<String>>) {
        let mut lines: Vec<Vec<String>> =
            vec![headings.iter().map(|heading| heading.to_uppercase()).collect()];
        lines.extend(rows.into_iter().map(|row| {
            row.iter().map(|cell| clean(cell, Colours::Drop).replace('\n', " ")).collect::<Vec<_>>()
        }));
        let width = |column: usize| {
            lines.iter().filter_map(|row| row.get(column)).map(|cell| measure_text_width(cell)).max()
        };
        let widths: Vec<usize> = (0..headings.len()).map(|column| width(column).unwrap_or(0)).collect();
        for row in &lines {
            let cells =
                row.iter().zip(&widths).map(|(cell, width)| pad_str(cell, *width, Alignment::Left, None));
            self.line(cells.collect::<Vec<_>>().join("  ").trim_end());
        }
    }

    /// Prints an error: to people as `error:` and `hint:`, else the problem itself.
    pub(crate) fn error(&self, error: &CliError) {
        let CliError::Problem { problem, .. } = error else { return };
        if self.json {
            self.json_line(problem);
        } else {
            self.say(&told(problem, self.colours_err));
        }
    }
}

/// Returns a problem as people read it.
fn told(problem: &Problem, colours: Colours) -> String {
    let paint = |word: &str, code: u8| {
        if colours == Colours::Keep { format!("\u{1b}[{code};1m{word}\u{1b}[0m") } else { word.to_owned() }
    };
    let mut text = format!("{} {}", paint("error:", 31), problem.detail);
    for field in problem.errors.iter().filter(|field| !problem.detail.contains(&field.message)) {
        text = format!("{text}\n  {}: {}", field.field, field.message);
    }
    if problem.code == panda_api_types::ErrorCode::Internal && !problem.instance.is_empty() {
        text = format!("{text}\n  request: {}", problem.instance);
    }
    if let Some(hint) = &problem.hint {
        text = format!("{text}\n\n{} {hint}", paint("hint:", 36));
    }
    text
}

/// Writes, or ends the process quietly when the reader is gone (`panda logs | head`).
fn write_or_leave(stream: &mut dyn Write, text: &str) {
    if stream.write_all(text.as_bytes()).and_then(|()| stream.flush()).is_err() {
        std::process::exit(0);
    }
}
