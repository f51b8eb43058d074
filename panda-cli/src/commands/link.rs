//! `link` and `unlink`: what a directory stands for.

use panda_api_types::{App, ErrorCode};
use panda_domain::names::{AppName, EnvironmentName};

use crate::api::Ask;
use crate::args::{LinkArgs, Shared};
use crate::ask;
use crate::error::{CliError, Result};
use crate::output::Output;
use crate::session::{NO_APP, Session, Target};
use crate::settings::{self, Link};
use crate::target::{Place, address_of, app_name, parse_server};

/// Makes the directory stand for an app that is there.
pub(super) async fn link(out: &Output, shared: &Shared, args: &LinkArgs) -> Result<()> {
    let place = Place::here()?;
    let environment = match &shared.environment {
        Some(environment) => Some(environment.parse::<EnvironmentName>()?),
        None => None,
    };
    let session = session(out, shared)?;
    let app = match args.name.as_ref().or(shared.app.as_ref()) {
        Some(name) => app_name(name)?,
        None => match place.manifest()?.and_then(|(_, manifest)| manifest.app) {
            Some(app) => app,
            None => chosen(out, session.as_ref()).await?,
        },
    };
    let server = match (&session, &shared.server) {
        (Some(session), _) => Some(address_of(&session.api.server.url)),
        (None, Some(server)) => Some(address_of(&parse_server(server)?)),
        (None, None) => None,
    };
    match &session {
        Some(session) => require(session, &app, environment.clone()).await?,
        None => out.say(&format!("note: you aren't signed in, so nobody looked whether `{app}` is there")),
    }
    let link = Link { app: app.to_string(), environment: environment.map(String::from), server };
    link.save(&place.directory)?;
    let text = format!("`{}` is `{app}` from now on", place.directory.display());
    out.done(&link, &text);
    Ok(())
}

/// Opens a session at the server that the link will name; `None` when this user isn't signed in there. What the directory
/// was linked to before doesn't count.
fn session(out: &Output, shared: &Shared) -> Result<Option<Session>> {
    let place = Place { link: None, ..Place::here()? };
    match Session::open(shared.clone(), out.clone(), place) {
        Ok(session) => Ok(session.api.server.token.is_some().then_some(session)),
        Err(error) if error.code() == Some(ErrorCode::Unauthenticated) => Ok(None),
        Err(error) => Err(error),
    }
}

async fn chosen(out: &Output, session: Option<&Session>) -> Result<AppName> {
    const FLAG: &str = "the app's name: panda link APP";
    let Some(session) = session.filter(|_| out.interactive()) else {
        return app_name(&ask::text(out, "Which app?", FLAG)?);
    };
    let apps: Vec<App> = session.api.list(&Ask::at(["apps"]), None).await?;
    let mut names: Vec<String> = apps.into_iter().map(|app| app.name).collect();
    names.sort();
    names.dedup();
    if names.is_empty() {
        return Err(CliError::new(ErrorCode::NotFound, "the team has no app yet")
            .hint("`panda deploy` makes one and links the directory"));
    }
    app_name(&ask::choose(out, "Which app?", names, FLAG)?)
}

/// Demands that the app is there. A server that can't tell right now isn't in the way.
async fn require(session: &Session, app: &AppName, environment: Option<EnvironmentName>) -> Result<()> {
    let environment = environment.unwrap_or_else(EnvironmentName::production);
    let target = Target { app: app.clone(), environment };
    let found: Result<App> = session.api.get(&target.ask([])).await;
    let Err(error) = found else { return Ok(()) };
    if error.code() == Some(ErrorCode::NotFound) {
        return Err(session.explain(&target, error.detail_instead(NO_APP.to_owned())).await);
    }
    session.out.say(&format!("note: nobody looked whether `{app}` is there: {}", error.detail()));
    Ok(())
}

/// Undoes a link.
pub(super) fn unlink(out: &Output) -> Result<()> {
    let place = Place::here()?;
    let Some((directory, link)) = place.link else {
        out.done(&serde_json::json!({ "unlinked": null }), "nothing is linked here");
        return Ok(());
    };
    settings::unlink(&directory)?;
    let text = format!("`{}` is no longer `{}`", directory.display(), link.app);
    out.done(&serde_json::json!({ "unlinked": link.app, "directory": directory }), &text);
    Ok(())
}
