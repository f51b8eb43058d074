//! An app as a compose file: what Panda would ask the engine for, without what is Panda's own.

mod caddyfile;
mod compose;
mod readme;

use panda_deployer::export::{ExportedApp, PlainFile};
use panda_deployer::runtime::{RuntimeError, RuntimeResult};

/// Writes an app as a compose file, with what a proxy in front of it has to know.
pub fn compose(app: &ExportedApp) -> RuntimeResult<Vec<PlainFile>> {
    let text = serde_saphyr::to_string(&compose::of(app)).map_err(|error| RuntimeError::Internal {
        doing: "write a compose file".to_owned(),
        source: Box::new(error),
    })?;
    let mut files = vec![PlainFile::new("compose.yaml", text)];
    let holes = app.holes();
    if !holes.is_empty() {
        let lines = holes.iter().map(|name| format!("{name}=\n")).collect::<Vec<_>>().concat();
        files.push(PlainFile::new(".env.example", lines));
        files.push(PlainFile::new(".gitignore", "/.env\n"));
    }
    files.extend(caddyfile::text(app).map(|text| PlainFile::new("Caddyfile", text)));
    files.push(PlainFile::new("README.md", readme::text(app)));
    Ok(files)
}

/// Where the instances of the process that takes requests are published on the host: one port each.
fn published(app: &ExportedApp) -> Option<(u16, u16)> {
    let (web, port) = app.web()?;
    let more = u16::try_from(web.replicas.saturating_sub(1)).unwrap_or(u16::MAX);
    // Ports below 1024 take rights that not everybody has.
    let first = if port < 1024 { 8080 } else { port };
    Some((first, first.saturating_add(more)))
}
