//! `doctor`: what is wrong here, on the server, with an app.

use panda_api_types::{DoctorCheck, ErrorCode, ServerInfo, Whoami};

use crate::api::{Api, Ask};
use crate::args::{DoctorArgs, Shared};
use crate::error::{CliError, Result};
use crate::output::Output;
use crate::session::{Session, Target};
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
    add_remote(&session.api, &Ask::at(["doctor"]), checks).await;
    let named = args.name.as_deref().map(app_name).transpose()?;
    // A broken panda.toml has its own line above; it isn't a reason to stop here.
    if let Some(app) = named.or_else(|| session.place.app_if_said(&session.shared).ok().flatten()) {
        let environment = session.place.environment(&session.shared)?;
        add_remote(&session.api, &Target { app, environment }.ask(["doctor"]), checks).await;
    }
    Ok(())
}

async fn add_remote(api: &Api, ask: &Ask, checks: &mut Vec<DoctorCheck>) {
    match api.list::<DoctorCheck>(ask, None).await {
        Ok(more) => checks.extend(more),
        Err(error) if matches!(error.code(), Some(ErrorCode::Forbidden)) => {
            checks.push(check("server's own checks", "ok", "only admins may see them", ""));
        }
        Err(error) => checks.push(failed("server's own checks", &error)),
    }
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
