//! Changing variables: from the command line, from stdin, from a file.

use std::collections::BTreeMap;
use std::path::Path;

use panda_api_types::{EnvChangeRequest, EnvChanged, EnvPatch, ErrorCode, FieldError};
use panda_domain::manifest::closest;
use panda_domain::names::{EnvKey, InvalidName};
use reqwest::Method;

use super::variables;
use crate::args::FollowArgs;
use crate::error::{CliError, Result};
use crate::follow::{self, Interrupt};
use crate::session::{Session, Target};
use crate::{ask, dotenv};

/// Wished values by name.
pub(super) type Changes = BTreeMap<String, EnvPatch>;

/// Turns `A=1 B C -` into changes; what has no value is asked for, `-` after a name means stdin.
pub(super) fn wished(session: &Session, items: &[String], secret: bool) -> Result<Changes> {
    let mut changes = Changes::new();
    let mut items = items.iter().peekable();
    while let Some(item) = items.next() {
        let (key, value) = match item.split_once('=') {
            Some((key, value)) => (key, value.to_owned()),
            None if item == "-" => return Err(CliError::usage("`-` needs a name before it")),
            None if items.peek().is_some_and(|next| *next == "-") => {
                items.next();
                (item.as_str(), ask::stdin()?)
            }
            None => {
                let hint = format!("`{item}=VALUE`, or `{item} -` to read stdin");
                (item.as_str(), ask::secret(&session.out, &format!("Value of {item}:"), &hint)?)
            }
        };
        changes.insert(key.to_owned(), EnvPatch { value: Some(value), secret });
    }
    Ok(changes)
}

/// Reads a .env file.
pub(super) fn imported(file: &str, secret: bool) -> Result<Changes> {
    let named = if file == "-" { "stdin".to_owned() } else { format!("`{file}`") };
    let text = if file == "-" {
        ask::stdin()?
    } else {
        std::fs::read_to_string(file).map_err(|error| {
            CliError::file("read", Path::new(file), &error)
                .hint("name the file: `panda env import FILE`; `-` reads stdin")
        })?
    };
    let pairs = dotenv::parse(&text).map_err(|error| {
        CliError::new(ErrorCode::InvalidRequest, format!("{named}: {error}"))
            .hint("each line is NAME=VALUE; comments begin with #")
    })?;
    if pairs.is_empty() {
        return Err(CliError::new(ErrorCode::InvalidRequest, format!("{named} has no variables"))
            .hint("each line is NAME=VALUE"));
    }
    Ok(pairs.into_iter().map(|(key, value)| (key, EnvPatch { value: Some(value), secret })).collect())
}

/// Changes variables and says what came of it.
pub(super) async fn change(
    session: &Session,
    target: &Target,
    changes: Changes,
    no_deploy: bool,
    follow: &FollowArgs,
) -> Result<()> {
    check_names(&changes)?;
    let mut interrupt = Interrupt::listen()?;
    let count = changes.len();
    let request = EnvChangeRequest { changes, deploy: !no_deploy, dry_run: false };
    let changed: EnvChanged = session.api.exchange(Method::PATCH, &target.ask(["env"]), &request).await?;
    if !session.out.json {
        tell(session, target, &changed).await;
    }
    if let Some(accepted) = &changed.deployment {
        return follow::accepted(session, target, accepted, follow.detach, &mut interrupt).await;
    }
    if session.out.json {
        session.out.json_line(&changed);
    } else {
        let differs = |outcome: &String| matches!(outcome.as_str(), "added" | "replaced" | "removed");
        let count = match changed.changes.len() {
            0 => count,
            _ => changed.changes.values().filter(|outcome| differs(outcome)).count(),
        };
        let when = if no_deploy { "; the next deploy takes it" } else { "" };
        session.out.say(&match count {
            0 => "nothing changed".to_owned(),
            _ => format!("{count} changed, version {}{when}", changed.version),
        });
    }
    Ok(())
}

/// Asks what a change would do, and shows it.
pub(super) async fn try_out(session: &Session, target: &Target, changes: Changes) -> Result<()> {
    check_names(&changes)?;
    let request = EnvChangeRequest { changes, deploy: false, dry_run: true };
    let tried: EnvChanged = session.api.exchange(Method::PATCH, &target.ask(["env"]), &request).await?;
    if session.out.json {
        session.out.json_line(&tried);
        return Ok(());
    }
    let rows = tried.changes.into_iter().map(|(key, outcome)| vec![key, outcome]);
    session.out.table(&["name", "would be"], rows.collect());
    session.out.say("nothing was changed");
    Ok(())
}

/// Says what came of each name.
async fn tell(session: &Session, target: &Target, changed: &EnvChanged) {
    let named = |word: &str| {
        let keys = changed.changes.iter().filter(|(_, outcome)| *outcome == word);
        keys.map(|(key, _)| key.as_str()).collect::<Vec<_>>()
    };
    for word in ["added", "replaced", "removed"] {
        let keys = named(word);
        if !keys.is_empty() {
            session.out.say(&format!("{word} {}", keys.join(", ")));
        }
    }
    for key in named("same") {
        session.out.say(&format!("`{key}` has this value already"));
    }
    let absent = named("absent");
    if absent.is_empty() {
        return;
    }
    let there = variables(session, target, false).await.unwrap_or_default();
    for key in absent {
        let close = closest(key, there.iter().map(|variable| variable.key.as_str()));
        let close = close.map(|close| format!("; did you mean `{close}`?")).unwrap_or_default();
        session.out.say(&format!("`{key}` isn't set{close}"));
    }
}

/// Names every name that can't be, before anything is sent.
fn check_names(changes: &Changes) -> Result<()> {
    let wrong: Vec<InvalidName> = changes.keys().filter_map(|key| key.parse::<EnvKey>().err()).collect();
    let Some(first) = wrong.first() else { return Ok(()) };
    let names: Vec<String> = wrong.iter().map(|error| format!("`{}`", error.value)).collect();
    let detail = format!("no variable can be named {}", names.join(" or "));
    let fields = wrong.iter().map(|error| {
        let message = match &error.suggestion {
            Some(name) => format!("{}; `{name}` would do", error.problem),
            None => error.problem.to_owned(),
        };
        FieldError { field: error.value.clone(), message }
    });
    Err(CliError::new(ErrorCode::InvalidRequest, detail).fields(fields.collect()).hint(first.rule))
}
