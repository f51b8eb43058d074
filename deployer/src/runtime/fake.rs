//! A runtime in memory, for tests of everything above the seam.
//!
//! It keeps the seam's contract and moves by the [`Clock`] alone: with a manual clock an instance gets ready, crashes or
//! is drained when the test says so. What an image does is told by [`FakeRuntime::behave`]; images that nothing was said
//! about start well at once.

mod behaviour;
mod command;
mod seam;
mod state;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use panda_domain::clock::Clock;
use panda_domain::ids::{IdSource, InstanceId};
use panda_domain::image::Digest;
use panda_domain::instance::LastExit;
use tokio::sync::broadcast;

pub use behaviour::{Behaviour, Exit, Ingress, PullFailure};

use super::{LogChunk, LogStream, ObservedRoutes, RouteTable, RuntimeError, RuntimeEvent, RuntimeResult};
use state::State;

/// How many hints and lines a slow listener may be behind.
const BUFFER: usize = 1024;

/// A runtime in memory. Clones share everything.
#[derive(Clone)]
pub struct FakeRuntime {
    state: Arc<Mutex<State>>,
    clock: Clock,
    ids: IdSource,
    hints: broadcast::Sender<RuntimeEvent>,
    lines: broadcast::Sender<LogChunk>,
}

impl FakeRuntime {
    /// Makes an empty runtime.
    pub fn new(clock: Clock, ids: IdSource) -> Self {
        Self {
            state: Arc::default(),
            clock,
            ids,
            hints: broadcast::Sender::new(BUFFER),
            lines: broadcast::Sender::new(BUFFER),
        }
    }

    /// Says what instances and tasks of an image do from now on; running instances go on as they began.
    pub fn behave(&self, image: &Digest, behaviour: Behaviour) {
        self.state().behaviours.insert(image.clone(), behaviour);
    }

    /// Says what a reference resolves to; unknown references aren't found.
    pub fn publish(&self, reference: &str, image: super::ResolvedImage) {
        self.state().references.insert(reference.to_owned(), image);
    }

    /// Makes every call fail as unreachable until it is set back. Instances go on meanwhile.
    pub fn set_unavailable(&self, unavailable: bool) {
        self.state().unavailable = unavailable;
    }

    /// Makes the ingress as good or bad as this until it is set otherwise. It goes on with the routes that it has.
    pub fn set_ingress(&self, ingress: Ingress) {
        self.state().ingress = ingress;
    }

    /// Makes it order certificates by itself, and says where they stand. Those of hosts that it wasn't asked for don't show.
    pub fn order_certificates(&self, stand: Vec<super::OrderedCertificate>) {
        self.state().ordered = Some(stand);
    }

    /// Returns the workloads that were removed while the ingress sent requests to them: there should be none.
    pub fn removed_while_routed(&self) -> Vec<super::WorkloadKey> {
        self.state().removed_while_routed.clone()
    }

    /// Makes calls fail as unreachable once this many more were made, until `None` is set: a crash between two calls.
    pub fn fail_after(&self, calls: Option<usize>) {
        let mut state = self.state();
        state.fails_at = calls.map(|calls| state.calls.len() + calls);
    }

    /// Returns the spec that a workload has now.
    pub fn spec_of(&self, key: &super::WorkloadKey) -> Option<super::WorkloadSpec> {
        self.settled().workloads.get(key).map(|workload| workload.spec.clone())
    }

    /// Returns the images that were pulled and not removed.
    pub fn images(&self) -> Vec<Digest> {
        self.state().images.keys().cloned().collect()
    }

    /// Makes the autoscaler of a workload want so many instances, as a load would; within its bounds, like a real one.
    pub fn load(&self, key: &super::WorkloadKey, replicas: u32) {
        let now = self.clock.now();
        let mut state = self.settled();
        let Some(workload) = state.workloads.get_mut(key) else { return };
        let Some(bounds) = workload.spec.autoscale else { return };
        let wanted = bounds.within(replicas);
        workload.wanted = Some(wanted);
        state.resize(key, wanted as usize, &self.ids, now);
        drop(state);
        self.hint();
    }

    /// Makes the runtime have no autoscaler, as Docker has none.
    pub fn without_autoscale(&self) {
        self.state().no_autoscale = true;
    }

    /// Makes `ensure_workload` be refused with these words until `None` is set.
    pub fn refuse_workloads(&self, reason: Option<&str>) {
        self.state().refusal = reason.map(str::to_owned);
    }

    /// Ends an instance's process now; it comes back after the backoff.
    pub fn crash(&self, instance: &InstanceId, code: i64, oom: bool) {
        let now = self.clock.now();
        self.state().crash(instance, LastExit { code, oom, at: Some(now) }, now);
        self.hint();
    }

    /// Makes the probe of an instance fail or succeed from now on.
    pub fn set_unready(&self, instance: &InstanceId, unready: bool) {
        self.state().set_unready(instance, unready);
        self.hint();
    }

    /// Prints a line as an instance would.
    pub fn print(&self, instance: &InstanceId, line: &str) {
        let chunk = self.state().print(instance, line, LogStream::Out, self.clock.now());
        if let Some(chunk) = chunk {
            // Nobody following is fine.
            let _ = self.lines.send(chunk);
        }
    }

    /// Sends a hint, as a driver does when something changed by time alone.
    pub fn hint(&self) {
        let _ = self.hints.send(RuntimeEvent { placement: None });
    }

    /// Returns the route table that was last put.
    pub fn route_table(&self) -> RouteTable {
        self.state().table.clone()
    }

    /// Returns what the routes lead to now.
    pub fn routed(&self) -> ObservedRoutes {
        self.settled().observed_routes()
    }

    /// Returns the names of the calls that were made so far, in order.
    pub fn calls(&self) -> Vec<&'static str> {
        self.state().calls.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Brings the state up to now.
    fn settled(&self) -> MutexGuard<'_, State> {
        let mut state = self.state();
        state.settle(self.clock.now());
        state
    }

    /// Notes a call, and fails it while the runtime is away.
    fn called(&self, call: &'static str) -> RuntimeResult<MutexGuard<'_, State>> {
        let mut state = self.settled();
        state.calls.push(call);
        if state.unavailable || state.fails_at.is_some_and(|at| state.calls.len() > at) {
            return Err(RuntimeError::Unavailable { doing: call.to_owned(), source: None });
        }
        Ok(state)
    }
}

/// Adds a span to a time.
fn after(at: jiff::Timestamp, span: Duration) -> jiff::Timestamp {
    let ms = i64::try_from(span.as_millis()).unwrap_or(i64::MAX / 4);
    jiff::Timestamp::from_millisecond(at.as_millisecond().saturating_add(ms)).unwrap_or(jiff::Timestamp::MAX)
}
