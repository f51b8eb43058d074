//! `doctor`: what is wrong here, on the server, with an app.

use panda_api_types::{DoctorCheck, ErrorCode, ServerInfo, Whoami};

use crate::api::Ask;
use crate::args::{DoctorArgs, Shared};
use crate::error::{CliError, Result};
use crate::output::Output;
use crate::session::{NO_APP, Session, Target};
use crate::settings;
use crate::target::{Place, app_name};

/// Looks, and exits 6 when something failed.
pub(super) async fn run(out: &Output, shared: &Shared, args: &DoctorArgs) -> Result<()> {
    let mut checks = Vec::new();
    checks.push(if settings::logins_are_exposed() {
        let fix = format!("chmod 600 {}", settings::logins_path()?.display());
        check("logins", "warning", "other users of this machine can read the tokens", &fix)
    } else {
        check("logins", "ok", "only this user can read them", "")
    });
    let place = Place::here()?;
    checks.push(manifest(&place));
    match Session::open(shared.clone(), out.clone(), place) {
        Ok(session) => server(&session, args, &mut checks).await?,
        Err(error) => checks.push(failed("server", &error)),
    }
    tell(out, &checks)
}

fn check(name: &str, state: &str, seen: &str, fix: &str) -> DoctorCheck {
    let [name, state, seen, fix] = [name, state, seen, fix].map(str::to_owned);
    DoctorCheck { name, state, seen, fix }
}

fn failed(name: &str, error: &CliError) -> DoctorCheck {
    match error {
        CliError::Problem { problem, .. } => {
            check(name, "failed", &problem.detail, problem.hint.as_deref().unwrap_or_default())
        }
        CliError::Said(_) => check(name, "failed", "stopped", ""),
    }
}

fn manifest(place: &Place) -> DoctorCheck {
    match place.manifest() {
        Ok(Some(_)) => check("panda.toml", "ok", "every key is known", ""),
        Ok(None) => check("panda.toml", "ok", "none here; everything is detected", ""),
        Err(CliError::Problem { problem, .. }) => {
            let seen: Vec<String> =
                problem.errors.iter().map(|error| format!("{}: {}", error.field, error.message)).collect();
            check("panda.toml", "failed", &seen.join("; "), "correct the lines")
        }
        Err(error) => failed("panda.toml", &error),
    }
}

async fn server(session: &Session, args: &DoctorArgs, checks: &mut Vec<DoctorCheck>) -> Result<()> {
    let url = session.api.server.url.to_string();
    let info: ServerInfo = match session.api.get(&Ask::at(["server"])).await {
        Ok(info) => info,
        Err(error) => {
            checks.push(failed("server", &error));
            return Ok(());
        }
    };
    checks.push(check("server", "ok", &format!("{url} answers"), ""));
    let ours = env!("CARGO_PKG_VERSION");
    checks.push(if info.version == ours {
        check("version", "ok", &format!("client and server are {ours}"), "")
    } else {
        let seen = format!("client {ours}, server {}", info.version);
        check("version", "warning", &seen, "use the client of the server's version if something is odd")
    });
    match session.api.get::<Whoami>(&Ask::at(["whoami"])).await {
        Ok(whoami) => checks.push(check("login", "ok", &format!("{} ({})", whoami.email, whoami.role), "")),
        Err(error) => {
            checks.push(failed("login", &error));
            return Ok(());
        }
    }
    match session.api.list::<DoctorCheck>(&Ask::at(["doctor"]), None).await {
        Ok(more) => checks.extend(more),
        Err(error) if matches!(error.code(), Some(ErrorCode::Forbidden)) => {
            checks.push(check("server's own checks", "ok", "only admins may see them", ""));
        }
        Err(error) => checks.push(failed("server's own checks", &error)),
    }
    app(session, args, checks).await
}

/// Looks at the app that is named, or that the directory stands for. One that was named and isn't there is an error; a
/// directory that was never deployed isn't.
async fn app(session: &Session, args: &DoctorArgs, checks: &mut Vec<DoctorCheck>) -> Result<()> {
    let named = args.name.as_ref().or(session.shared.app.as_ref());
    let app = match named {
        Some(name) => app_name(name)?,
        // A broken panda.toml has its own line above; it isn't a reason to stop here.
        None => match session.place.app_if_said(&session.shared).ok().flatten() {
            Some(app) => app,
            None => return Ok(()),
        },
    };
    let target = Target { app, environment: session.place.environment(&session.shared)? };
    match session.api.list::<DoctorCheck>(&target.ask(["doctor"]), None).await {
        Ok(more) => checks.extend(more),
        Err(error) if error.code() == Some(ErrorCode::NotFound) => {
            let error = session.explain(&target, error.detail_instead(NO_APP.to_owned())).await;
            if named.is_some() {
                return Err(error);
            }
            checks.push(check("app", "warning", error.detail(), "panda deploy"));
        }
        Err(error) => checks.push(failed(&format!("app {}", target.app), &error)),
    }
    Ok(())
}

fn tell(out: &Output, checks: &[DoctorCheck]) -> Result<()> {
    if out.json {
        out.json(&checks);
    } else {
        for check in checks {
            out.line(&format!("{:<8} {}: {}", check.state, check.name, check.seen));
            if !check.fix.is_empty() {
                out.line(&format!("         {}", check.fix));
            }
        }
    }
    let broken = checks.iter().any(|check| check.state == "failed");
    if broken { Err(CliError::Said(ErrorCode::InvalidRequest.exit())) } else { Ok(()) }
}
