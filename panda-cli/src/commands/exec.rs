//! `exec` in a running instance, `run` in a new one.

use std::time::Duration;

use panda_api_types::{ExecStart, LogLine, TaskRequest, TaskView};
use panda_domain::manifest::parse_duration;
use reqwest::Method;

use crate::args::{ExecArgs, RunArgs};
use crate::error::{CliError, EXIT_INTERRUPTED, Result};
use crate::follow::Interrupt;
use crate::session::{Session, Target};
use crate::socket::{carry, connect, has_terminal, terminal_size};
use crate::sse::Events;

/// Runs a command in a running instance; exits with its code.
pub(super) async fn exec(session: &Session, args: ExecArgs) -> Result<()> {
    let target = session.target()?;
    let tty = has_terminal();
    if args.command.is_empty() && !tty {
        return Err(
            CliError::usage("a shell needs a terminal").hint("name the command: panda exec -- sh -c 'ls /'")
        );
    }
    let command = if args.command.is_empty() { vec!["sh".to_owned()] } else { args.command };
    let size = if tty { terminal_size() } else { None };
    let start = ExecStart { command, tty, process: args.process, instance: args.instance, size };
    let first = serde_json::to_string(&start).expect("our types have only text keys");
    let socket = connect(&session.api.server, &target.ask(["exec"])).await?;
    exit_with(carry(socket, Some(first), tty).await?)
}

/// Runs a command in an instance of its own.
pub(super) async fn run(session: &Session, args: RunArgs) -> Result<()> {
    let target = session.target()?;
    let tty = has_terminal() && !args.detach && !session.out.json;
    let timeout_s = match &args.timeout {
        Some(text) => Some(seconds(text)?),
        None => None,
    };
    let request = TaskRequest { command: args.command, tty, timeout_s };
    let mut interrupt = Interrupt::listen()?;
    let task: TaskView = session.api.exchange(Method::POST, &target.ask(["tasks"]), &request).await?;
    if args.detach {
        if session.out.json {
            session.out.json(&task);
        } else {
            session.out.say("started; its lines are in `panda logs`");
            session.out.line(&task.id);
        }
        return Ok(());
    }
    if tty {
        let (columns, rows) = terminal_size().unwrap_or((80, 24));
        let ask = target.ask(["tasks", &task.id, "attach"]).with("columns", columns).with("rows", rows);
        return exit_with(carry(connect(&session.api.server, &ask).await?, None, true).await?);
    }
    match interrupt.or(follow(session, &target, &task.id)).await {
        Some(exit) => exit_with(exit?),
        None => stop(session, &target, &task.id).await,
    }
}

fn seconds(text: &str) -> Result<u32> {
    parse_duration(text)
        .and_then(|seconds| u32::try_from(seconds).ok())
        .filter(|s| (1..=86_400).contains(s))
        .ok_or_else(|| CliError::usage(format!("`{text}` is no time")).hint("use 1s to 24h, such as 30m"))
}

/// Prints the task's lines, and returns its exit code.
async fn follow(session: &Session, target: &Target, id: &str) -> Result<u8> {
    let ask = target.ask(["tasks", id, "logs"]).with("follow", true);
    let mut events = Events::follow(&session.api, ask, |_| {});
    while let Some(event) = events.next().await? {
        if event.kind == "end" {
            break;
        }
        let Ok(line) = serde_json::from_str::<LogLine>(&event.data) else { continue };
        if session.out.json {
            session.out.json_line(&line);
        } else if line.stream == "err" {
            session.out.say(&line.line);
        } else {
            session.out.line(&line.line);
        }
    }
    let task = ended(session, target, id).await?;
    if session.out.json {
        session.out.json_line(&task);
    } else if let Some(reason) = &task.reason {
        session.out.say(&format!("{}: {reason}", task.state));
    }
    Ok(task.exit_code.map_or(1, |code| u8::try_from(code).unwrap_or(1)))
}

/// Waits for the exit code: the last line may come before the server has written it down.
async fn ended(session: &Session, target: &Target, id: &str) -> Result<TaskView> {
    loop {
        let task: TaskView = session.api.get(&target.ask(["tasks", id])).await?;
        if !matches!(task.state.as_str(), "running" | "canceling") {
            return Ok(task);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Ctrl-C ends the command, as it would here.
async fn stop(session: &Session, target: &Target, id: &str) -> Result<()> {
    session.api.order(Method::POST, &target.ask(["tasks", id, "cancel"])).await?;
    session.out.say(&format!("\nstopping {id}"));
    Err(CliError::Said(EXIT_INTERRUPTED))
}

fn exit_with(code: u8) -> Result<()> {
    if code == 0 { Ok(()) } else { Err(CliError::Said(code)) }
}
