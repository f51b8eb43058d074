//! Verbs that need no server.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};

use clap::CommandFactory;
use panda_api_types::ErrorCode;
use panda_domain::manifest;
use panda_domain::names::AppName;

use crate::args::{Cli, CompletionArgs, InitArgs, Shared};
use crate::error::{CliError, Result};
use crate::output::Output;
use crate::target::{Place, app_name};

/// Prints a shell's completion script.
#[expect(clippy::unnecessary_wraps, reason = "all verbs have one shape")]
pub(super) fn completion(args: &CompletionArgs) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "panda", &mut script);
    // A reader that left early wants no more of it.
    let _ = std::io::stdout().lock().write_all(&script);
    Ok(())
}

/// Writes panda.toml; an existing one stays.
pub(super) fn init(out: &Output, shared: &Shared, args: &InitArgs) -> Result<()> {
    let place = Place::here()?;
    let said = args.name.as_ref().or(shared.app.as_ref());
    let name = match said {
        Some(name) => app_name(name)?,
        None => directory_name(&place)?,
    };
    let path = place.directory.join(manifest::FILE_NAME);
    let text = manifest::example().replacen("app = \"my-app\"", &format!("app = \"{name}\""), 1);
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&path)
        .and_then(|mut file| file.write_all(text.as_bytes()));
    match written {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            return Err(CliError::new(ErrorCode::Conflict, "panda.toml is already here")
                .hint("edit it, or move it away first"));
        }
        Err(error) => return Err(CliError::file("write", &path, &error)),
    }
    if out.json {
        out.json(&serde_json::json!({ "file": path, "app": name }));
    } else {
        out.say(&format!("wrote panda.toml for `{name}`; every line in it is optional"));
    }
    Ok(())
}

/// Returns the app name that a directory's name makes.
pub(super) fn directory_name(place: &Place) -> Result<AppName> {
    let directory =
        place.directory.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    AppName::from_directory(&directory).ok_or_else(|| {
        CliError::usage(format!("`{directory}` makes no app name")).hint("name the app: -a APP")
    })
}
