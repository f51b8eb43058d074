//! `autoscale`: between which bounds the number of instances follows the load.

use panda_api_types::{App, AutoscaleBounds, AutoscaleRequest, Autoscaler};
use reqwest::Method;

use super::scale::{known, main_process, show};
use crate::args::{AutoscaleArgs, AutoscaleCommand};
use crate::error::Result;
use crate::session::Session;

/// Shows bounds and figures, sets bounds, or takes them away.
pub(super) async fn run(session: &Session, args: &AutoscaleArgs) -> Result<()> {
    let target = session.target()?;
    let Some(command) = &args.command else { return list(session, args.process.as_deref()).await };
    let app: App = session.api.get(&target.ask([])).await?;
    let process = match &args.process {
        Some(process) => known(&app, process)?,
        None => main_process(&app)?,
    };
    let changed: App = match command {
        AutoscaleCommand::Set { min, max, cpu, memory } => {
            let (min, max, cpu_percent, memory_percent) = (*min, *max, *cpu, *memory);
            let request = AutoscaleRequest { process, min, max, cpu_percent, memory_percent };
            session.api.exchange(Method::PUT, &target.ask(["autoscale"]), &request).await?
        }
        AutoscaleCommand::Off => {
            let ask = target.ask(["autoscale"]).with("process", &process);
            session.api.ask(Method::DELETE, &ask).await?
        }
    };
    show(session, &changed);
    Ok(())
}

async fn list(session: &Session, process: Option<&str>) -> Result<()> {
    let target = session.target()?;
    let mut all: Vec<Autoscaler> = session.api.list(&target.ask(["autoscale"]), None).await?;
    all.retain(|one| process.is_none_or(|process| one.process == process));
    if session.out.json {
        session.out.json(&all);
        return Ok(());
    }
    if all.is_empty() {
        session.out.say(&format!(
            "nothing of `{}` is autoscaled; `panda autoscale set --min 2 --max 10` begins it",
            target.app
        ));
        return Ok(());
    }
    let rows = all.iter().map(|one| {
        vec![
            one.process.clone(),
            bounded(&one.bounds, one.replicas),
            format!("{} of {}", one.ready, one.replicas),
            load(one.cpu_percent, one.bounds.cpu_percent),
            load(one.memory_percent, one.bounds.memory_percent),
        ]
    });
    session.out.table(&["process", "replicas", "ready", "cpu", "memory"], rows.collect());
    for one in &all {
        if let Some(reason) = &one.reason {
            session.out.line(&format!("{}: {reason}", one.process));
        }
    }
    Ok(())
}

/// Returns bounds with the number that is wanted now.
pub(super) fn bounded(bounds: &AutoscaleBounds, now: u32) -> String {
    format!("{}–{} ({now} now)", bounds.min, bounds.max)
}

/// Returns the load now, if it is known, and the one to hold, if there is one.
fn load(now: Option<u32>, held: Option<u32>) -> String {
    match (now, held) {
        (Some(now), Some(held)) => format!("{now}%, to hold {held}%"),
        (None, Some(held)) => format!("unknown, to hold {held}%"),
        (Some(now), None) => format!("{now}%"),
        (None, None) => "-".to_owned(),
    }
}
