//! `events`: what happened, and who did it.

use panda_api_types::EventView;
use panda_domain::clock::Clock;

use crate::api::Ask;
use crate::args::EventsArgs;
use crate::error::{CliError, EXIT_INTERRUPTED, Result};
use crate::follow::Interrupt;
use crate::session::{Session, Target};
use crate::sse::Events;
use crate::table::ago;

/// Shows or follows the events of the app, or of the team where no app is meant.
pub(super) async fn run(session: &Session, args: &EventsArgs) -> Result<()> {
    let ask = match session.place.app_if_said(&session.shared)? {
        Some(app) => {
            let environment = session.place.environment(&session.shared)?;
            Target { app, environment }.ask(["events"])
        }
        None => Ask::at(["events"]),
    };
    let mut past: Vec<EventView> = session.api.list(&ask, Some(args.lines)).await?;
    past.reverse();
    if !args.follow {
        list(session, &past);
        return Ok(());
    }
    let newest = past.last().map_or(0, |event| event.id);
    for event in &past {
        line(session, event);
    }
    let mut interrupt = Interrupt::listen()?;
    interrupt.or(stream(session, ask, newest)).await.unwrap_or(Err(CliError::Said(EXIT_INTERRUPTED)))
}

fn list(session: &Session, events: &[EventView]) {
    if session.out.json {
        session.out.json(&events);
    } else {
        for event in events {
            line(session, event);
        }
    }
}

async fn stream(session: &Session, ask: Ask, newest: i64) -> Result<()> {
    let mut events = Events::follow(&session.api, ask.with("follow", true), |_| {});
    let mut newest = newest;
    while let Some(event) = events.next().await? {
        let Ok(event) = serde_json::from_str::<EventView>(&event.data) else { continue };
        if event.id > newest {
            newest = event.id;
            line(session, &event);
        }
    }
    Ok(())
}

fn line(session: &Session, event: &EventView) {
    if session.out.json {
        session.out.json_line(event);
        return;
    }
    let app = event.app.as_deref().map(|app| format!(" {app}")).unwrap_or_default();
    let when = ago(&event.at, &Clock::system());
    session.out.line(&format!("{when:>10}  {}{app}: {} ({})", event.kind, event.text, event.by));
}
