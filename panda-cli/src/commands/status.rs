//! `ps`, `status`, `manifest`: an app as it is.

use panda_api_types::{Deployment, ErrorCode, Instance, Status};
use panda_domain::clock::Clock;

use super::autoscale::bounded;
use crate::args::StatusArgs;
use crate::error::{CliError, Result};
use crate::follow::{self, Interrupt};
use crate::session::{Session, Target};
use crate::table::{ago, cores, memory, release};

/// Lists instances.
pub(super) async fn instances(session: &Session) -> Result<()> {
    let target = session.target()?;
    let instances: Vec<Instance> = session.api.list(&target.ask(["instances"]), None).await?;
    if session.out.json {
        session.out.json(&instances);
    } else if instances.is_empty() {
        session.out.say(&format!("no instance of `{}` runs", target.app));
    } else {
        instance_table(session, &instances);
    }
    Ok(())
}

fn instance_table(session: &Session, instances: &[Instance]) {
    let clock = Clock::system();
    let rows = instances.iter().map(|instance| {
        let state = match &instance.reason {
            Some(reason) => format!("{} ({reason})", instance.state),
            None => instance.state.clone(),
        };
        vec![
            instance.id.clone(),
            instance.process.clone(),
            format!("v{}", instance.release),
            state,
            instance.restarts.to_string(),
            instance.cpu_millis.map_or_else(|| "-".to_owned(), cores),
            instance.memory_bytes.map_or_else(|| "-".to_owned(), memory),
            instance.started_at.as_deref().map_or_else(|| "-".to_owned(), |at| ago(at, &clock)),
        ]
    });
    let headings = ["instance", "process", "release", "state", "restarts", "cpu", "memory", "started"];
    session.out.table(&headings, rows.collect());
}

/// Shows an app at a glance, or follows its newest deployment.
pub(super) async fn status(session: &Session, args: &StatusArgs) -> Result<()> {
    let target = session.target()?;
    if args.wait {
        return wait(session, &target).await;
    }
    let status: Status = session.api.get(&target.ask(["status"])).await?;
    if session.out.json {
        session.out.json(&status);
        return Ok(());
    }
    let app = &status.app;
    let line = |word: &str, text: &str| session.out.line(&format!("{word:<12}{text}"));
    let state = match &app.reason {
        Some(reason) => format!("{} ({reason})", app.state),
        None => app.state.clone(),
    };
    line("app", &format!("{} in {}, project {}", app.name, app.environment, app.project));
    line("url", &app.url);
    line("state", &state);
    line("release", &release(app.release));
    for (name, scale) in &app.processes {
        let core = if scale.cpu_millis == 1000 { "core" } else { "cores" };
        let size = format!("each {} {core}, {}", cores(scale.cpu_millis), memory(scale.memory_bytes));
        let ready = match (&scale.autoscale, scale.replicas) {
            (Some(bounds), now) => format!("{}, {} ready", bounded(bounds, now), scale.ready),
            (None, 0) => "scaled to 0".to_owned(),
            (None, replicas) => format!("{} of {replicas} ready", scale.ready),
        };
        line(name, &format!("{ready}, {size}"));
    }
    for domain in &status.domains {
        let proven = if domain.verified { "" } else { ", not verified" };
        line(
            "domain",
            &format!("{}{} (certificate {}{proven})", domain.host, domain.path, domain.certificate),
        );
    }
    for port in &status.ports {
        let place = port.address.clone().unwrap_or_else(|| super::ports::state(port));
        line("port", &format!("{} of {}: {place}", port.port, port.process));
    }
    if let Some(deployment) = &status.deployment {
        let when = ago(&deployment.created_at, &Clock::system());
        let cause = deployment.cause.as_deref().map(|cause| format!(": {cause}")).unwrap_or_default();
        line(
            "deployment",
            &format!("{} {}, {when} by {}{cause}", deployment.id, deployment.state, deployment.by),
        );
    }
    if let Some(step) = status.deployment.as_ref().and_then(|deployment| deployment.step.as_ref()) {
        let detail = step.detail.as_deref().filter(|detail| !detail.is_empty());
        let detail = detail.map(|detail| format!(": {detail}")).unwrap_or_default();
        line("step", &format!("{} {}{detail}", step.state, step.title));
    }
    if let Some(fix) = status.deployment.as_ref().and_then(|deployment| deployment.fix.as_deref()) {
        line("fix", fix);
    }
    for notice in &status.notices {
        line("notice", notice);
    }
    if !status.instances.is_empty() {
        session.out.line("");
        instance_table(session, &status.instances);
    }
    Ok(())
}

async fn wait(session: &Session, target: &Target) -> Result<()> {
    let newest: Vec<Deployment> = session.api.list(&target.ask(["deployments"]), Some(1)).await?;
    let Some(deployment) = newest.first() else {
        return Err(CliError::new(ErrorCode::NotFound, format!("`{}` was never deployed", target.app))
            .hint("run `panda deploy`"));
    };
    follow::follow(session, target, deployment, &mut Interrupt::listen()?).await
}

/// Prints the generated objects.
pub(super) async fn manifest(session: &Session) -> Result<()> {
    let target = session.target()?;
    let text = session.api.text(&target.ask(["manifest"])).await?;
    if session.out.json {
        session
            .out
            .json(&serde_json::json!({ "app": target.app, "environment": target.environment, "text": text }));
    } else if text.trim().is_empty() {
        session.out.say(&format!("nothing was generated for `{}` yet", target.app));
    } else {
        session.out.line(text.trim_end());
    }
    Ok(())
}
