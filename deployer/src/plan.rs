//! What to do next for one app: a pure decision from what is wished and what was seen.
//!
//! The rules, in one place: the old release keeps serving until every new instance is ready; a release that can't get ready
//! loses its turn; a live one that dies within the watch time goes back by itself.

use std::time::Duration;

use jiff::Timestamp;
use panda_domain::ids::ReleaseId;
use panda_domain::instance::InstanceState;
use panda_domain::names::ProcessName;

use crate::runtime::{ObservedInstance, ObservedWorkload, TaskStatus, WorkloadKey};

/// How long after `live` a failing release goes back by itself.
pub const WATCH: Duration = Duration::from_mins(5);

/// How often an instance may end by itself before a rolling release loses its turn.
const CRASHES_WHILE_ROLLING: u32 = 3;

/// One attempt at a release: a restart of the same release is a new attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// Which release.
    pub release: ReleaseId,
    /// Counts restarts of it.
    pub revision: u32,
}

impl Attempt {
    /// Tells whether a workload belongs to this attempt.
    pub fn owns(&self, key: &WorkloadKey) -> bool {
        key.release == self.release && key.revision == self.revision
    }
}

/// What is wished of one process of the target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessWish {
    /// Its name.
    pub name: ProcessName,
    /// How many instances.
    pub replicas: u32,
    /// How long an instance may take to become ready.
    pub startup: Duration,
}

/// Where the app's deployment stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phase {
    /// No deployment is under way.
    Steady {
        /// When the present release went live.
        live_at: Option<Timestamp>,
        /// Whether it may go back by itself, and there is something to go back to.
        may_go_back: bool,
    },
    /// The release exists; its command runs if there is one.
    Releasing {
        /// `None` when the release has no command.
        task: Option<TaskStatus>,
        /// When the phase began.
        since: Timestamp,
        /// How long it may take.
        deadline: Duration,
    },
    /// Instances start and become ready.
    Rolling {
        /// When the phase began.
        since: Timestamp,
        /// How long it may take.
        deadline: Duration,
    },
}

/// Everything a decision needs to know about one app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Situation<'a> {
    /// What should run.
    pub target: Option<&'a Attempt>,
    /// The target's processes.
    pub processes: &'a [ProcessWish],
    /// What the routes point to.
    pub serving: Option<&'a Attempt>,
    /// Where the deployment stands.
    pub phase: Phase,
    /// This app's workloads as seen.
    pub observed: &'a [ObservedWorkload],
    /// Whether the target's image was seen at the runtime. Only needed where no instance can show it: at 0 replicas.
    pub image_there: bool,
    /// Now.
    pub now: Timestamp,
}

/// What happens to the deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Move {
    /// Nothing yet.
    Wait,
    /// Start the release command.
    StartTask,
    /// The release command is done, or there is none: start instances.
    Roll,
    /// Every new instance is ready: send the routes to them.
    Switch,
    /// The routes were sent to them: once they are seen to have arrived it is live.
    Finish,
    /// The release command failed.
    FailRelease(TaskStatus),
    /// The new instances can't get ready.
    FailHealth(Trouble),
    /// The phase's deadline passed.
    TimeOut,
    /// A live release fails: go back to the last good one.
    GoBack(Trouble),
}

/// Which instance shows what is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// Its process.
    pub process: ProcessName,
    /// As it was seen.
    pub instance: Option<ObservedInstance>,
}

/// What to do now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Processes of the target whose workload has to be ensured.
    pub ensure: Vec<ProcessName>,
    /// Workloads to drain and remove.
    pub remove: Vec<WorkloadKey>,
    /// What happens to the deployment.
    pub next: Move,
    /// Whether what is seen is what is wished.
    pub converged: bool,
}

/// Decides.
pub fn plan(situation: &Situation<'_>) -> Plan {
    let next = next_move(situation);
    let starts = match &situation.phase {
        Phase::Steady { .. } | Phase::Rolling { .. } => situation.target.is_some(),
        Phase::Releasing { .. } => false,
    };
    let ensure =
        if starts { situation.processes.iter().map(|p| p.name.clone()).collect() } else { Vec::new() };
    let remove: Vec<_> =
        situation.observed.iter().map(|w| &w.key).filter(|key| !wanted(situation, key)).cloned().collect();
    let converged = matches!(situation.phase, Phase::Steady { .. })
        && situation.serving == situation.target
        && remove.is_empty()
        && all_ready(situation);
    Plan { ensure, remove, next, converged }
}

/// A workload is kept while it is the target's or serves; the target's only for processes that it has. Once the routes
/// were sent to the target everything is kept, until they were seen to arrive: they may still point anywhere.
fn wanted(situation: &Situation<'_>, key: &WorkloadKey) -> bool {
    let of_target = situation.target.is_some_and(|t| t.owns(key))
        && situation.processes.iter().any(|p| p.name == key.process);
    let serves = situation.serving.is_some_and(|s| s.owns(key)) && situation.serving != situation.target;
    of_target || serves || has_switched(situation)
}

fn has_switched(situation: &Situation<'_>) -> bool {
    matches!(situation.phase, Phase::Rolling { .. })
        && situation.serving.is_some()
        && situation.serving == situation.target
}

/// At 0 replicas there is no instance to show that the release can run; then its image has to be there, at least.
fn is_proven(situation: &Situation<'_>) -> bool {
    all_ready(situation) && (situation.image_there || situation.processes.iter().any(|p| p.replicas > 0))
}

fn next_move(situation: &Situation<'_>) -> Move {
    match &situation.phase {
        Phase::Releasing { task, since, deadline } => match task {
            None | Some(TaskStatus::Ended { code: 0, .. }) => Move::Roll,
            Some(ended @ TaskStatus::Ended { .. }) => Move::FailRelease(ended.clone()),
            Some(_) if passed(situation.now, *since, *deadline) => Move::TimeOut,
            Some(TaskStatus::Absent) => Move::StartTask,
            Some(TaskStatus::Running) => Move::Wait,
        },
        Phase::Rolling { since, deadline } => {
            if has_switched(situation) {
                Move::Finish
            } else if let Some(trouble) = trouble_while_rolling(situation) {
                Move::FailHealth(trouble)
            } else if is_proven(situation) {
                Move::Switch
            } else if passed(situation.now, *since, *deadline) {
                Move::TimeOut
            } else {
                Move::Wait
            }
        }
        Phase::Steady { live_at: Some(live_at), may_go_back: true }
            if !passed(situation.now, *live_at, WATCH) =>
        {
            trouble_after_live(situation, *live_at).map_or(Move::Wait, Move::GoBack)
        }
        Phase::Steady { .. } => Move::Wait,
    }
}

fn passed(now: Timestamp, since: Timestamp, limit: Duration) -> bool {
    now.as_millisecond() - since.as_millisecond() >= i64::try_from(limit.as_millis()).unwrap_or(i64::MAX)
}

fn of_target<'a>(
    situation: &'a Situation<'_>,
    process: &ProcessName,
) -> impl Iterator<Item = &'a ObservedInstance> {
    let target = situation.target;
    situation
        .observed
        .iter()
        .filter(move |w| w.key.process == *process && target.is_some_and(|t| t.owns(&w.key)))
        .flat_map(|w| &w.instances)
}

fn all_ready(situation: &Situation<'_>) -> bool {
    situation.processes.iter().all(|process| {
        let instances = of_target(situation, &process.name).peekable();
        let (mut ready, mut other) = (0, 0);
        for instance in instances {
            if instance.state == InstanceState::Ready { ready += 1 } else { other += 1 }
        }
        ready == process.replicas && other == 0
    })
}

fn trouble_while_rolling(situation: &Situation<'_>) -> Option<Trouble> {
    situation.processes.iter().find_map(|process| {
        of_target(situation, &process.name)
            .filter(|i| i.state != InstanceState::Draining)
            .find(|i| is_hopeless(i, process.startup, situation.now))
            .map(|instance| Trouble { process: process.name.clone(), instance: Some(instance.clone()) })
    })
}

fn is_hopeless(instance: &ObservedInstance, startup: Duration, now: Timestamp) -> bool {
    let oom =
        instance.state == InstanceState::Oom || instance.last_exit.as_ref().is_some_and(|exit| exit.oom);
    let crashes = instance.restarts >= CRASHES_WHILE_ROLLING;
    let slow = instance.state != InstanceState::Ready
        && instance.started_at.is_some_and(|at| passed(now, at, startup));
    oom || crashes || slow || instance.waiting.is_some()
}

/// A live release is in trouble when an instance ends again and again, or when none of a process is ready any more and one
/// has ended since it went live. Instances that merely start again after the host did are no trouble.
fn trouble_after_live(situation: &Situation<'_>, live_at: Timestamp) -> Option<Trouble> {
    situation.processes.iter().filter(|p| p.replicas > 0).find_map(|process| {
        let stays = |i: &&ObservedInstance| i.state != InstanceState::Draining;
        let instances: Vec<_> = of_target(situation, &process.name).filter(stays).collect();
        let died = |i: &&ObservedInstance| {
            let by_itself = i.last_exit.as_ref().is_some_and(|exit| exit.at.is_none_or(|at| at >= live_at));
            by_itself || matches!(i.state, InstanceState::Crashing | InstanceState::Oom)
        };
        let looping =
            instances.iter().copied().find(|i| i.state == InstanceState::Oom || (i.restarts >= 2 && died(i)));
        let none_ready = !instances.is_empty() && !instances.iter().any(|i| i.state == InstanceState::Ready);
        let lost = instances
            .iter()
            .copied()
            .find(|i| died(i) || i.state == InstanceState::Unready)
            .filter(|_| none_ready);
        looping
            .or(lost)
            .map(|instance| Trouble { process: process.name.clone(), instance: Some(instance.clone()) })
    })
}

#[cfg(test)]
mod tests;
