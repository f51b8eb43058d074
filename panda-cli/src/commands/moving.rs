//! `move`: an app from one server to another. This program only carries; it can read none of the secrets.

mod image;

use panda_api_types::{
    App, AppRequest, DeploymentAccepted, Domain, DomainRequest, ErrorCode, MoveInRequest, MoveKey, MoveOut,
    MoveOutRequest,
};
use reqwest::Method;
use std::time::Duration;

use crate::api::{Api, Ask};
use crate::args::MoveArgs;
use crate::error::{CliError, Result};
use crate::follow::{self, Interrupt};
use crate::session::{Session, Target};
use crate::target::{address_of, app_name, other_server};

/// How long the exchange of a bundle may take.
const BUNDLE: Duration = Duration::from_mins(2);

/// Moves one app, or all of a project.
pub(super) async fn run(session: &Session, args: &MoveArgs) -> Result<()> {
    let there = Session {
        shared: session.shared.clone(),
        out: session.out.clone(),
        place: session.place.clone(),
        api: Api::new(other_server(&args.to_server)?)?,
    };
    if address_of(&there.api.server.url) == address_of(&session.api.server.url) {
        return Err(CliError::usage("`--to-server` is the server that the app is on")
            .hint("name the old one with --server, the new one with --to-server"));
    }
    let key: MoveKey = there.api.body(there.api.request(Method::POST, &Ask::at(["moves", "key"]))).await?;
    session.out.say(&format!("`{}` opens what is moved with key {}", there.api.server.url, key.fingerprint));
    for target in targets(session, args).await? {
        one(session, &there, &key, &target).await?;
    }
    Ok(())
}

async fn targets(session: &Session, args: &MoveArgs) -> Result<Vec<Target>> {
    let Some(project) = &args.project else { return Ok(vec![session.target()?]) };
    let environment = session.place.environment(&session.shared)?;
    let apps: Vec<App> = session.api.list(&Ask::at(["apps"]).with("project", project), None).await?;
    let here = apps.iter().filter(|app| app.environment == environment.as_str());
    here.map(|app| Ok(Target { app: app_name(&app.name)?, environment: environment.clone() })).collect()
}

/// Image first, then settings and release, then domains: so that whatever breaks off can be run again.
async fn one(session: &Session, there: &Session, key: &MoveKey, target: &Target) -> Result<()> {
    let request = MoveOutRequest { to: key.clone(), to_server: address_of(&there.api.server.url) };
    let out: MoveOut = session.api.exchange(Method::POST, &target.ask(["moves", "out"]), &request).await?;
    say_goods(session, target, &out);
    make_app(there, target, &out).await?;
    if out.carried {
        image::carry(session, there, target, &out.digest).await?;
    }
    let mut interrupt = Interrupt::listen()?;
    let from_server = address_of(&session.api.server.url);
    let body = MoveInRequest { bundle: out.bundle, from_server };
    let request = there.api.request(Method::POST, &target.ask(["moves", "in"])).timeout(BUNDLE).json(&body);
    let accepted: DeploymentAccepted = there.api.body(request).await?;
    let domains = domains(session, there, target).await?;
    let followed = follow::accepted(there, target, &accepted, false, &mut interrupt).await;
    if followed.is_ok() {
        say_next(session, there, target, &accepted.app.url, &domains);
    }
    followed
}

fn say_goods(session: &Session, target: &Target, out: &MoveOut) {
    let replicas: Vec<String> =
        out.replicas.iter().map(|(name, count)| format!("{name} × {count}")).collect();
    session.out.say(&format!(
        "`{}` v{}: {} variables, {} secrets (sealed), {}",
        target.app,
        out.release,
        out.env.len(),
        out.secrets.len(),
        replicas.join(", ")
    ));
    if !out.carried {
        session.out.say(&format!("its image is pulled from where it is: {}", out.image));
    }
}

async fn make_app(there: &Session, target: &Target, out: &MoveOut) -> Result<()> {
    match there.api.get::<App>(&target.ask([])).await {
        Ok(_) => return Ok(()),
        Err(error) if error.code() == Some(ErrorCode::NotFound) => {}
        Err(error) => return Err(error),
    }
    let request = AppRequest { name: target.app.to_string(), project: Some(out.project.clone()) };
    let _: App = there.api.exchange(Method::POST, &Ask::at(["apps"]), &request).await?;
    there.out.say(&format!("made app `{}`", target.app));
    Ok(())
}

/// Adds the domains, unproven, and returns them with the records that they need.
async fn domains(session: &Session, there: &Session, target: &Target) -> Result<Vec<Domain>> {
    let here: Vec<Domain> = session.api.list(&target.ask(["domains"]), None).await?;
    let mut added = Vec::new();
    for domain in here.into_iter().filter(|domain| domain.kind == "domain") {
        let request = DomainRequest { host: domain.host.clone(), path: Some(domain.path.clone()) };
        match there.api.exchange(Method::POST, &target.ask(["domains"]), &request).await {
            Ok(domain) => added.push(domain),
            // Of an earlier run, or somebody else's: the look tells.
            Err(error) if error.code() == Some(ErrorCode::NameTaken) => {
                let look = there.api.request(Method::POST, &target.ask(["domains", &domain.host, "verify"]));
                let found: Result<Domain> = there.api.body(look).await;
                match found {
                    Ok(domain) => added.push(domain),
                    Err(_) => session.out.say(&format!("{}: {}", domain.host, error.detail())),
                }
            }
            // A domain that the new server reserves is no reason to leave the rest.
            Err(error) if error.code() == Some(ErrorCode::InvalidRequest) => {
                session.out.say(&format!("{} stays behind: {}", domain.host, error.detail()));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(added)
}

/// Says what is left for the person to do, in the order in which it hurts nobody.
fn say_next(session: &Session, there: &Session, target: &Target, url: &str, domains: &[Domain]) {
    let say = |text: &str| session.out.say(text);
    let (new, old) = (&there.api.server.url, &session.api.server.url);
    say(&format!("`{}` runs on `{new}` too; look at it: {url}", target.app));
    if domains.iter().any(|domain| !domain.verified) {
        say("its domains still lead to the old server. When it looks right, change these records:");
        for domain in domains.iter().filter(|domain| !domain.verified) {
            for record in &domain.records {
                let (kind, name, expected) = (&record.kind, &record.name, &record.expected);
                say(&format!("  {kind:5} {name}  ->  {expected}"));
            }
        }
        say(
            "  TXT first: it proves the domain without moving a visitor. Lower the TTL of A and AAAA an hour",
        );
        say(&format!(
            "  before; then `panda domains verify HOST -a {} --server {new}`, then change A and AAAA.",
            target.app
        ));
    }
    say(&format!(
        "nothing was removed from `{old}`: both run, and cron or workers run twice until you stop one."
    ));
    say(&format!("when the old one has no visitors any more: panda destroy {} --server {old}", target.app));
    say("volumes, databases, logs and earlier releases stay there.");
}
