//! `build`: how a directory would be built.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::Path;

use panda_api_types::{ErrorCode, PlanRequest, PlanView};
use reqwest::Method;

use crate::api::Ask;
use crate::args::{BuildArgs, Shared};
use crate::error::{CliError, Result};
use crate::output::Output;
use crate::progress::Progress;
use crate::session::Session;
use crate::target::Place;
use crate::upload::Tree;

/// Shows the plan, or writes what it generates.
pub(super) async fn run(out: &Output, shared: &Shared, args: &BuildArgs) -> Result<()> {
    let place = Place::of(Path::new(&args.path))?;
    let manifest = place.manifest()?;
    let session = Session::open(shared.clone(), out.clone(), place)?;
    let mut progress = Progress::new(out);
    let keep = manifest.and_then(|(_, manifest)| manifest.build.dockerfile).into_iter().collect();
    let tree = Tree::read(&session.place.directory, keep, &mut progress).await?;
    let tree = tree.send(&session.api, &mut progress).await?;
    let app = session.place.app_if_said(shared)?;
    let ask = Ask::at(["uploads", "plan"]).with_some("app", app);
    let plan: PlanView =
        session.api.exchange(Method::POST, &ask, &PlanRequest { tree, manifest: None }).await?;
    if args.eject {
        return eject(&session, &plan);
    }
    if out.json {
        out.json(&plan);
    } else {
        out.line(plan.text.trim_end());
    }
    Ok(())
}

fn eject(session: &Session, plan: &PlanView) -> Result<()> {
    for (name, text) in [("Dockerfile", &plan.dockerfile), (".dockerignore", &plan.dockerignore)] {
        let path = session.place.directory.join(name);
        let mut options = OpenOptions::new();
        if session.shared.yes {
            options.write(true).create(true).truncate(true);
        } else {
            options.write(true).create_new(true);
        }
        match options.open(&path).and_then(|mut file| file.write_all(text.as_bytes())) {
            Ok(()) => session.out.say(&format!("wrote {name}")),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                return Err(CliError::new(ErrorCode::Conflict, format!("{name} is already here"))
                    .hint("move it away, or pass -y to overwrite it"));
            }
            Err(error) => return Err(CliError::file("write", &path, &error)),
        }
    }
    if session.out.json {
        session.out.json(plan);
    }
    Ok(())
}
