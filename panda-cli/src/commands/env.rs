//! `env`: variables and secrets.

mod change;

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use panda_api_types::{EnvHistoryEntry, EnvPatch, EnvVariable, ErrorCode};
use panda_domain::clock::Clock;
use panda_domain::manifest::closest;

use crate::args::EnvCommand;
use crate::dotenv;
use crate::error::{CliError, Result};
use crate::progress::counted;
use crate::session::{Session, Target};
use crate::table::ago;

use change::{change, imported, try_out, wished};

/// Does what is asked with the variables of an app.
pub(super) async fn run(session: &Session, command: Option<EnvCommand>) -> Result<()> {
    let target = session.target()?;
    match command.unwrap_or(EnvCommand::List { reveal: false }) {
        EnvCommand::Set { items, secret, no_deploy, follow } => {
            let changes = wished(session, &items, secret)?;
            change(session, &target, changes, no_deploy, &follow).await
        }
        EnvCommand::Unset { keys, no_deploy, follow } => {
            let gone = |key| (key, EnvPatch { value: None, secret: false });
            change(session, &target, keys.into_iter().map(gone).collect(), no_deploy, &follow).await
        }
        EnvCommand::Import { file, from, secret, keep, dry_run, no_deploy, follow } => {
            let file = file.or(from).unwrap_or_else(|| ".env".to_owned());
            let mut changes = imported(&file, secret)?;
            if keep {
                let there = variables(session, &target, false).await?;
                changes.retain(|key, _| !there.iter().any(|variable| variable.key == *key));
            }
            if dry_run {
                try_out(session, &target, changes).await
            } else {
                change(session, &target, changes, no_deploy, &follow).await
            }
        }
        EnvCommand::List { reveal } => list(session, &target, reveal).await,
        EnvCommand::Get { key } => get(session, &target, &key).await,
        EnvCommand::Pull { file } => pull(session, &target, &file).await,
        EnvCommand::History => history(session, &target).await,
    }
}

async fn variables(session: &Session, target: &Target, reveal: bool) -> Result<Vec<EnvVariable>> {
    let ask = target.ask(["env"]).with_some("reveal", reveal.then_some(true));
    session.api.list(&ask, None).await
}

async fn list(session: &Session, target: &Target, reveal: bool) -> Result<()> {
    let variables = variables(session, target, reveal).await?;
    if session.out.json {
        session.out.json(&variables);
        return Ok(());
    }
    if variables.is_empty() {
        session.out.say("no variables; set one with `panda env set KEY=VALUE`");
        return Ok(());
    }
    let clock = Clock::system();
    let rows = variables.iter().map(|variable| {
        let value = match (&variable.value, variable.secret) {
            (_, true) => "(secret)".to_owned(),
            (Some(value), false) => value.clone(),
            (None, false) => "(--reveal shows it)".to_owned(),
        };
        let deployed = if variable.deployed { "yes" } else { "not yet" };
        vec![
            variable.key.clone(),
            value,
            variable.fingerprint.clone(),
            deployed.to_owned(),
            format!("{} by {}", ago(&variable.set_at, &clock), variable.set_by),
        ]
    });
    session.out.table(&["name", "value", "fingerprint", "deployed", "set"], rows.collect());
    Ok(())
}

async fn get(session: &Session, target: &Target, key: &str) -> Result<()> {
    // Values are asked for only when there is one to show: the asking is written down.
    let all = variables(session, target, false).await?;
    let Some(known) = all.iter().find(|variable| variable.key == key) else {
        let error = CliError::new(ErrorCode::NotFound, format!("`{}` has no variable `{key}`", target.app));
        let names = all.iter().map(|variable| variable.key.as_str());
        return Err(match closest(key, names) {
            Some(close) => error.hint(format!("did you mean `{close}`?")),
            None => error.hint("`panda env list` shows all"),
        });
    };
    if known.secret {
        let detail = format!("`{key}` is a secret, and secrets are never shown");
        return Err(CliError::new(ErrorCode::Forbidden, detail)
            .hint("compare its fingerprint in `panda env list`, or set it anew"));
    }
    let revealed = variables(session, target, true).await?;
    let found = revealed.iter().find(|variable| variable.key == key);
    let Some((variable, value)) = found.and_then(|variable| Some((variable, variable.value.as_ref()?)))
    else {
        return Err(CliError::new(ErrorCode::NotFound, format!("`{key}` went away while it was read")));
    };
    if session.out.json {
        session.out.json(variable);
    } else {
        session.out.line(value);
    }
    Ok(())
}

async fn pull(session: &Session, target: &Target, file: &str) -> Result<()> {
    let variables = variables(session, target, true).await?;
    let mut text = String::new();
    for variable in &variables {
        let line = match &variable.value {
            Some(value) => dotenv::line(&variable.key, value),
            None => format!("# {} is a secret: it can't be read back", variable.key),
        };
        text.push_str(&line);
        text.push('\n');
    }
    if file == "-" {
        session.out.line(text.trim_end());
        return Ok(());
    }
    let path = Path::new(file);
    let mut options = OpenOptions::new();
    options.write(true).mode(0o600);
    if session.shared.yes {
        options.create(true).truncate(true)
    } else {
        options.create_new(true)
    };
    match options.open(path).and_then(|mut file| file.write_all(text.as_bytes())) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            return Err(CliError::new(ErrorCode::Conflict, format!("`{file}` is already here"))
                .hint("name another file, or pass -y to overwrite it"));
        }
        Err(error) => return Err(CliError::file("write", path, &error)),
    }
    let secrets = variables.iter().filter(|variable| variable.value.is_none()).count();
    let written = variables.len() - secrets;
    let done = serde_json::json!({ "file": file, "written": written, "secrets_left_out": secrets });
    let left_out = format!("; {} left out", counted(secrets, "secret"));
    session.out.done(
        &done,
        &format!(
            "wrote {} to {file}{}",
            counted(written, "variable"),
            if secrets == 0 { "" } else { &left_out }
        ),
    );
    Ok(())
}

async fn history(session: &Session, target: &Target) -> Result<()> {
    let entries: Vec<EnvHistoryEntry> = session.api.list(&target.ask(["env", "history"]), Some(200)).await?;
    if session.out.json {
        session.out.json(&entries);
        return Ok(());
    }
    let clock = Clock::system();
    let rows = entries.iter().map(|entry| {
        let kind = if entry.secret { "secret" } else { "plain" };
        let who = entry.by.clone();
        vec![
            entry.version.to_string(),
            entry.key.clone(),
            entry.change.clone(),
            kind.to_owned(),
            who,
            ago(&entry.at, &clock),
        ]
    });
    session.out.table(&["version", "name", "change", "kind", "by", "when"], rows.collect());
    Ok(())
}
