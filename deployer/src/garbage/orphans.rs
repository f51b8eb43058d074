//! What the runtime holds and nobody knows: an app that was destroyed while the engine was away, a crash between two steps.
//!
//! Two things keep an app that is being made just now safe. Everything at the runtime is made after its row was committed, so
//! the runtime is asked first and the state afterwards: what has no row then had lost it. And it has to be seen so again,
//! [`super::GarbageSettings::orphan_grace`] later, before it is removed: time for an operator who restored an old backup to
//! stop the server, and a guard against a step that some day makes an object before its row.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;

use jiff::Timestamp;
use panda_domain::ids::{EnvironmentId, PlacementId, TaskId};
use panda_domain::release::Shutdown;

use super::error::GarbageError;
use super::tally::Tally;
use super::{Garbage, lock};
use crate::runtime::{EnvironmentKey, Inventory, RuntimeError, TaskKey, WorkloadKey};

/// Objects that one pass removes at most.
const AT_ONCE: usize = 50;
/// No route leads to an orphan, so nobody has to be waited for; it gets a moment to end by itself.
const FAREWELL_S: u32 = 10;

/// Something at the runtime that no row stands for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Orphan {
    Workload(WorkloadKey),
    Task(TaskKey),
    Environment(EnvironmentKey),
}

/// Since when each orphan was seen as one. Lost with the server: then the time begins anew.
pub(super) type Sightings = BTreeMap<Orphan, Timestamp>;

/// What the state knows, read after the runtime was asked.
#[derive(Debug, Default)]
struct Known {
    placements: HashSet<PlacementId>,
    environments: HashSet<EnvironmentId>,
    tasks: HashSet<TaskId>,
}

/// Returns what is held and not known. An environment is one only when nothing is in it any more.
fn orphans(held: &Inventory, known: &Known) -> BTreeSet<Orphan> {
    let workloads = held.workloads.iter().filter(|key| !known.placements.contains(&key.placement));
    let tasks = held.tasks.iter().filter(|(key, placement)| {
        !known.placements.contains(*placement) || !known.tasks.contains(&key.task)
    });
    let used: HashSet<&EnvironmentKey> = held
        .workloads
        .iter()
        .map(|key| &key.environment)
        .chain(held.tasks.keys().map(|key| &key.environment))
        .collect();
    let environments = held
        .environments
        .iter()
        .filter(|key| !known.environments.contains(&key.environment) && !used.contains(key));
    workloads
        .map(|key| Orphan::Workload(key.clone()))
        .chain(tasks.map(|(key, _)| Orphan::Task(key.clone())))
        .chain(environments.map(|key| Orphan::Environment(key.clone())))
        .collect()
}

/// Notes who is an orphan now, and returns those that have been one for long enough. Who was no orphan in between begins anew.
fn sight(
    sightings: &mut Sightings,
    orphans: BTreeSet<Orphan>,
    now: Timestamp,
    grace: Duration,
) -> Vec<Orphan> {
    sightings.retain(|orphan, _| orphans.contains(orphan));
    let mut ripe = Vec::new();
    for orphan in orphans {
        match sightings.get(&orphan) {
            Some(since) if now.duration_since(*since).unsigned_abs() >= grace => ripe.push(orphan),
            Some(_) => {}
            None => drop(sightings.insert(orphan, now)),
        }
    }
    ripe
}

impl Garbage {
    /// Removes orphans. Volumes are nobody's business here, whatever they belong to.
    pub(super) async fn orphans(&self) -> Result<Tally, GarbageError> {
        let held = self.runtime.inventory().await?;
        let known = self.known_of(&held).await?;
        let now = self.store.clock().now();
        let ripe = {
            let mut sightings = lock(&self.sightings);
            sight(&mut sightings, orphans(&held, &known), now, self.settings.orphan_grace)
        };
        let mut tally = Tally::bounded(ripe.len() > AT_ONCE);
        let mut failed = None;
        for orphan in ripe.iter().take(AT_ONCE) {
            match self.remove(orphan).await {
                Ok(what) => tally.count(what, 1),
                Err(error @ GarbageError::Runtime(RuntimeError::Unavailable { .. })) => return Err(error),
                // One that can't be removed holds up none of the others.
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        failed.map_or(Ok(tally), Err)
    }

    async fn known_of(&self, held: &Inventory) -> Result<Known, GarbageError> {
        let tasks: Vec<TaskId> = held.tasks.keys().map(|key| key.task.clone()).collect();
        let mut tx = self.store.read().await?;
        let rows = tx.all_placements().await?;
        Ok(Known {
            placements: rows.iter().map(|row| row.placement.id.clone()).collect(),
            environments: rows.into_iter().map(|row| row.placement.environment).collect(),
            tasks: tx.known_tasks(&tasks, self.ago(self.settings.keep)).await?,
        })
    }

    /// Removes one, or begins to; what takes longer is found again by the next pass.
    async fn remove(&self, orphan: &Orphan) -> Result<&'static str, GarbageError> {
        match orphan {
            Orphan::Workload(key) => {
                let shutdown = Shutdown { drain_s: 0, grace_s: FAREWELL_S, ..Shutdown::default() };
                self.runtime.remove_workload(key, &shutdown).await?;
                Ok("workloads that were nobody's")
            }
            Orphan::Task(key) => {
                self.runtime.remove_task(key).await?;
                Ok("tasks")
            }
            Orphan::Environment(key) => match self.runtime.remove_environment(key).await {
                // Something is in it after all, for one that isn't ours.
                Ok(()) | Err(RuntimeError::Conflict { .. }) => Ok("environments that were nobody's"),
                Err(error) => Err(error.into()),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use panda_domain::ids::IdSource;

    use super::*;

    struct World {
        held: Inventory,
        workload: WorkloadKey,
        task: TaskKey,
        placement: PlacementId,
    }

    fn world() -> World {
        let ids = IdSource::counted();
        let environment = EnvironmentKey { team: ids.next(), environment: ids.next() };
        let placement: PlacementId = ids.next();
        let workload = WorkloadKey {
            environment: environment.clone(),
            placement: placement.clone(),
            process: "web".parse().unwrap(),
            release: ids.next(),
            revision: 0,
        };
        let task = TaskKey { environment: environment.clone(), task: ids.next() };
        let held = Inventory {
            environments: [environment].into(),
            workloads: [workload.clone()].into(),
            tasks: [(task.clone(), placement.clone())].into(),
        };
        World { held, workload, task, placement }
    }

    #[test]
    fn what_has_a_row_is_nobodys_orphan() {
        let World { held, workload, task, placement } = world();
        let known = Known {
            placements: [placement.clone()].into(),
            environments: [workload.environment.environment.clone()].into(),
            tasks: [task.task.clone()].into(),
        };
        assert_eq!(orphans(&held, &known), [].into());
        let forgotten = Known { tasks: HashSet::new(), ..known };
        assert_eq!(orphans(&held, &forgotten), [Orphan::Task(task)].into());
    }

    #[test]
    fn an_environment_goes_after_all_that_is_in_it() {
        let World { mut held, workload, task, .. } = world();
        let nothing = Known::default();
        let inside = [Orphan::Workload(workload.clone()), Orphan::Task(task)];
        assert_eq!(orphans(&held, &nothing), inside.into());
        held.workloads.clear();
        held.tasks.clear();
        assert_eq!(orphans(&held, &nothing), [Orphan::Environment(workload.environment)].into());
    }

    #[test]
    fn an_orphan_has_to_be_one_for_a_while_without_a_break() {
        let orphan = Orphan::Task(world().task);
        let (now, grace) = (Timestamp::UNIX_EPOCH, Duration::from_mins(1));
        let at = |seconds: u64| now + Duration::from_secs(seconds);
        let all: BTreeSet<Orphan> = [orphan.clone()].into();
        let mut sightings = Sightings::new();
        assert_eq!(sight(&mut sightings, all.clone(), at(0), grace), []);
        assert_eq!(sight(&mut sightings, all.clone(), at(59), grace), []);
        assert_eq!(sight(&mut sightings, BTreeSet::new(), at(60), grace), [], "its row came");
        assert_eq!(sight(&mut sightings, all.clone(), at(70), grace), []);
        assert_eq!(sight(&mut sightings, all.clone(), at(130), grace), std::slice::from_ref(&orphan));
        assert_eq!(sight(&mut sightings, all, at(131), grace), [orphan], "until it is gone");
    }
}
