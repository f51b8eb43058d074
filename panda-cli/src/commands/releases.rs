//! `releases`: what ran, and what differs.

use panda_api_types::{ErrorCode, Release, ReleaseDiff};
use panda_domain::clock::Clock;

use crate::args::{ReleasesArgs, ReleasesCommand};
use crate::error::{CliError, Result};
use crate::session::{Session, Target};
use crate::table::ago;

use super::release_number;

/// Lists releases, shows one, compares two.
pub(super) async fn run(session: &Session, args: ReleasesArgs) -> Result<()> {
    let target = session.target()?;
    match args.command {
        None => list(session, &target, args.lines).await,
        Some(ReleasesCommand::Info { release }) => info(session, &target, release_number(&release)?).await,
        Some(ReleasesCommand::Diff { from, to }) => {
            let to = match to {
                Some(to) => release_number(&to)?,
                None => newest(session, &target).await?,
            };
            diff(session, &target, release_number(&from)?, to).await
        }
    }
}

async fn list(session: &Session, target: &Target, lines: u32) -> Result<()> {
    let releases: Vec<Release> = session.api.list(&target.ask(["releases"]), Some(lines)).await?;
    if session.out.json {
        session.out.json(&releases);
        return Ok(());
    }
    if releases.is_empty() {
        session.out.say("no releases yet; `panda deploy` makes the first");
        return Ok(());
    }
    let clock = Clock::system();
    let rows = releases.iter().map(|release| {
        let source = match release.copy_of {
            Some(origin) => format!("{} (copy of v{origin})", release.source),
            None => release.source.clone(),
        };
        let serving = if release.serving { "serving" } else { "" };
        vec![
            format!("v{}", release.number),
            serving.to_owned(),
            release.outcome.clone(),
            source,
            release.by.clone(),
            ago(&release.created_at, &clock),
        ]
    });
    session.out.table(&["release", "", "outcome", "source", "by", "when"], rows.collect());
    Ok(())
}

async fn newest(session: &Session, target: &Target) -> Result<u32> {
    let releases: Vec<Release> = session.api.list(&target.ask(["releases"]), Some(1)).await?;
    let newest = releases.first().map(|release| release.number);
    newest.ok_or_else(|| CliError::new(ErrorCode::NotFound, format!("`{}` has no releases", target.app)))
}

async fn info(session: &Session, target: &Target, number: u32) -> Result<()> {
    let release: Release = session.api.get(&target.ask(["releases", &number.to_string()])).await?;
    if session.out.json {
        session.out.json(&release);
        return Ok(());
    }
    let line = |word: &str, text: &str| session.out.line(&format!("{word:<12}{text}"));
    line("release", &format!("v{}{}", release.number, if release.serving { " (serving)" } else { "" }));
    line("outcome", &release.outcome);
    line("image", &release.image);
    line("source", &release.source);
    if let Some(sha) = &release.git_sha {
        line("commit", sha);
    }
    if let Some(origin) = release.copy_of {
        line("copy of", &format!("v{origin}"));
    }
    line("env", &format!("version {}", release.env_version));
    for (name, command) in &release.processes {
        line(name, command);
    }
    line("by", &format!("{}, {}", release.by, ago(&release.created_at, &Clock::system())));
    Ok(())
}

async fn diff(session: &Session, target: &Target, from: u32, to: u32) -> Result<()> {
    let ask = target.ask(["releases", "diff"]).with("from", from).with("to", to);
    let diff: ReleaseDiff = session.api.get(&ask).await?;
    if session.out.json {
        session.out.json(&diff);
        return Ok(());
    }
    if diff.changes.is_empty() {
        session.out.say(&format!("v{from} and v{to} don't differ"));
    }
    for change in &diff.changes {
        session.out.line(&change.what);
        if let Some(before) = &change.before {
            session.out.line(&session.out.paint(&format!("  - {before}"), 31));
        }
        if let Some(after) = &change.after {
            session.out.line(&session.out.paint(&format!("  + {after}"), 32));
        }
    }
    Ok(())
}
