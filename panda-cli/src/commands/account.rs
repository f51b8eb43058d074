//! Signing in and out.

use std::time::{Duration, Instant};

use panda_api_types::{DeviceCode, DeviceCodeRequest, DeviceTokenRequest, ErrorCode, TokenCreated, Whoami};
use reqwest::Method;

use crate::api::{Api, Ask};
use crate::args::{LoginArgs, Shared};
use crate::ask;
use crate::error::{CliError, EXIT_INTERRUPTED, Result};
use crate::follow::Interrupt;
use crate::output::Output;
use crate::pin::{self, Met};
use crate::session::Session;
use crate::settings::{Login, Logins};
use crate::target::{LOCAL_SERVER, Place, Server, address_of, parse_server};

/// Signs in, and makes the server the current one.
pub(super) async fn login(out: &Output, shared: &Shared, args: &LoginArgs) -> Result<()> {
    let known = known_server(shared)?;
    let Met { info, ca } = pin::meet(out, shared.yes, args, &known).await?;
    if !info.claimed {
        return Err(CliError::new(ErrorCode::Unclaimed, format!("`{}` has no owner yet", known.url)).hint(
            format!("open {} and use the token that the server printed at its first start", info.url),
        ));
    }
    let mut server = Server { url: known.url, token: None, ca };
    let secret = match &args.token {
        Some(token) if token == "-" => ask::stdin()?,
        Some(token) => token.clone(),
        None => device(out, &Api::new(server.clone())?).await?,
    };
    server.token = Some(secret.trim().to_owned());
    let api = Api::new(server.clone())?;
    let whoami: Whoami = api.get(&Ask::at(["whoami"])).await.map_err(|error| match error.code() {
        Some(ErrorCode::Unauthenticated) => {
            CliError::new(ErrorCode::Unauthenticated, format!("`{}` doesn't know this token", server.url))
                .hint("it may have ended or been revoked; `panda login` makes a new one")
        }
        _ => error,
    })?;
    remember(&server, &whoami)?;
    if out.json {
        out.json(&whoami);
    } else {
        out.say(&format!("signed in to {} as {} (team {})", server.url, whoami.email, whoami.team_name));
    }
    Ok(())
}

/// Returns the server to sign in to: flag, variable, link, last login, this machine.
fn known_server(shared: &Shared) -> Result<Server> {
    let place = Place::here()?;
    match place.server(shared) {
        Ok(server) => Ok(Server { token: None, ..server }),
        Err(error) if error.code() == Some(ErrorCode::Unauthenticated) => {
            let linked = place.link.and_then(|(_, link)| link.server);
            let url = parse_server(linked.as_deref().unwrap_or(LOCAL_SERVER))?;
            Ok(Server { url, token: None, ca: None })
        }
        Err(error) => Err(error),
    }
}

fn remember(server: &Server, whoami: &Whoami) -> Result<()> {
    let mut logins = Logins::load()?;
    let address = address_of(&server.url);
    let login = Login {
        token: server.token.clone().unwrap_or_default(),
        email: whoami.email.clone(),
        ca: server.ca.clone(),
    };
    logins.servers.insert(address.clone(), login);
    logins.current = Some(address);
    logins.save()
}

/// Signs in by a code that is approved in a browser (RFC 8628).
async fn device(out: &Output, api: &Api) -> Result<String> {
    let name = format!("panda on {}", host_name());
    let request = DeviceCodeRequest { client_name: name };
    let code: DeviceCode = api.exchange(Method::POST, &Ask::at(["device", "code"]), &request).await?;
    out.say(&format!(
        "open   {}\ncode   {}\n\nwaiting for the approval …",
        code.verification_uri_complete, code.user_code
    ));
    let mut interrupt = Interrupt::listen()?;
    match interrupt.or(poll(api, &code)).await {
        Some(secret) => secret,
        None => Err(CliError::Said(EXIT_INTERRUPTED)),
    }
}

async fn poll(api: &Api, code: &DeviceCode) -> Result<String> {
    let ends = Instant::now() + Duration::from_secs(u64::from(code.expires_in));
    let mut pause = Duration::from_secs(u64::from(code.interval.max(1)));
    let request = DeviceTokenRequest { device_code: code.device_code.clone() };
    while Instant::now() < ends {
        tokio::time::sleep(pause).await;
        let answer: Result<TokenCreated> =
            api.exchange(Method::POST, &Ask::at(["device", "token"]), &request).await;
        match answer {
            Ok(created) => return Ok(created.secret),
            Err(error) => match error.code() {
                Some(ErrorCode::AuthorizationPending | ErrorCode::Unavailable) => {}
                Some(ErrorCode::SlowDown | ErrorCode::RateLimited) => pause += Duration::from_secs(5),
                Some(ErrorCode::Forbidden) => {
                    return Err(CliError::new(ErrorCode::Forbidden, "the login was denied"));
                }
                _ => return Err(error.hint("run `panda login` again")),
            },
        }
    }
    Err(CliError::new(ErrorCode::Expired, "nobody approved the login in time")
        .hint("run `panda login` again"))
}

fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname")
        .ok()
        .or_else(|| std::env::var("HOSTNAME").ok())
        .unwrap_or_default();
    let name: String =
        name.trim().chars().filter(|c| c.is_ascii_alphanumeric() || "-._".contains(*c)).take(40).collect();
    if name.is_empty() { "this machine".to_owned() } else { name }
}

/// Forgets the server's token, here; `panda tokens revoke` ends it there.
pub(super) fn logout(out: &Output, shared: &Shared) -> Result<()> {
    let server = match Place::here()?.server(shared) {
        Ok(server) => server,
        Err(error) if error.code() == Some(ErrorCode::Unauthenticated) => {
            out.done(&serde_json::json!({ "signed_out": null }), "nobody is signed in");
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    let mut logins = Logins::load()?;
    let address = address_of(&server.url);
    let was = logins.servers.remove(&address);
    if logins.current.as_deref() == Some(address.as_str()) {
        logins.current = logins.servers.keys().next().cloned();
    }
    logins.save()?;
    let (gone, text) = match was {
        Some(_) => (Some(&address), format!("signed out of {address}")),
        None => (None, format!("nobody is signed in to {address}")),
    };
    out.done(&serde_json::json!({ "signed_out": gone }), &text);
    if std::env::var_os("PANDA_TOKEN").is_some_and(|token| !token.is_empty()) {
        out.say("note: PANDA_TOKEN is set, and verbs go on using it");
    }
    Ok(())
}

/// Shows who is signed in, and where.
pub(super) async fn whoami(session: &Session) -> Result<()> {
    let whoami: Whoami = session.api.get(&Ask::at(["whoami"])).await?;
    if session.out.json {
        session.out.json(&whoami);
        return Ok(());
    }
    session.out.line(&format!("{} ({} of team {})", whoami.email, whoami.role, whoami.team_name));
    session.out.say(&format!("at {} by {}, scope {}", session.api.server.url, whoami.via, whoami.scope));
    Ok(())
}
