//! A command inside a running instance.

use panda_deployer::desired::environment_of;
use panda_deployer::runtime::{ExecRequest, ExecSession, ObservedInstance, ObservedWorkload};
use panda_domain::ids::InstanceId;
use panda_domain::instance::InstanceState;
use panda_domain::names::{AppName, EnvironmentName, ProcessName};
use panda_domain::team::Permission;

use super::apps;
use super::events::{self, NewEventText};
use super::processes;
use crate::Platform;
use crate::auth::Principal;
use crate::error::{Error, Result};

/// Where to run what.
#[derive(Debug, Clone)]
pub struct ExecWish {
    /// The process; `web` or the only one unless given.
    pub process: Option<ProcessName>,
    /// The instance; any ready one unless given.
    pub instance: Option<InstanceId>,
    /// The command.
    pub request: ExecRequest,
}

/// Opens the session; the event is written before it, so that no session is without one.
pub async fn open(
    platform: &Platform,
    principal: &Principal,
    app: &AppName,
    environment: &EnvironmentName,
    wish: ExecWish,
) -> Result<ExecSession> {
    principal.require(Permission::Deploy, Some(app))?;
    if wish.request.command.first().is_none_or(String::is_empty) {
        return Err(Error::invalid_field("command", "is empty").with_hint("name a program, such as `sh`"));
    }
    let mut tx = platform.store.read().await?;
    let row = apps::require_living(&mut tx, &principal.team, app, environment).await?;
    if let Some(process) = &wish.process {
        processes::require(&mut tx, &row, process).await?;
    }
    drop(tx);
    let key = environment_of(&row.placement);
    let observed = platform.runtime.observe(&key).await?;
    let own = observed.iter().filter(|w| w.key.placement == row.placement.id);
    let instance = choose(own, &wish)?.id.clone();
    let mut tx = platform.store.begin().await?;
    let text = format!("opened a session in an instance of `{app}`: {}", wish.request.command[0]);
    let event = NewEventText { kind: "instance.exec", text };
    events::note_app(&mut tx, &principal.team, (&row.placement.app, app), &principal.actor(), event).await?;
    tx.commit().await?;
    Ok(platform.runtime.exec(&key, &instance, &wish.request).await?)
}

fn choose<'a>(
    workloads: impl Iterator<Item = &'a ObservedWorkload>,
    wish: &ExecWish,
) -> Result<&'a ObservedInstance> {
    let mut fits: Vec<(&ProcessName, u32, &ObservedInstance)> = workloads
        .filter(|w| wish.process.as_ref().is_none_or(|p| w.key.process == *p))
        .flat_map(|w| w.instances.iter().map(move |i| (&w.key.process, w.release_number, i)))
        .filter(|(_, _, i)| wish.instance.as_ref().is_none_or(|id| i.id == *id))
        .filter(|(_, _, i)| wish.instance.is_some() || i.state == InstanceState::Ready)
        .collect();
    // `web` first, then the newest release.
    fits.sort_by_key(|(process, release, _)| (!process.is_web(), std::cmp::Reverse(*release)));
    let none = || {
        Error::conflict("no instance is ready to run it in")
            .with_hint("`panda ps` shows the instances; `panda run` starts one of its own")
    };
    fits.first().map(|(_, _, instance)| *instance).ok_or_else(none)
}
