//! One file a noun; here only the way from a parsed verb to it.

use std::future::Future;

use panda_api_types::ErrorCode;

use crate::args::{Cli, Shared, Verb};
use crate::error::{CliError, Result};
use crate::output::Output;
use crate::session::Session;
use crate::target::Place;

mod account;
mod apps;
mod autoscale;
mod build;
mod certs;
mod deploy;
mod doctor;
mod domains;
mod env;
mod events;
mod exec;
mod export;
mod link;
mod local;
mod logs;
mod moving;
mod open;
pub(crate) mod ports;
mod releases;
mod scale;
mod status;
mod tokens;

/// Does what the command line says.
pub(crate) fn run(cli: Cli, out: &Output) -> Result<()> {
    let Cli { shared, verb } = cli;
    match verb {
        Verb::Completion(args) => local::completion(&args),
        Verb::Init(args) => local::init(out, &shared, &args),
        Verb::Link(args) => wait(link::link(out, &shared, &args)),
        Verb::Unlink => link::unlink(out),
        Verb::Logout => account::logout(out, &shared),
        Verb::Login(args) => wait(account::login(out, &shared, &args)),
        Verb::Doctor(args) => wait(doctor::run(out, &shared, &args)),
        Verb::Deploy(args) => wait(deploy::deploy(out, &shared, args)),
        Verb::Build(args) => wait(build::run(out, &shared, &args)),
        other => {
            let session = || Session::open(shared.clone(), out.clone(), Place::here()?);
            wait(async { with_session(&session()?, other).await })
        }
    }
}

async fn with_session(session: &Session, verb: Verb) -> Result<()> {
    let result = match verb {
        Verb::Whoami => account::whoami(session).await,
        Verb::Cancel(args) => deploy::cancel(session, args).await,
        Verb::Ps => status::instances(session).await,
        Verb::Status(args) => status::status(session, &args).await,
        Verb::Logs(args) => logs::run(session, &args).await,
        Verb::Env { command } => env::run(session, command).await,
        Verb::Autoscale(args) => autoscale::run(session, &args).await,
        Verb::Scale(args) => scale::run(session, &args).await,
        Verb::Releases(args) => releases::run(session, args).await,
        Verb::Rollback(args) => deploy::rollback(session, &args).await,
        Verb::Restart(args) => deploy::restart(session, &args).await,
        Verb::Exec(args) => exec::exec(session, args).await,
        Verb::Run(args) => exec::run(session, args).await,
        Verb::Domains { command } => domains::run(session, command).await,
        Verb::Ports => ports::run(session).await,
        Verb::Certs { command } => certs::run(session, command).await,
        Verb::Open(args) => open::run(session, &args).await,
        Verb::Events(args) => events::run(session, &args).await,
        Verb::Manifest => status::manifest(session).await,
        Verb::Export(args) => export::run(session, &args).await,
        Verb::Apps { command } => apps::run(session, command).await,
        Verb::Move(args) => moving::run(session, &args).await,
        Verb::Destroy(args) => apps::destroy(session, &args).await,
        Verb::Tokens { command } => tokens::run(session, command).await,
        Verb::Login(_)
        | Verb::Logout
        | Verb::Init(_)
        | Verb::Link(_)
        | Verb::Unlink
        | Verb::Deploy(_)
        | Verb::Build(_)
        | Verb::Doctor(_)
        | Verb::Completion(_) => unreachable!("taken before a session was opened"),
    };
    match (result, session.target()) {
        (Err(error), Ok(target)) => Err(session.explain(&target, error).await),
        (result, _) => result,
    }
}

/// Runs a verb that waits for others. Only now TLS and the runtime are set up.
fn wait(work: impl Future<Output = Result<()>>) -> Result<()> {
    // Another provider can only be installed by ourselves; then it is the same one.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| CliError::new(ErrorCode::Internal, format!("start the runtime: {error}")))?;
    let result = runtime.block_on(work);
    // A thread may still wait for a key press; it ends with the process.
    runtime.shutdown_background();
    result
}

/// Parses a release's name: `v42` or `42`.
pub(crate) fn release_number(text: &str) -> Result<u32> {
    text.strip_prefix('v').unwrap_or(text).parse().ok().filter(|number| *number > 0).ok_or_else(|| {
        CliError::usage(format!("`{text}` is no release")).hint("such as v42; `panda releases` lists them")
    })
}

/// Parses `KEY=VALUE`.
pub(crate) fn pair(text: &str) -> Result<(String, String)> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(CliError::usage(format!("`{text}` is no KEY=VALUE")).hint("such as LOG_LEVEL=debug")),
    }
}

/// Returns the flags as they are for a verb that names its app itself.
pub(crate) fn naming(shared: &Shared, app: &str) -> Shared {
    Shared { app: Some(app.to_owned()), ..shared.clone() }
}
