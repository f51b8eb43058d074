//! One call at a time for each workload, without waiting: who comes second is told to come again.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use super::WorkloadKey;

/// The workloads that a call works on now.
#[derive(Debug, Clone, Default)]
pub struct Turns(Arc<Mutex<HashSet<WorkloadKey>>>);

/// The right to work on a workload; given back when dropped.
#[derive(Debug)]
pub struct Turn {
    turns: Turns,
    key: WorkloadKey,
}

impl Turns {
    /// Takes the turn, `None` while somebody has it.
    pub fn take(&self, key: &WorkloadKey) -> Option<Turn> {
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        taken.insert(key.clone()).then(|| Turn { turns: self.clone(), key: key.clone() })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.turns.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}
