//! `logs`: lines of instances, or of a build.

use panda_api_types::{DeployEvent, Deployment, ErrorCode, LogLine, Problem};
use panda_domain::manifest::parse_duration;

use crate::args::LogsArgs;
use crate::error::{CliError, EXIT_INTERRUPTED, Result};
use crate::follow::Interrupt;
use crate::session::{Session, Target};
use crate::sse::Events;

/// Colours of processes, told apart by their names as well.
const COLOURS: [u8; 6] = [36, 33, 32, 35, 34, 31];
const DEFAULT_LINES: u32 = 100;

/// Shows or follows logs.
pub(super) async fn run(session: &Session, args: &LogsArgs) -> Result<()> {
    let target = session.target()?;
    let mut interrupt = Interrupt::listen()?;
    let work = async {
        match &args.build {
            Some(deployment) => build(session, &target, deployment, args.follow).await,
            None => lines(session, &target, args).await,
        }
    };
    interrupt.or(work).await.unwrap_or(Err(CliError::Said(EXIT_INTERRUPTED)))
}

async fn lines(session: &Session, target: &Target, args: &LogsArgs) -> Result<()> {
    let since = args.since.as_deref().map(since).transpose()?;
    // With a beginning in time, all lines since then are meant.
    let tail = args.lines.or((since.is_none()).then_some(DEFAULT_LINES));
    let ask = target
        .ask(["logs"])
        .with_some("process", args.process.as_deref())
        .with_some("instance", args.instance.as_deref())
        .with_some("since", since)
        .with_some("tail", tail);
    let mut events = if args.follow {
        let out = session.out.clone();
        Events::follow(&session.api, ask.with("follow", true), move |why| {
            out.say(&format!("connection lost ({why}), trying again"));
        })
    } else {
        Events::once(&session.api, ask.with("follow", false))
    };
    let mut shown = false;
    while let Some(event) = events.next().await? {
        if event.kind == "end" {
            break;
        }
        // Who follows waits until it passes.
        if event.kind == "problem" && !args.follow {
            let problem = serde_json::from_str::<Problem>(&event.data);
            return Err(problem.map_or_else(|_| cut(), CliError::from));
        }
        if let Ok(line) = serde_json::from_str::<LogLine>(&event.data) {
            show(session, &line);
            shown = true;
        }
    }
    if !shown && !session.out.json {
        session.out.say(&format!("no lines of `{}`", target.app));
    }
    Ok(())
}

fn cut() -> CliError {
    CliError::new(ErrorCode::Unavailable, "the log broke off").hint("try again")
}

fn show(session: &Session, line: &LogLine) {
    if session.out.json {
        session.out.json_line(line);
        return;
    }
    let source = if line.instance.is_empty() {
        line.process.clone()
    } else {
        format!("{}.{}", line.process, line.instance)
    };
    let sum: usize = line.process.bytes().map(usize::from).sum();
    let source = session.out.paint(&source, COLOURS[sum % COLOURS.len()]);
    // Seconds are enough for people; `--json` has all of it.
    let at = line.at.get(..19).unwrap_or(&line.at);
    session.out.line(&format!("{at} {source} | {}", line.line));
}

/// Turns `10m` into seconds; a moment stays as it is.
fn since(text: &str) -> Result<String> {
    if let Some(seconds) = parse_duration(text) {
        return Ok(seconds.to_string());
    }
    match text.parse::<jiff::Timestamp>() {
        Ok(at) => Ok(at.to_string()),
        Err(_) => {
            Err(CliError::usage(format!("`{text}` is no time"))
                .hint("such as 10m, 2h or 2026-01-31T12:00:00Z"))
        }
    }
}

async fn build(session: &Session, target: &Target, deployment: &str, follow: bool) -> Result<()> {
    let id = if deployment == "newest" { newest(session, target).await? } else { deployment.to_owned() };
    if !follow {
        let text = session.api.text(&target.ask(["deployments", &id, "log"])).await?;
        if session.out.json {
            for line in text.lines() {
                session.out.json_line(&serde_json::json!({ "deployment": id, "line": line }));
            }
        } else {
            session.out.line(text.trim_end());
        }
        return Ok(());
    }
    let mut events = Events::follow(&session.api, target.ask(["deployments", &id, "events"]), |_| {});
    while let Some(event) = events.next().await? {
        match serde_json::from_str::<DeployEvent>(&event.data) {
            Ok(known @ DeployEvent::Log { .. }) if session.out.json => session.out.json_line(&known),
            Ok(DeployEvent::Log { line, .. }) => session.out.line(&line),
            Ok(DeployEvent::End { .. }) => break,
            _ => {}
        }
    }
    Ok(())
}

async fn newest(session: &Session, target: &Target) -> Result<String> {
    let deployments: Vec<Deployment> = session.api.list(&target.ask(["deployments"]), Some(20)).await?;
    let built = deployments.iter().find(|deployment| deployment.build.is_some()).or(deployments.first());
    built
        .map(|deployment| deployment.id.clone())
        .ok_or_else(|| CliError::new(ErrorCode::NotFound, format!("`{}` was never deployed", target.app)))
}
