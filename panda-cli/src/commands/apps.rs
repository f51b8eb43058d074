//! `apps` and `destroy`.

use panda_api_types::{App, AppRequest, ErrorCode};
use reqwest::Method;

use crate::api::Ask;
use crate::args::{AppsCommand, DestroyArgs};
use crate::ask;
use crate::error::{CliError, Result};
use crate::session::{NO_APP, Session, Target};
use crate::settings;
use crate::table::release;
use crate::target::app_name;

use super::naming;

/// Lists apps, or makes one.
pub(super) async fn run(session: &Session, command: Option<AppsCommand>) -> Result<()> {
    match command.unwrap_or(AppsCommand::List { project: None }) {
        AppsCommand::List { project } => list(session, project).await,
        AppsCommand::Create { name, project } => {
            let request = AppRequest { name: app_name(&name)?.into(), project };
            let app: App = session.api.exchange(Method::POST, &Ask::at(["apps"]), &request).await?;
            if session.out.json {
                session.out.json(&app);
            } else {
                session.out.say(&format!("made app `{}`; it will answer at", app.name));
                session.out.line(&app.url);
            }
            Ok(())
        }
    }
}

async fn list(session: &Session, project: Option<String>) -> Result<()> {
    let apps: Vec<App> = session.api.list(&Ask::at(["apps"]).with_some("project", project), None).await?;
    if session.out.json {
        session.out.json(&apps);
        return Ok(());
    }
    if apps.is_empty() {
        session.out.say("no apps yet; `panda deploy` in a directory makes the first");
        return Ok(());
    }
    let rows = apps.iter().map(|app| {
        vec![
            app.name.clone(),
            app.project.clone(),
            app.environment.clone(),
            app.state.clone(),
            release(app.release),
            app.url.clone(),
        ]
    });
    session.out.table(&["app", "project", "environment", "state", "release", "url"], rows.collect());
    Ok(())
}

/// Removes an app, after its name was said twice.
pub(super) async fn destroy(session: &Session, args: &DestroyArgs) -> Result<()> {
    let app = app_name(&args.name)?;
    let shared = naming(&session.shared, &args.name);
    let target = Target { app: app.clone(), environment: session.place.environment(&shared)? };
    let found: Result<App> = session.api.get(&target.ask([])).await;
    if let Err(error) = found {
        let error = match error.code() {
            Some(ErrorCode::NotFound) => error.detail_instead(NO_APP.to_owned()),
            _ => error,
        };
        return Err(session.explain(&target, error).await);
    }
    let confirmed = if let Some(name) = &args.confirm {
        name.clone()
    } else {
        let question = format!("All releases, logs and variables of `{app}` go. Its name once more:");
        ask::text(&session.out, &question, &format!("--confirm {app}"))?
    };
    if confirmed != app.as_str() {
        return Err(CliError::usage(format!("`{confirmed}` isn't `{app}`; nothing was removed"))
            .hint(format!("panda destroy {app} --confirm {app}")));
    }
    let ask = Ask::at(["apps", app.as_str()]).with("confirm", &app);
    session.api.order(Method::DELETE, &ask).await?;
    if let Some((directory, link)) = session.place.link.as_ref().filter(|(_, link)| link.app == app.as_str())
    {
        settings::unlink(directory)?;
        session.out.say(&format!("`{}` is no longer `{}`", directory.display(), link.app));
    }
    let done = serde_json::json!({ "app": app, "state": "deleting" });
    session.out.done(&done, &format!("`{app}` is being removed"));
    Ok(())
}
