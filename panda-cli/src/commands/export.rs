//! `export`: an app as files that need no Panda.

use std::fs;
use std::path::{Component, Path, PathBuf};

use panda_api_types::{ErrorCode, Export};
use serde_json::json;

use crate::args::ExportArgs;
use crate::error::{CliError, Result};
use crate::session::Session;

/// Writes the files of an app into a folder.
pub(super) async fn run(session: &Session, args: &ExportArgs) -> Result<()> {
    let target = session.target()?;
    let folder = Path::new(&args.directory);
    if !args.force {
        refuse_full(folder)?;
    }
    let export: Export = session.api.get(&target.ask(["export"]).with("format", &args.format)).await?;
    // All paths are looked at before the first file is written.
    let files = export.files.iter().map(|file| Ok((inside(folder, &file.path)?, &file.text)));
    for (path, text) in files.collect::<Result<Vec<_>>>()? {
        write(&path, text)?;
    }
    let paths: Vec<&str> = export.files.iter().map(|file| file.path.as_str()).collect();
    if session.out.json {
        let Export { app, environment, release, format, secrets, .. } = &export;
        session.out.json(&json!({
            "app": app, "environment": environment, "release": release, "format": format,
            "directory": args.directory, "files": paths, "secrets": secrets,
        }));
        return Ok(());
    }
    for path in paths {
        session.out.line(&folder.join(path).display().to_string());
    }
    session.out.say(&format!("exported `{}` v{} as {}", export.app, export.release, export.format));
    if !export.secrets.is_empty() {
        session.out.say(&format!("secrets to fill in: {}", export.secrets.join(", ")));
    }
    session.out.say(&format!("read {}", folder.join("README.md").display()));
    Ok(())
}

/// Refuses a folder that has something in it, so that nothing of somebody's is overwritten or taken for a part of the app.
fn refuse_full(folder: &Path) -> Result<()> {
    let entries = match fs::read_dir(folder) {
        Ok(mut entries) => entries.next(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(CliError::file("read", folder, &error)),
    };
    match entries {
        None => Ok(()),
        Some(_) => Err(CliError::new(ErrorCode::Conflict, format!("`{}` isn't empty", folder.display()))
            .hint("name another folder, or pass --force to write over files of the same name")),
    }
}

/// Returns where a file goes; a server can't send one beside the folder.
fn inside(folder: &Path, path: &str) -> Result<PathBuf> {
    let relative = Path::new(path);
    let plain = relative.components().all(|part| matches!(part, Component::Normal(_)));
    if path.is_empty() || !plain {
        let detail = format!("the server sent a file that would lie outside of the folder: `{path}`");
        return Err(CliError::new(ErrorCode::Internal, detail));
    }
    Ok(folder.join(relative))
}

fn write(path: &Path, text: &str) -> Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(|error| CliError::file("make", parent, &error))?;
    }
    fs::write(path, text).map_err(|error| CliError::file("write", path, &error))
}
