//! Jobs, handlers and waiting for what they do.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use panda_domain::ids::{JobId, PlacementId, TeamId};
use panda_domain::job::JobPayload;
use panda_jobs::{Runner, RunnerSettings};
use panda_store::testing::TestStore;
use tokio::sync::watch;

/// Longer than anything here takes on a slow machine.
pub(crate) const LONG: Duration = Duration::from_secs(20);

/// Runs `test` with a fresh store on each database.
pub(crate) async fn on_each(test: impl AsyncFn(&TestStore)) {
    for store in TestStore::each().await {
        test(&store).await;
    }
}

/// What happened, in order; can be waited for.
#[derive(Clone)]
pub(crate) struct Log(Arc<Mutex<Vec<String>>>, watch::Sender<usize>);

impl Log {
    pub(crate) fn new() -> Self {
        Self(Arc::default(), watch::channel(0).0)
    }

    pub(crate) fn add(&self, entry: impl Into<String>) {
        self.0.lock().unwrap().push(entry.into());
        self.1.send_modify(|n| *n += 1);
    }

    pub(crate) fn entries(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    pub(crate) fn count(&self, entry: &str) -> usize {
        self.entries().iter().filter(|e| *e == entry).count()
    }

    pub(crate) async fn wait_for(&self, entry: &str, times: usize) {
        let mut seen = self.1.subscribe();
        let wait = async {
            while self.count(entry) < times {
                seen.changed().await.unwrap();
            }
        };
        let waited = tokio::time::timeout(LONG, wait).await;
        assert!(waited.is_ok(), "`{entry}` was seen {} times in {:?}", self.count(entry), self.entries());
    }
}

pub(crate) async fn enqueue(test: &TestStore, key: &str) -> JobId {
    let ids = test.store.ids();
    let payload = JobPayload::Build { team: ids.next(), deployment: ids.next() };
    let mut tx = test.store.begin().await.unwrap();
    let id = tx.enqueue(&payload, key, test.clock.now()).await.unwrap();
    tx.wake();
    tx.commit().await.unwrap();
    id
}

/// Makes a team with an app in `production`.
pub(crate) async fn placement(test: &TestStore) -> (TeamId, PlacementId) {
    let mut tx = test.store.begin().await.unwrap();
    let team = tx.insert_team(&"acme".parse().unwrap()).await.unwrap().id;
    let project = tx.ensure_project(&team, &"default".parse().unwrap()).await.unwrap();
    let production = tx.ensure_environment(&team, &project.id, &"production".parse().unwrap()).await.unwrap();
    let app = tx.insert_app(&team, &project.id, &"shop".parse().unwrap()).await.unwrap();
    let placement = tx.insert_placement(&app, &production, "shop.localhost").await.unwrap().id;
    tx.commit().await.unwrap();
    (team, placement)
}

pub(crate) async fn state(test: &TestStore, job: &JobId) -> String {
    test.store.read().await.unwrap().job_state(job).await.unwrap().unwrap().0
}

/// Waits until the job's row says so.
pub(crate) async fn wait_for_state(test: &TestStore, job: &JobId, wanted: &str) {
    let mut changes = test.store.changes();
    let wait = async {
        while state(test, job).await != wanted {
            changes.changed().await.unwrap();
        }
    };
    let waited = tokio::time::timeout(LONG, wait).await;
    assert!(waited.is_ok(), "still {}", state(test, job).await);
}

pub(crate) fn runner(test: &TestStore, owner: &str) -> Runner {
    // The heart beats seldom: what has to be quick comes by notice. The grace is short: some handlers don't stop.
    let settings = RunnerSettings {
        lease: Duration::from_mins(1),
        heartbeat: Duration::from_secs(20),
        poll: Duration::from_secs(10),
        grace: Duration::from_millis(200),
    };
    Runner::new(test.store.clone(), owner).with_settings(settings)
}
