//! Questions to the person in front of the terminal.

use std::io::Read;

use panda_api_types::ErrorCode;

use crate::error::{CliError, EXIT_INTERRUPTED, Result};
use crate::output::Output;

/// Asks yes or no. Without a terminal the answer is an error that names the flag.
pub(crate) fn confirm(out: &Output, yes: bool, question: &str, flag: &str) -> Result<bool> {
    if yes {
        return Ok(true);
    }
    require_person(out, question, flag)?;
    answered(inquire::Confirm::new(question).with_default(true).prompt())
}

fn require_person(out: &Output, question: &str, flag: &str) -> Result<()> {
    if out.interactive() {
        return Ok(());
    }
    let question = question.trim_end_matches([':', '?']);
    Err(CliError::usage(format!("nobody can be asked here: {question}")).hint(format!("pass {flag}")))
}

/// Asks for a text.
pub(crate) fn text(out: &Output, question: &str, flag: &str) -> Result<String> {
    require_person(out, question, flag)?;
    answered(inquire::Text::new(question).prompt())
}

/// Asks which of several.
pub(crate) fn choose(out: &Output, question: &str, options: Vec<String>, flag: &str) -> Result<String> {
    require_person(out, question, flag)?;
    answered(inquire::Select::new(question, options).prompt())
}

/// Asks for a value without showing it.
pub(crate) fn secret(out: &Output, question: &str, flag: &str) -> Result<String> {
    require_person(out, question, flag)?;
    let prompt = inquire::Password::new(question).without_confirmation();
    answered(prompt.with_display_mode(inquire::PasswordDisplayMode::Hidden).prompt())
}

/// Reads all of stdin, without the line break at its end.
pub(crate) fn stdin() -> Result<String> {
    let mut text = String::new();
    std::io::stdin()
        .lock()
        .take(1 << 20)
        .read_to_string(&mut text)
        .map_err(|error| CliError::new(ErrorCode::InvalidRequest, format!("read stdin: {error}")))?;
    let end =
        text.strip_suffix('\n').map_or(text.len(), |rest| rest.strip_suffix('\r').unwrap_or(rest).len());
    text.truncate(end);
    Ok(text)
}

fn answered<T>(answer: Result<T, inquire::InquireError>) -> Result<T> {
    use inquire::InquireError::{OperationCanceled, OperationInterrupted};
    answer.map_err(|error| match error {
        OperationCanceled | OperationInterrupted => CliError::Said(EXIT_INTERRUPTED),
        other => CliError::usage(format!("can't ask: {other}")),
    })
}
