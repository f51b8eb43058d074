//! `deploy`, `rollback`, `restart`, `cancel`: everything that makes a deployment or ends one.

use std::path::Path;

use panda_api_types::{
    App, AppRequest, DeployRequest, Deployment, DeploymentAccepted, DeploymentOverrides, ErrorCode,
    RollbackRequest,
};
use panda_domain::clock::Clock;
use panda_domain::ids::{DeploymentId, IdSource};
use panda_domain::image::ImageReference;
use panda_domain::manifest::{Manifest, closest};
use panda_domain::names::{AppName, EnvKey};
use reqwest::Method;

use crate::api::Ask;
use crate::args::{CancelArgs, DeployArgs, FollowArgs, RollbackArgs, Shared};
use crate::ask;
use crate::error::{CliError, EXIT_INTERRUPTED, Result};
use crate::follow::{self, Interrupt};
use crate::git;
use crate::output::Output;
use crate::progress::Progress;
use crate::session::{Session, Target};
use crate::settings::Link;
use crate::target::{Place, address_of};
use crate::upload::Tree;

use super::{local, pair, release_number};

/// Deploys a directory or an image.
pub(super) async fn deploy(out: &Output, shared: &Shared, args: DeployArgs) -> Result<()> {
    let place = Place::of(Path::new(&args.path))?;
    let manifest = place.manifest()?;
    let overrides = overrides(&args)?;
    if let Some(image) = &args.image {
        image.parse::<ImageReference>().map_err(|error| {
            CliError::new(ErrorCode::InvalidRequest, error.to_string())
                .hint("such as nginx:1.29 or ghcr.io/acme/api@sha256:…")
        })?;
    }
    let session = Session::open(shared.clone(), out.clone(), place)?;
    refuse_home(&session.place, &args)?;
    let aim = aim(&session, manifest.as_ref().map(|(_, manifest)| manifest))?;
    let mut interrupt = Interrupt::listen()?;
    // A name that wasn't typed is said, so that nobody deploys to another app than they mean.
    if session.shared.app.is_none() && !out.json {
        out.say(&format!("deploying to `{}` in {}", aim.target.app, aim.target.environment));
    }
    let prepared = prepare(&session, &aim, &args, manifest);
    let Some(request) = interrupt.or(prepared).await else {
        session.out.say("\nstopped; nothing was deployed, and what was sent isn't sent again");
        return Err(CliError::Said(EXIT_INTERRUPTED));
    };
    let mut request = request?;
    request.overrides = overrides;
    let target = &aim.target;
    let accepted: DeploymentAccepted =
        session.api.exchange(Method::POST, &target.ask(["deployments"]), &request).await?;
    link_if_new(&session, target, &args)?;
    follow::accepted(&session, target, &accepted, args.follow.detach, &mut interrupt).await
}

fn overrides(args: &DeployArgs) -> Result<DeploymentOverrides> {
    let mut env = std::collections::BTreeMap::new();
    for item in &args.env {
        let (key, value) = pair(item)?;
        key.parse::<EnvKey>()?;
        env.insert(key, value);
    }
    Ok(DeploymentOverrides { replicas: args.replicas, env, port: args.port })
}

/// What is deployed where.
struct Aim {
    target: Target,
    /// Whether somebody named the app, by a flag or a link; otherwise the name was found in the directory.
    named: bool,
}

/// Returns the app: flag, link, panda.toml, the directory's name.
fn aim(session: &Session, manifest: Option<&Manifest>) -> Result<Aim> {
    let environment = session.place.environment(&session.shared)?;
    let linked = session.place.link.as_ref().map(|(_, link)| link.app.clone());
    let said = session.shared.app.clone().or(linked);
    let named = said.is_some();
    let app: AppName = match said {
        Some(name) => crate::target::app_name(&name)?,
        None => match manifest.and_then(|manifest| manifest.app.clone()) {
            Some(app) => app,
            None => local::directory_name(&session.place)?,
        },
    };
    if let Some(other) = manifest.and_then(|manifest| manifest.app.as_ref()).filter(|other| **other != app) {
        let detail = format!("panda.toml is for the app `{other}`, but the deploy is for `{app}`");
        return Err(CliError::new(ErrorCode::InvalidManifest, detail).hint(format!(
            "deploy with `-a {other}`, or change the file; `panda link {other}` sets it for good"
        )));
    }
    Ok(Aim { target: Target { app, environment }, named })
}

/// A home directory, or the whole machine, is deployed by mistake only.
fn refuse_home(place: &Place, args: &DeployArgs) -> Result<()> {
    let home = etcetera::home_dir().ok().and_then(|home| home.canonicalize().ok());
    let (what, is_it) = match &place.directory {
        directory if directory.parent().is_none() => ("the root of this machine", true),
        directory => ("your home directory", home.as_ref() == Some(directory)),
    };
    if !is_it || args.path != "." || args.image.is_some() {
        return Ok(());
    }
    Err(CliError::usage(format!("this is {what}, and all of it would be sent"))
        .hint("go to the app's directory, or name it: panda deploy PATH"))
}

/// Reads the directory, makes sure of the app, and sends what the server lacks.
async fn prepare(
    session: &Session,
    aim: &Aim,
    args: &DeployArgs,
    manifest: Option<(String, Manifest)>,
) -> Result<DeployRequest> {
    let mut request = DeployRequest { no_cache: args.no_cache, ..DeployRequest::default() };
    let ids = IdSource::random(Clock::system());
    request.idempotency_key = Some(ids.next::<DeploymentId>().as_str().to_owned());
    if let Some(image) = &args.image {
        ensure_app(session, aim, args.create).await?;
        request.image = Some(image.clone());
        request.manifest = manifest.map(|(text, _)| text);
        return Ok(request);
    }
    let mut progress = Progress::new(&session.out);
    let keep = manifest.and_then(|(_, manifest)| manifest.build.dockerfile).into_iter().collect();
    // First of all: no app is made for a directory that has nothing in it.
    let tree = Tree::read(&session.place.directory, keep, &mut progress).await?;
    ensure_app(session, aim, args.create).await?;
    request.tree = Some(tree.send(&session.api, &mut progress).await?);
    request.git_sha = git::head(&session.place.directory);
    Ok(request)
}

/// Makes the app if it isn't there. Where nobody can be asked, a name that somebody gave may be a slip, and then only a
/// flag makes an app; so may one that is close to another app's.
async fn ensure_app(session: &Session, aim: &Aim, create: bool) -> Result<()> {
    let Aim { target, named } = aim;
    let found: Result<App> = session.api.get(&target.ask([])).await;
    let missing = match found {
        Ok(_) => return Ok(()),
        Err(error) if error.code() == Some(ErrorCode::NotFound) => {
            error.detail_instead(format!("there is no app `{}`", target.app))
        }
        Err(error) => return Err(error),
    };
    if !(create || session.shared.yes) {
        if session.out.interactive() {
            let question = format!("There is no app `{}` yet. Make it?", target.app);
            if !ask::confirm(&session.out, false, &question, "--create")? {
                return Err(missing.hint_instead("name another app with -a APP".to_owned()));
            }
        } else {
            let close = close_app(session, target).await?;
            if *named || close.is_some() {
                let hint = match close {
                    Some(close) => format!("did you mean `{close}`? If not, pass --create"),
                    None => "pass --create to make it; `panda apps list` shows all".to_owned(),
                };
                return Err(missing.hint_instead(hint));
            }
        }
    }
    let request = AppRequest { name: target.app.to_string(), project: None };
    let _: App = session.api.exchange(Method::POST, &Ask::at(["apps"]), &request).await?;
    session.out.say(&format!("made app `{}`", target.app));
    Ok(())
}

async fn close_app(session: &Session, target: &Target) -> Result<Option<String>> {
    let apps: Vec<App> = session.api.list(&Ask::at(["apps"]), None).await?;
    let names = apps.iter().map(|app| app.name.as_str());
    Ok(closest(target.app.as_str(), names).map(str::to_owned))
}

/// Links the directory at its first deploy, so that every verb in it means this app.
fn link_if_new(session: &Session, target: &Target, args: &DeployArgs) -> Result<()> {
    if session.place.link.is_some() || args.image.is_some() {
        return Ok(());
    }
    let environment = (target.environment.as_str() != "production").then(|| target.environment.to_string());
    let server = Some(address_of(&session.api.server.url));
    Link { app: target.app.to_string(), environment, server }.save(&session.place.directory)
}

/// Goes back to an earlier release.
pub(super) async fn rollback(session: &Session, args: &RollbackArgs) -> Result<()> {
    let release = args.release.as_deref().map(release_number).transpose()?;
    let target = session.target()?;
    let mut interrupt = Interrupt::listen()?;
    let request = RollbackRequest { release };
    let accepted = session.api.exchange(Method::POST, &target.ask(["rollback"]), &request).await?;
    follow::accepted(session, &target, &accepted, args.follow.detach, &mut interrupt).await
}

/// Replaces all instances.
pub(super) async fn restart(session: &Session, args: &FollowArgs) -> Result<()> {
    let target = session.target()?;
    let mut interrupt = Interrupt::listen()?;
    let request = session.api.request(Method::POST, &target.ask(["restart"]));
    let accepted = session.api.body(request).await?;
    follow::accepted(session, &target, &accepted, args.detach, &mut interrupt).await
}

/// Cancels a deployment.
pub(super) async fn cancel(session: &Session, args: CancelArgs) -> Result<()> {
    let target = session.target()?;
    let id = match args.deployment {
        Some(id) => id,
        None => active(session, &target).await?,
    };
    let request = session.api.request(Method::POST, &target.ask(["deployments", &id, "cancel"]));
    let deployment: Deployment = session.api.body(request).await?;
    if session.out.json {
        session.out.json(&deployment);
    } else {
        session.out.say(&format!("{id} is being canceled ({})", deployment.state.replace('_', " ")));
    }
    Ok(())
}

async fn active(session: &Session, target: &Target) -> Result<String> {
    let newest: Vec<Deployment> = session.api.list(&target.ask(["deployments"]), Some(5)).await?;
    newest.into_iter().find(|deployment| deployment.active).map(|deployment| deployment.id).ok_or_else(|| {
        CliError::new(ErrorCode::Conflict, format!("no deployment of `{}` is going on", target.app))
            .hint("`panda status` shows how the newest ended")
    })
}
