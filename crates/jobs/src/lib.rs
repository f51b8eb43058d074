//! The engine of everything that goes on without somebody waiting at the other end of a request.
//!
//! A **job** has an end: [`Runner`] claims it, runs its [`Handler`] outside of any transaction, and writes its end.
//! It may die at any point and is started again; its named steps keep their outputs. A **reconciler** keeps something
//! true: [`Reconcilers`] activates it by time or notice. Knows no kinds of jobs and nothing that a reconciler does.

mod context;
mod heartbeat;
mod notices;
mod reconcilers;
mod runner;

pub use context::{JobContext, StepError, Stop};
pub use notices::Notices;
pub use reconcilers::{Outcome, Reconciler, ReconcilerStatus, Reconcilers};
pub use runner::{Handler, JobOutcome, Runner, RunnerSettings};

/// Returns the text that a panic left.
pub(crate) fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "without a text".to_owned())
}
