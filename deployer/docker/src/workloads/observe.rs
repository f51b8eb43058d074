//! From what the engine and the probes say to what the seam tells.

use std::collections::BTreeMap;

use bollard::models::{ContainerInspectResponse, ContainerState};
use jiff::Timestamp;
use panda_deployer::runtime::{ObservedInstance, ObservedWorkload, RuntimeResult, WorkloadKey};
use panda_domain::instance::{InstanceState, LastExit};

use super::Listed;
use crate::instances::Readiness;
use crate::listening;
use crate::runtime::Driver;

/// An instance that started this often without getting ready is crashing, also in the moments in which it runs.
const CRASH_LOOP: u32 = 2;

pub(super) async fn merge(
    driver: &Driver,
    seen: Vec<(Listed, ContainerInspectResponse)>,
) -> RuntimeResult<Vec<ObservedWorkload>> {
    let mut workloads: BTreeMap<WorkloadKey, ObservedWorkload> = BTreeMap::new();
    for (one, inspect) in seen {
        driver.note(&one.identity, &one.container, &inspect);
        let key = one.identity.key.clone();
        let instance = instance(driver, &one, inspect).await;
        let workload = workloads.entry(key.clone()).or_insert_with(|| ObservedWorkload {
            wanted: None,
            key,
            release_number: one.identity.release_number,
            instances: Vec::new(),
        });
        workload.instances.push(instance);
    }
    Ok(workloads.into_values().collect())
}

async fn instance(driver: &Driver, one: &Listed, inspect: ContainerInspectResponse) -> ObservedInstance {
    let id = one.identity.instance.clone();
    let engine = inspect.state.unwrap_or_default();
    let readiness = driver.instances.readiness(&id);
    let restarts = inspect.restart_count.and_then(|n| u32::try_from(n).ok()).unwrap_or(0);
    let exit = last_exit(&engine, driver.instances.last_exit(&id));
    let draining = driver.drains.look(|drains| drains.has(&id));
    let state = state(&engine, &readiness, restarts, exit.as_ref(), draining);
    let runs = engine.running == Some(true) && engine.restarting != Some(true);
    let unready = runs && !readiness.ready;
    let limit = inspect.host_config.and_then(|config| config.memory).and_then(|m| u64::try_from(m).ok());
    ObservedInstance {
        state,
        address: one.identity.endpoint().filter(|_| runs),
        started_at: time(engine.started_at.as_deref()),
        ready_at: readiness.ready_at,
        restarts,
        // The kernel kills at the limit: that is the peak.
        memory_peak_bytes: limit.filter(|_| exit.as_ref().is_some_and(|exit| exit.oom)),
        last_exit: exit,
        probe: readiness.said,
        listening: if unready { listening::ports(engine.pid.unwrap_or(0)).await } else { Vec::new() },
        waiting: engine.error.filter(|words| !words.is_empty()),
        held_up: None,
        runs_as_root: one.identity.facts.runs_as_root,
        id,
    }
}

fn state(
    engine: &ContainerState,
    readiness: &Readiness,
    restarts: u32,
    exit: Option<&LastExit>,
    draining: bool,
) -> InstanceState {
    let ended = match exit {
        Some(LastExit { oom: true, .. }) => InstanceState::Oom,
        _ => InstanceState::Crashing,
    };
    let running = engine.running == Some(true);
    if draining {
        return InstanceState::Draining;
    }
    if engine.restarting == Some(true) {
        return ended;
    }
    match running {
        true if readiness.ready => InstanceState::Ready,
        true if readiness.ready_at.is_some() => InstanceState::Unready,
        true if restarts >= CRASH_LOOP => ended,
        true => InstanceState::Starting,
        false if time(engine.started_at.as_deref()).is_none() => InstanceState::Starting,
        false if exit.is_some_and(|exit| exit.oom) => InstanceState::Oom,
        false => InstanceState::Stopped,
    }
}

/// The engine forgets how a container ended once it runs again; what was seen then is kept by us.
fn last_exit(engine: &ContainerState, seen: Option<LastExit>) -> Option<LastExit> {
    let ended = engine.running != Some(true) || engine.restarting == Some(true);
    let at = time(engine.finished_at.as_deref());
    if !ended || at.is_none() {
        return seen;
    }
    let oom = engine.oom_killed == Some(true) || seen.as_ref().is_some_and(|exit| exit.oom);
    Some(LastExit { code: engine.exit_code.unwrap_or(-1), oom, at })
}

/// The engine writes the year 1 for "never".
fn time(text: Option<&str>) -> Option<Timestamp> {
    text?.parse().ok().filter(|at: &Timestamp| at.as_second() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn running() -> ContainerState {
        ContainerState {
            running: Some(true),
            started_at: Some("2026-01-01T00:00:00Z".into()),
            ..ContainerState::default()
        }
    }

    #[test]
    fn an_instance_that_exits_again_and_again_is_crashing_also_while_it_runs() {
        let none = Readiness::default();
        assert_eq!(state(&running(), &none, 0, None, false), InstanceState::Starting);
        assert_eq!(state(&running(), &none, 3, None, false), InstanceState::Crashing);
        let waits = ContainerState { restarting: Some(true), ..running() };
        assert_eq!(state(&waits, &none, 1, None, false), InstanceState::Crashing);
        let oom = LastExit { code: 137, oom: true, at: None };
        assert_eq!(state(&waits, &none, 1, Some(&oom), false), InstanceState::Oom);
    }

    #[test]
    fn readiness_lost_is_told_from_never_ready_and_draining_comes_first() {
        let was = Readiness { ready_at: Some(Timestamp::UNIX_EPOCH), probed: true, ..Readiness::default() };
        assert_eq!(state(&running(), &was, 0, None, false), InstanceState::Unready);
        assert_eq!(state(&running(), &was, 0, None, true), InstanceState::Draining);
    }
}
