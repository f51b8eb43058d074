//! A wrong command line, told in our words, with the closest right one.

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Command, CommandFactory};
use panda_domain::manifest::closest;

use crate::args::{Cli, WrongValue};
use crate::error::CliError;

/// Turns clap's error into ours; `None` when it is help or version, which clap prints itself.
pub(crate) fn error(error: &clap::Error) -> Option<CliError> {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        Some(ContextValue::Strings(texts)) => Some(texts.join(", ")),
        _ => None,
    };
    // Of several, clap doesn't put the best in a fixed place.
    let best = |kind, typed: &str| match error.get(kind) {
        Some(ContextValue::Strings(texts)) => closest(typed, texts.iter().map(String::as_str))
            .map(str::to_owned)
            .or_else(|| texts.last().cloned()),
        Some(ContextValue::String(text)) => Some(text.clone()),
        _ => None,
    };
    let invalid = text(ContextKind::InvalidArg).unwrap_or_default();
    let value = text(ContextKind::InvalidValue).unwrap_or_default();
    let did_you_mean = |word: Option<String>| word.map(|word| format!("did you mean `{word}`?"));
    let (detail, hint) = match error.kind() {
        ErrorKind::DisplayHelp
        | ErrorKind::DisplayVersion
        | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => return None,
        ErrorKind::InvalidSubcommand => {
            let typed = text(ContextKind::InvalidSubcommand).unwrap_or_default();
            // Clap's own idea of close is wide: `nope` isn't `open`.
            let near = best(ContextKind::SuggestedSubcommand, &typed)
                .filter(|near| closest(&typed, [near.as_str()]).is_some());
            let close = near.or_else(|| close_verb(&typed));
            (format!("`{typed}` is no verb of panda"), did_you_mean(close))
        }
        ErrorKind::UnknownArgument => {
            let close = best(ContextKind::SuggestedArg, &invalid);
            (format!("`{invalid}` is no argument here"), did_you_mean(close))
        }
        ErrorKind::MissingRequiredArgument => (format!("{invalid} is missing"), None),
        ErrorKind::MissingSubcommand => {
            let verbs = text(ContextKind::ValidSubcommand).unwrap_or_default();
            ("a verb is missing".to_owned(), Some(format!("use one of: {verbs}")))
        }
        ErrorKind::InvalidValue if value.is_empty() => {
            (format!("{} needs a value", flag(&invalid)), Some(format!("write it as `{invalid}`")))
        }
        ErrorKind::InvalidValue => {
            let close = did_you_mean(best(ContextKind::SuggestedValue, &value));
            let all = text(ContextKind::ValidValue).map(|all| format!("use one of: {all}"));
            (format!("`{value}` can't be {invalid}"), close.or(all))
        }
        ErrorKind::ValueValidation => {
            let cause = std::error::Error::source(error);
            if let Some(wrong) = cause.and_then(|cause| cause.downcast_ref::<WrongValue>()) {
                (format!("{}: {wrong}", flag(&invalid)), Some(wrong.fix.clone()))
            } else {
                let cause = cause.map(|cause| format!(": {cause}")).unwrap_or_default();
                (format!("`{value}` can't be {invalid}{cause}"), None)
            }
        }
        ErrorKind::ArgumentConflict => {
            let other = text(ContextKind::PriorArg).unwrap_or_default();
            (format!("{invalid} and {other} exclude each other"), None)
        }
        _ => {
            let shown = error.to_string();
            (shown.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned(), None)
        }
    };
    let help = match text(ContextKind::Usage).or_else(|| usage_of(error)) {
        Some(usage) => format!("usage: {usage}; `--help` tells more"),
        None => "see `panda --help`".to_owned(),
    };
    Some(CliError::usage(detail).hint(hint.unwrap_or(help)))
}

/// Returns `--replicas` of `--replicas <N>`.
fn flag(argument: &str) -> &str {
    argument.split([' ', '=']).next().unwrap_or(argument)
}

fn usage_of(error: &clap::Error) -> Option<String> {
    let styled = match error.get(ContextKind::Usage) {
        Some(ContextValue::StyledStr(styled)) => styled.to_string(),
        _ => return None,
    };
    let line = styled.lines().map(str::trim).find(|line| !line.is_empty())?;
    Some(line.trim_start_matches("Usage: ").to_owned())
}

/// Returns the verb that is closest to what was typed.
fn close_verb(typed: &str) -> Option<String> {
    let command = Cli::command();
    let verbs: Vec<&str> = command.get_subcommands().flat_map(names).collect();
    closest(typed, verbs).map(str::to_owned)
}

fn names(command: &Command) -> impl Iterator<Item = &str> {
    std::iter::once(command.get_name()).chain(command.get_visible_aliases())
}
