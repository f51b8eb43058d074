//! Everything about an app at a glance, as observed.

use panda_deployer::desired::environment_of;
use panda_deployer::runtime::{Check, CheckState, ObservedInstance, ObservedWorkload, Usage};
use panda_domain::instance::InstanceState;
use panda_domain::names::{AppName, EnvironmentName, ProcessName};
use panda_domain::team::Permission;
use panda_store::{DeploymentRow, PlacementRow};

use super::{apps, autoscale};
use crate::Platform;
use crate::auth::Principal;
use crate::error::Result;

/// How long a look at what instances use may take; the list is shown without otherwise.
const USAGE_PATIENCE: std::time::Duration = std::time::Duration::from_secs(3);

/// An instance with where it belongs and what it uses.
#[derive(Debug)]
pub struct SeenInstance {
    /// Its process.
    pub process: String,
    /// Its release.
    pub release: u32,
    /// As it was seen.
    pub instance: ObservedInstance,
    /// What it uses, where known.
    pub usage: Option<Usage>,
}

/// Reads an app's last observation.
pub fn observed(json: Option<&str>) -> Vec<ObservedWorkload> {
    json.and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default()
}

/// Returns an app's instances: seen now, or, when the runtime can't be asked, as they were last seen.
pub async fn instances(
    platform: &Platform,
    principal: &Principal,
    app: &AppName,
    environment: &EnvironmentName,
) -> Result<(PlacementRow, Vec<SeenInstance>)> {
    principal.require(Permission::Read, Some(app))?;
    let row =
        apps::require_placement(&mut platform.store.read().await?, &principal.team, app, environment).await?;
    let key = environment_of(&row.placement);
    let workloads = match platform.runtime.observe(&key).await {
        Ok(all) => all.into_iter().filter(|w| w.key.placement == row.placement.id).collect(),
        Err(_) => observed(row.observed.as_deref()),
    };
    let usage = platform.runtime.usage(&key, &row.placement.id);
    let usage = tokio::time::timeout(USAGE_PATIENCE, usage)
        .await
        .ok()
        .and_then(std::result::Result::ok)
        .unwrap_or_default();
    let seen = workloads.into_iter().flat_map(|workload| {
        let (process, release) = (workload.key.process.to_string(), workload.release_number);
        workload.instances.into_iter().map(move |instance| (process.clone(), release, instance))
    });
    let seen = seen.map(|(process, release, instance)| {
        let usage = usage.iter().find(|u| u.instance == instance.id).cloned();
        SeenInstance { process, release, instance, usage }
    });
    Ok((row, seen.collect()))
}

/// Returns the newest deployment of an app.
pub async fn newest_deployment(platform: &Platform, row: &PlacementRow) -> Result<Option<DeploymentRow>> {
    Ok(platform.store.read().await?.newest_deployment(&row.placement.id).await?)
}

/// Returns things that people should know about an app.
pub async fn notices(
    platform: &Platform,
    row: &PlacementRow,
    instances: &[SeenInstance],
) -> Result<Vec<String>> {
    let mut notices = Vec::new();
    if instances.iter().any(|seen| seen.instance.runs_as_root) {
        notices.push("runs as root: add a `USER` with a number to the image's Dockerfile".to_owned());
    }
    if let Some(release) = &row.placement.desired_release
        && let Some(release) = platform.store.read().await?.release_by_id(release).await?
        && release.env_version < row.env_version
    {
        notices.push("env was changed since the release: `panda restart` keeps the old values, `panda deploy` takes the new ones".to_owned());
    }
    Ok(notices)
}

/// Returns the generated objects of an app, secrets as holes.
pub async fn manifest(
    platform: &Platform,
    principal: &Principal,
    app: &AppName,
    environment: &EnvironmentName,
) -> Result<String> {
    principal.require(Permission::Read, Some(app))?;
    let row =
        apps::require_placement(&mut platform.store.read().await?, &principal.team, app, environment).await?;
    Ok(platform.runtime.manifest(&environment_of(&row.placement), &row.placement.id).await?)
}

/// Looks at everything that could be wrong with an app. What runs the containers has its own checks, for operators.
pub async fn diagnose(
    platform: &Platform,
    principal: &Principal,
    app: &AppName,
    environment: &EnvironmentName,
) -> Result<Vec<Check>> {
    let (row, seen) = instances(platform, principal, app, environment).await?;
    let formation = platform.store.read().await?.formation(&row.placement.id).await?;
    let mut checks = Vec::new();
    if row.placement.last_good_release.is_none() {
        let seen = "nothing is deployed yet".to_owned();
        checks.push(check("release", CheckState::Warning, seen, "panda deploy"));
    } else {
        let wanted = |process, scale| autoscale::wanted(&row, process, scale);
        checks.extend(
            formation.iter().map(|(process, scale)| process_check(process, wanted(process, scale), &seen)),
        );
    }
    checks.extend(seen.iter().filter(|s| s.instance.state != InstanceState::Ready).map(|s| {
        let why = reason(&s.instance).unwrap_or_else(|| s.instance.state.word().to_owned());
        check(&format!("{} {}", s.process, s.instance.id), CheckState::Warning, why, "panda logs")
    }));
    let url = platform.settings.app_url(&row.placement.host);
    checks.push(check("address", CheckState::Ok, url, ""));
    Ok(checks)
}

fn process_check(process: &ProcessName, wanted: u32, seen: &[SeenInstance]) -> Check {
    let ready = |s: &&SeenInstance| s.process == process.as_str() && s.instance.state == InstanceState::Ready;
    let ready = u32::try_from(seen.iter().filter(ready).count()).unwrap_or(u32::MAX);
    let told = format!("{ready} of {wanted} ready");
    let name = format!("process {process}");
    match (wanted, ready) {
        (0, _) => check(&name, CheckState::Ok, "scaled to 0: nothing has to run".to_owned(), ""),
        (_, 0) => check(&name, CheckState::Failed, told, "panda logs"),
        (wanted, ready) if ready < wanted => check(&name, CheckState::Warning, told, "panda ps"),
        _ => check(&name, CheckState::Ok, told, ""),
    }
}

fn check(name: &str, state: CheckState, seen: String, fix: &str) -> Check {
    Check { name: name.to_owned(), state, seen, fix: fix.to_owned() }
}

/// Says why an instance is in its state, for people.
pub fn reason(instance: &ObservedInstance) -> Option<String> {
    // What may pass by itself, such as a registry that is away, is told as well as what doesn't.
    if let Some(why) = instance.waiting.as_ref().or(instance.held_up.as_ref()) {
        return Some(why.clone());
    }
    let exit = instance.last_exit.as_ref();
    match instance.state {
        InstanceState::Ready | InstanceState::Draining => None,
        InstanceState::Oom => Some("killed for using more memory than its limit".to_owned()),
        InstanceState::Crashing | InstanceState::Stopped => {
            exit.map(|e| format!("exited with code {}", e.code))
        }
        InstanceState::Starting | InstanceState::Unready => instance.probe.clone(),
    }
}
