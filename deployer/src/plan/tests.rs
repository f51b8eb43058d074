use panda_domain::autoscale::Autoscale;
use panda_domain::formation::Scale;
use panda_domain::ids::{EnvironmentId, IdSource, PlacementId, TeamId};
use panda_domain::instance::LastExit;

use super::*;
use crate::autoscale::Standing;
use crate::runtime::EnvironmentKey;

struct World {
    ids: IdSource,
    environment: EnvironmentKey,
    placement: PlacementId,
    old: Attempt,
    new: Attempt,
    now: Timestamp,
}

impl World {
    fn new() -> Self {
        let ids = IdSource::counted();
        Self {
            environment: EnvironmentKey {
                team: ids.next::<TeamId>(),
                environment: ids.next::<EnvironmentId>(),
            },
            placement: ids.next(),
            old: Attempt { release: ids.next(), revision: 0 },
            new: Attempt { release: ids.next(), revision: 0 },
            now: Timestamp::from_second(1_000_000).unwrap(),
            ids,
        }
    }

    fn workload(&self, attempt: &Attempt, states: &[InstanceState]) -> ObservedWorkload {
        let instances = states.iter().map(|state| self.instance(*state)).collect();
        let key = WorkloadKey {
            environment: self.environment.clone(),
            placement: self.placement.clone(),
            process: ProcessName::web(),
            release: attempt.release.clone(),
            revision: attempt.revision,
        };
        ObservedWorkload { key, release_number: 1, wanted: None, instances }
    }

    fn instance(&self, state: InstanceState) -> ObservedInstance {
        ObservedInstance {
            id: self.ids.next(),
            state,
            address: None,
            started_at: Some(self.now),
            ready_at: None,
            restarts: 0,
            last_exit: None,
            probe: None,
            listening: Vec::new(),
            waiting: None,
            held_up: None,
            runs_as_root: false,
            memory_peak_bytes: None,
        }
    }

    fn rolling(&self) -> Phase {
        Phase::Rolling { since: self.now, deadline: Duration::from_mins(5) }
    }
}

fn web(replicas: u32) -> Vec<ProcessWish> {
    vec![ProcessWish { name: ProcessName::web(), replicas, startup: Duration::from_mins(2) }]
}

fn decide(
    world: &World,
    phase: Phase,
    serving: Option<&Attempt>,
    observed: &[ObservedWorkload],
    replicas: u32,
) -> Plan {
    let processes = web(replicas);
    plan(&Situation {
        target: Some(&world.new),
        processes: &processes,
        serving,
        phase,
        observed,
        image_there: false,
        now: world.now,
    })
}

#[test]
fn the_old_release_stays_until_every_new_instance_is_ready() {
    let world = World::new();
    let old = world.workload(&world.old, &[InstanceState::Ready; 2]);
    let half = world.workload(&world.new, &[InstanceState::Ready, InstanceState::Starting]);
    let waiting = decide(&world, world.rolling(), Some(&world.old), &[old.clone(), half], 2);
    assert_eq!((waiting.next, waiting.remove.len()), (Move::Wait, 0));

    let ready = world.workload(&world.new, &[InstanceState::Ready; 2]);
    let switching = decide(&world, world.rolling(), Some(&world.old), &[old.clone(), ready.clone()], 2);
    assert_eq!((switching.next, switching.remove.len()), (Move::Switch, 0));

    let finishing = decide(&world, world.rolling(), Some(&world.new), &[old.clone(), ready.clone()], 2);
    assert_eq!(
        (finishing.next, finishing.remove),
        (Move::Finish, vec![]),
        "the routes may not have arrived yet"
    );
    let steady = Phase::Steady { live_at: Some(world.now), may_go_back: true };
    let after = decide(&world, steady, Some(&world.new), &[old.clone(), ready], 2);
    assert_eq!(after.remove, vec![old.key]);
}

#[test]
fn no_instance_starts_before_the_release_command_has_succeeded() {
    let world = World::new();
    let releasing = |task| Phase::Releasing { task, since: world.now, deadline: Duration::from_mins(10) };
    let start = decide(&world, releasing(Some(TaskStatus::Absent)), None, &[], 1);
    assert_eq!((start.next, start.ensure.len()), (Move::StartTask, 0));
    let failed = TaskStatus::Ended { code: 1, oom: false, timed_out: false };
    assert_eq!(decide(&world, releasing(Some(failed.clone())), None, &[], 1).next, Move::FailRelease(failed));
    let done = TaskStatus::Ended { code: 0, oom: false, timed_out: false };
    assert_eq!(decide(&world, releasing(Some(done)), None, &[], 1).next, Move::Roll);
    assert_eq!(decide(&world, releasing(None), None, &[], 1).next, Move::Roll);
}

#[test]
fn a_crashing_oom_or_unpullable_release_loses_its_turn_before_the_deadline() {
    let world = World::new();
    let mut crashing = world.workload(&world.new, &[InstanceState::Crashing]);
    crashing.instances[0].restarts = 3;
    assert!(matches!(decide(&world, world.rolling(), None, &[crashing], 1).next, Move::FailHealth(_)));
    let oom = world.workload(&world.new, &[InstanceState::Oom]);
    assert!(matches!(decide(&world, world.rolling(), None, &[oom], 1).next, Move::FailHealth(_)));
    let mut waiting = world.workload(&world.new, &[InstanceState::Starting]);
    waiting.instances[0].waiting = Some("image isn't there".into());
    assert!(matches!(decide(&world, world.rolling(), None, &[waiting], 1).next, Move::FailHealth(_)));
}

#[test]
fn a_release_that_never_gets_ready_ends_at_its_startup_time_or_the_deadline() {
    let mut world = World::new();
    let starting = world.workload(&world.new, &[InstanceState::Starting]);
    let phase = world.rolling();
    world.now = Timestamp::from_second(1_000_121).unwrap();
    assert!(matches!(
        decide(&world, phase.clone(), None, std::slice::from_ref(&starting), 1).next,
        Move::FailHealth(_)
    ));
    let mut young = starting;
    world.now = Timestamp::from_second(1_000_301).unwrap();
    young.instances[0].started_at = Some(world.now);
    assert_eq!(decide(&world, phase, None, &[young], 1).next, Move::TimeOut);
}

#[test]
fn a_live_release_that_dies_within_the_watch_time_goes_back_and_later_does_not() {
    let mut world = World::new();
    let mut dead = world.workload(&world.new, &[InstanceState::Crashing]);
    dead.instances[0].last_exit = Some(LastExit { code: 1, oom: false, at: Some(world.now) });
    dead.instances[0].restarts = 1;
    let steady = Phase::Steady { live_at: Some(world.now), may_go_back: true };
    assert!(matches!(
        decide(&world, steady.clone(), Some(&world.new), &[dead.clone()], 1).next,
        Move::GoBack(_)
    ));
    let nothing_before = Phase::Steady { live_at: Some(world.now), may_go_back: false };
    assert_eq!(decide(&world, nothing_before, Some(&world.new), &[dead.clone()], 1).next, Move::Wait);
    world.now = Timestamp::from_second(1_000_301).unwrap();
    assert_eq!(decide(&world, steady, Some(&world.new), &[dead], 1).next, Move::Wait);
}

#[test]
fn one_restarted_instance_of_three_is_no_reason_to_go_back() {
    let world = World::new();
    let mut three =
        world.workload(&world.new, &[InstanceState::Starting, InstanceState::Ready, InstanceState::Ready]);
    three.instances[0].restarts = 1;
    three.instances[0].last_exit = Some(LastExit { code: 1, oom: false, at: Some(world.now) });
    let steady = Phase::Steady { live_at: Some(world.now), may_go_back: true };
    assert_eq!(decide(&world, steady, Some(&world.new), &[three], 3).next, Move::Wait);
}

#[test]
fn orphans_of_other_releases_are_removed_in_every_phase() {
    let world = World::new();
    let orphan = world.workload(&Attempt { release: world.ids.next(), revision: 7 }, &[InstanceState::Ready]);
    for phase in [world.rolling(), Phase::Steady { live_at: None, may_go_back: false }] {
        let plan = decide(&world, phase, Some(&world.old), std::slice::from_ref(&orphan), 1);
        assert_eq!(plan.remove, vec![orphan.key.clone()]);
    }
}

#[test]
fn what_serves_is_kept_in_every_phase_also_where_the_target_is_another() {
    let world = World::new();
    let old = world.workload(&world.old, &[InstanceState::Ready]);
    let task = Some(TaskStatus::Running);
    let phases = [
        Phase::Steady { live_at: None, may_go_back: false },
        Phase::Steady { live_at: Some(world.now), may_go_back: true },
        Phase::Releasing { task, since: world.now, deadline: Duration::from_mins(10) },
        world.rolling(),
    ];
    for phase in phases {
        let plan = decide(&world, phase, Some(&world.old), std::slice::from_ref(&old), 1);
        assert_eq!((plan.remove, plan.converged), (vec![], false));
    }
}

#[test]
fn scaled_to_zero_is_ready_with_nothing_running_once_its_image_was_seen() {
    let mut world = World::new();
    let phase = world.rolling();
    assert_eq!(decide(&world, phase.clone(), None, &[], 0).next, Move::Wait);
    let processes = web(0);
    let seen = Situation {
        target: Some(&world.new),
        processes: &processes,
        serving: None,
        phase: phase.clone(),
        observed: &[],
        image_there: true,
        now: world.now,
    };
    assert_eq!(plan(&seen).next, Move::Switch);
    world.now = Timestamp::from_second(1_000_301).unwrap();
    assert_eq!(decide(&world, phase, None, &[], 0).next, Move::TimeOut);
}

/// What a plan counts with where the number follows the load.
fn counted(world: &World, rolling: bool, observed: &[ObservedWorkload]) -> u32 {
    let bounds = Autoscale { min: 2, max: 6, cpu_percent: Some(70), memory_percent: None };
    let scale = Scale { replicas: 3, autoscale: Some(bounds), ..Scale::default() };
    let standing = Standing { target: Some(&world.new), serving: Some(&world.old), rolling, observed };
    standing.wanted(&ProcessName::web(), &scale)
}

#[test]
fn what_the_autoscaler_wants_is_what_has_to_be_ready() {
    let world = World::new();
    let wants = |attempt, wanted, ready| {
        let states = vec![InstanceState::Ready; ready];
        ObservedWorkload { wanted: Some(wanted), ..world.workload(attempt, &states) }
    };
    let rolls = [wants(&world.old, 5, 5), wants(&world.new, 5, 4)];
    let replicas = counted(&world, true, &rolls);
    assert_eq!(replicas, 5);
    assert_eq!(decide(&world, world.rolling(), Some(&world.old), &rolls, replicas).next, Move::Wait);
    let ready = [wants(&world.old, 5, 5), wants(&world.new, 5, 5)];
    assert_eq!(decide(&world, world.rolling(), Some(&world.old), &ready, replicas).next, Move::Switch);

    let steady = Phase::Steady { live_at: None, may_go_back: false };
    for (wanted, ready, converged) in [(4, 4, true), (4, 3, false)] {
        let one = [wants(&world.new, wanted, ready)];
        let replicas = counted(&world, false, &one);
        let plan = decide(&world, steady.clone(), Some(&world.new), &one, replicas);
        assert_eq!((replicas, plan.converged), (wanted, converged));
    }
}

#[test]
fn a_release_takes_the_number_over_within_its_bounds() {
    let world = World::new();
    let fixed = |attempt, count| world.workload(attempt, &vec![InstanceState::Ready; count]);
    let wants = |attempt, wanted| ObservedWorkload { wanted: Some(wanted), ..world.workload(attempt, &[]) };
    assert_eq!(counted(&world, true, &[]), 3, "the first one starts with what was wished");
    assert_eq!(counted(&world, true, &[fixed(&world.old, 5)]), 5, "the old one had a fixed number");
    assert_eq!(counted(&world, true, &[fixed(&world.old, 1)]), 2);
    assert_eq!(counted(&world, true, &[wants(&world.old, 9), wants(&world.new, 2)]), 6);
    assert_eq!(counted(&world, true, &[wants(&world.old, 2), wants(&world.new, 4)]), 4);
    assert_eq!(
        counted(&world, false, &[wants(&world.old, 6), wants(&world.new, 4)]),
        4,
        "its load is its own"
    );
}
