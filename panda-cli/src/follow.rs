//! Following a deployment to its end, and the exit code that it means.

use std::future::Future;
use std::pin::pin;
use std::time::{Duration, Instant};

use panda_api_types::{DeployEvent, Deployment, DeploymentAccepted, ErrorCode};
use serde::Serialize;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::api::Ask;
use crate::commands::ports;
use crate::error::{CliError, EXIT_INTERRUPTED, Result};
use crate::progress::{Progress, spoken};
use crate::session::{Session, Target};
use crate::sse::Events;

const EXIT_BUILD_FAILED: u8 = 10;
const EXIT_UNHEALTHY: u8 = 11;
const EXIT_CANCELED: u8 = 12;
/// The failure after which nobody knows what serves.
const UNCONFIRMED: &str = "P503";

/// The last line of `--json`: what a script wants to know.
#[derive(Debug, Serialize)]
pub(crate) struct Summary<'a> {
    url: &'a str,
    /// `null` when it came to none.
    release: Option<u32>,
    state: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    deployment: Option<&'a str>,
    unchanged: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fix: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    docs: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    serving_release: Option<u32>,
    /// Ctrl-C came first; it goes on.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    interrupted: bool,
}

impl<'a> Summary<'a> {
    fn of(deployment: &'a Deployment, docs: Option<String>) -> Self {
        Self {
            url: &deployment.url,
            release: deployment.release,
            state: &deployment.state,
            deployment: Some(&deployment.id),
            unchanged: false,
            code: deployment.failure_code.as_deref(),
            cause: deployment.cause.as_deref(),
            fix: deployment.fix.as_deref(),
            docs,
            serving_release: deployment.serving_release,
            interrupted: false,
        }
    }
}

/// Ctrl-C, heard from the moment that this is made.
pub(crate) struct Interrupt(Signal);

impl Interrupt {
    /// Starts to listen.
    pub(crate) fn listen() -> Result<Self> {
        let signal = signal(SignalKind::interrupt());
        signal
            .map(Self)
            .map_err(|error| CliError::new(ErrorCode::Internal, format!("can't listen for Ctrl-C: {error}")))
    }

    /// Does the work unless Ctrl-C comes first: then `None`.
    pub(crate) async fn or<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        let mut work = pin!(work);
        tokio::select! {
            biased;
            _ = self.0.recv() => None,
            done = &mut work => Some(done),
        }
    }
}

/// Tells what was accepted, and follows it unless that isn't wanted.
pub(crate) async fn accepted(
    session: &Session,
    target: &Target,
    accepted: &DeploymentAccepted,
    detach: bool,
    interrupt: &mut Interrupt,
) -> Result<()> {
    for notice in &accepted.notices {
        session.out.say(&format!("note: {notice}"));
    }
    let Some(deployment) = &accepted.deployment else {
        unchanged(session, accepted);
        return Ok(());
    };
    if detach {
        if session.out.json {
            session.out.json_line(&Summary::of(deployment, None));
        } else {
            session.out.say(&format!("accepted as {}; follow it with `panda status --wait`", deployment.id));
            session.out.line(&deployment.url);
        }
        return Ok(());
    }
    follow(session, target, deployment, interrupt).await
}

fn unchanged(session: &Session, accepted: &DeploymentAccepted) {
    let app = &accepted.app;
    if session.out.json {
        session.out.json_line(&Summary {
            url: &app.url,
            release: app.release,
            state: "live",
            deployment: None,
            unchanged: true,
            code: None,
            cause: None,
            fix: None,
            docs: None,
            serving_release: app.release.filter(|_| app.state != "stopped"),
            interrupted: false,
        });
    } else {
        let does = if app.state == "stopped" { "is scaled to 0" } else { "serves" };
        let release = app.release.map(|release| format!(": v{release} {does}")).unwrap_or_default();
        session.out.say(&format!("nothing changed{release}"));
        session.out.line(&app.url);
    }
}

/// Shows a deployment until it ends. Ctrl-C leaves it running.
pub(crate) async fn follow(
    session: &Session,
    target: &Target,
    deployment: &Deployment,
    interrupt: &mut Interrupt,
) -> Result<()> {
    let started = Instant::now();
    let mut progress = Progress::new(&session.out);
    progress.state(deployment);
    let ended = interrupt.or(watch(session, target, &deployment.id, &mut progress)).await;
    progress.finish();
    match ended {
        Some(ended) => {
            tell(session, &ended?, started.elapsed())?;
            if !session.out.json {
                ports::say_open(session, target).await;
            }
            Ok(())
        }
        None => Err(left_running(session, deployment)),
    }
}

async fn watch(session: &Session, target: &Target, id: &str, progress: &mut Progress) -> Result<Deployment> {
    let ask: Ask = target.ask(["deployments", id, "events"]);
    let quiet = session.out.json;
    let out = session.out.clone();
    let on_loss = move |why: &str| {
        if !quiet {
            out.say(&format!("connection lost ({why}); the deployment goes on, trying again"));
        }
    };
    let mut events = Events::follow(&session.api, ask, on_loss);
    loop {
        let Some(event) = events.next().await? else { continue };
        // A newer server may send kinds that this client doesn't know.
        let Ok(known) = serde_json::from_str::<DeployEvent>(&event.data) else { continue };
        if session.out.json {
            session.out.json_line(&known);
        }
        match known {
            DeployEvent::State { deployment } => progress.state(&deployment),
            DeployEvent::Step { step } => progress.step(&step),
            DeployEvent::Log { step, line } => progress.log(&step, &line),
            DeployEvent::End { deployment } => return Ok(*deployment),
        }
    }
}

fn left_running(session: &Session, deployment: &Deployment) -> CliError {
    let id = &deployment.id;
    if session.out.json {
        session.out.json_line(&Summary { interrupted: true, ..Summary::of(deployment, None) });
    }
    session.out.say(&format!(
        "\nthe deployment goes on without you ({id})\n  follow it:  panda status --wait\n  cancel it:  panda cancel {id}"
    ));
    CliError::Said(EXIT_INTERRUPTED)
}

/// Tells how a deployment ended.
fn tell(session: &Session, deployment: &Deployment, took: Duration) -> Result<()> {
    let exit = exit_of(&deployment.state);
    let docs = deployment.failure_code.as_deref().map(|code| session.api.page(["docs", "errors", code]));
    if session.out.json {
        session.out.json_line(&Summary::of(deployment, docs));
        return if exit == 0 { Ok(()) } else { Err(CliError::Said(exit)) };
    }
    let release = deployment.release.map(|release| format!(" v{release}")).unwrap_or_default();
    if exit == 0 {
        session.out.say(&format!("{}{release} in {}", deployment.state.replace('_', " "), spoken(took)));
        session.out.line(&deployment.url);
        return Ok(());
    }
    session.out.say(&failure_text(deployment, docs.as_deref()));
    Err(CliError::Said(exit))
}

fn failure_text(deployment: &Deployment, docs: Option<&str>) -> String {
    let state = deployment.state.replace('_', " ");
    let cause = deployment.cause.as_deref().map(|cause| format!(": {cause}")).unwrap_or_default();
    let code = deployment.failure_code.as_deref().map(|code| format!(" [{code}]")).unwrap_or_default();
    let mut text = format!("error: {state}{cause}{code}");
    for line in &deployment.log {
        text = format!("{text}\n    | {line}");
    }
    text = match deployment.serving_release {
        Some(release) => format!("{text}\n  v{release} serves"),
        // The routes weren't confirmed: its cause says what is known.
        None if deployment.failure_code.as_deref() == Some(UNCONFIRMED) => text,
        None => format!("{text}\n  nothing serves yet"),
    };
    if let Some(fix) = &deployment.fix {
        text = format!("{text}\n\nhint: {fix}");
    }
    if let Some(docs) = docs {
        text = format!("{text}\nmore: {docs}");
    }
    text
}

/// Returns the exit code of a deployment's state.
pub(crate) fn exit_of(state: &str) -> u8 {
    match state {
        "live" => 0,
        "build_failed" => EXIT_BUILD_FAILED,
        "canceled" | "superseded" => EXIT_CANCELED,
        _ => EXIT_UNHEALTHY,
    }
}
