//! How many instances of an autoscaled process are wanted now: pure. The runtime decides that by load, within the bounds; the
//! rollout counts with what it decided, and a new release starts with it.

use panda_domain::autoscale::Autoscale;
use panda_domain::formation::Scale;
use panda_domain::instance::InstanceState;
use panda_domain::names::ProcessName;

use crate::plan::Attempt;
use crate::runtime::ObservedWorkload;

/// Where an app stands, as far as it matters for how many instances are wanted.
#[derive(Debug, Clone, Copy)]
pub struct Standing<'a> {
    /// What should run.
    pub target: Option<&'a Attempt>,
    /// What the routes point to.
    pub serving: Option<&'a Attempt>,
    /// Whether the target is on its way to take over.
    pub rolling: bool,
    /// The app's workloads as seen.
    pub observed: &'a [ObservedWorkload],
}

impl Standing<'_> {
    /// Returns how many instances of a process are wanted: as its scale says, or as its autoscaler wants now. A release that
    /// rolls gets at least as many as the one that serves, which bear the load that it is about to take.
    pub fn wanted(&self, process: &ProcessName, scale: &Scale) -> u32 {
        let Some(bounds) = scale.autoscale else { return scale.replicas };
        let (target, serving) = (self.of(self.target, process), self.of(self.serving, process));
        let now = if self.rolling { target.max(serving) } else { target.or(serving) };
        bounds.within(now.unwrap_or(scale.replicas))
    }

    /// Returns the scale that a workload of the target gets. While it rolls nobody sends it requests, and its autoscaler would
    /// take that for a reason to shrink it: so long the fewest are those that it takes over with.
    pub fn scale(&self, wanted: u32, scale: Scale) -> Scale {
        let held = |bounds: Autoscale| Autoscale { min: bounds.within(wanted), ..bounds };
        let autoscale = if self.rolling { scale.autoscale.map(held) } else { scale.autoscale };
        Scale { replicas: wanted, autoscale, ..scale }
    }

    fn of(&self, attempt: Option<&Attempt>, process: &ProcessName) -> Option<u32> {
        let attempt = attempt?;
        let found = self.observed.iter().find(|w| attempt.owns(&w.key) && w.key.process == *process)?;
        Some(found.wanted.unwrap_or_else(|| staying(found)))
    }
}

/// How many instances stay, where no autoscaler says how many should.
fn staying(workload: &ObservedWorkload) -> u32 {
    let staying = workload.instances.iter().filter(|one| one.state != InstanceState::Draining).count();
    u32::try_from(staying).unwrap_or(u32::MAX)
}
