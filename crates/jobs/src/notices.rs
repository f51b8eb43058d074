//! Notices: something may have changed. They carry no truth and may be lost or come twice.

use std::sync::Arc;

use tokio::sync::{Notify, watch};

/// Wakes a reconciler. Clones wake the same one; many notices before it looks are one.
#[derive(Clone, Default)]
pub struct Notices {
    notify: Arc<Notify>,
    changes: Option<watch::Receiver<u64>>,
}

impl Notices {
    /// Makes notices that only [`Notices::notify`] gives.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes notices that also come with each change of the store: see `Store::changes`.
    pub fn with_changes(changes: watch::Receiver<u64>) -> Self {
        Self { notify: Arc::default(), changes: Some(changes) }
    }

    /// Gives a notice. One that is given during a run leads to another run.
    pub fn notify(&self) {
        self.notify.notify_one();
    }

    /// Waits for a notice.
    pub(crate) async fn wait(&mut self) {
        match &mut self.changes {
            None => self.notify.notified().await,
            Some(changes) => tokio::select! {
                () = self.notify.notified() => {}
                changed = changes.changed() => {
                    if changed.is_err() {
                        // The store is gone; only direct notices are left.
                        self.changes = None;
                        self.notify.notified().await;
                    }
                }
            },
        }
    }
}
