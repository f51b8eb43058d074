//! `scale`: how many, and how large.

use panda_api_types::{App, ErrorCode, ScaleRequest};
use panda_domain::formation::{CPU_MILLIS, MEMORY_BYTES};
use panda_domain::manifest::{closest, parse_bytes, parse_cpu};
use reqwest::Method;

use super::autoscale::bounded;
use crate::args::ScaleArgs;
use crate::error::{CliError, Result};
use crate::session::Session;
use crate::table::{cores, memory};

/// Changes the scale, or shows it.
pub(super) async fn run(session: &Session, args: &ScaleArgs) -> Result<()> {
    let target = session.target()?;
    let app: App = session.api.get(&target.ask([])).await?;
    let asks_nothing = args.items.is_empty() && args.cpu.is_none() && args.memory.is_none();
    if asks_nothing {
        show(session, &app);
        return Ok(());
    }
    let request = request(&app, args)?;
    let changed: App = session.api.exchange(Method::PATCH, &target.ask(["scale"]), &request).await?;
    show(session, &changed);
    Ok(())
}

fn request(app: &App, args: &ScaleArgs) -> Result<ScaleRequest> {
    let mut request = ScaleRequest::default();
    let mut named = Vec::new();
    for item in &args.items {
        let (process, count) = match item.split_once('=') {
            Some((process, count)) => (known(app, process)?, Some(count)),
            None if item.trim_start_matches('-').bytes().all(|b| b.is_ascii_digit()) => {
                (main_process(app)?, Some(item.as_str()))
            }
            None => (known(app, item)?, None),
        };
        if let Some(count) = count {
            request.replicas.insert(process.clone(), replicas(count)?);
        }
        named.push(process);
    }
    if named.is_empty() {
        named.push(main_process(app)?);
    }
    if let Some(cpu) = &args.cpu {
        let millis = parse_cpu(cpu).filter(|millis| CPU_MILLIS.contains(millis));
        let millis = millis.ok_or_else(|| {
            CliError::usage(format!("`{cpu}` is no share of cores"))
                .hint("use 0.01 to 256, such as 0.5 or 250m")
        })?;
        request.cpu_millis = named.iter().map(|process| (process.clone(), millis)).collect();
    }
    if let Some(size) = &args.memory {
        let bytes = parse_bytes(size).filter(|bytes| MEMORY_BYTES.contains(bytes));
        let bytes = bytes.ok_or_else(|| {
            CliError::usage(format!("`{size}` is no size of memory")).hint("use 16Mi to 1Ti, such as 512Mi")
        })?;
        request.memory_bytes = named.iter().map(|process| (process.clone(), bytes)).collect();
    }
    Ok(request)
}

fn replicas(text: &str) -> Result<u32> {
    crate::args::replicas(text).map_err(|wrong| CliError::usage(wrong.to_string()).hint(wrong.fix))
}

pub(super) fn known(app: &App, process: &str) -> Result<String> {
    if app.processes.contains_key(process) {
        return Ok(process.to_owned());
    }
    let error = CliError::new(ErrorCode::NotFound, format!("`{}` has no process `{process}`", app.name));
    let names: Vec<&str> = app.processes.keys().map(String::as_str).collect();
    Err(match closest(process, names.iter().copied()) {
        Some(close) => error.hint(format!("did you mean `{close}`?")),
        None if names.is_empty() => error.hint("it has none before its first deploy"),
        None => error.hint(format!(
            "it has: {}; a number alone is for `web`, as in `panda scale 3`",
            names.join(", ")
        )),
    })
}

/// Returns `web`, or the only process.
pub(super) fn main_process(app: &App) -> Result<String> {
    if app.processes.contains_key("web") {
        return Ok("web".to_owned());
    }
    let mut names = app.processes.keys();
    match (names.next(), names.next()) {
        (Some(only), None) => Ok(only.clone()),
        (None, _) => Err(CliError::new(ErrorCode::Conflict, format!("`{}` was never deployed", app.name))
            .hint("use `panda deploy --replicas N`")),
        _ => Err(CliError::usage(format!("`{}` has several processes and no `web`", app.name))
            .hint("name one: panda scale worker=3")),
    }
}

/// Shows the scale of every process.
pub(super) fn show(session: &Session, app: &App) {
    if session.out.json {
        session.out.json(app);
        return;
    }
    let rows = app.processes.iter().map(|(name, scale)| {
        let ready = match scale.replicas {
            0 => "-".to_owned(),
            replicas => format!("{} of {replicas}", scale.ready),
        };
        vec![
            name.clone(),
            scale
                .autoscale
                .as_ref()
                .map_or_else(|| scale.replicas.to_string(), |bounds| bounded(bounds, scale.replicas)),
            ready,
            cores(scale.cpu_millis),
            memory(scale.memory_bytes),
        ]
    });
    session.out.table(&["process", "replicas", "ready", "cpu", "memory"], rows.collect());
}
