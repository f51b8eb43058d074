//! Two servers on one PostgreSQL, each with jobs and reconcilers of its own.

use std::sync::Arc;
use std::time::Duration;

use panda_deployer::runtime::fake::Behaviour;
use panda_domain::ids::{DeploymentId, IdSource};
use panda_jobs::{Notices, Reconciler, Reconcilers};
use panda_store::testing::TestStore;
use panda_store::{KeySource, Keyring, Store};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::support::{Rig, server};

const RELEASE: &str = "[deploy]\nrelease = \"sh -c 'sleep 5'\"\n";
/// Longer than anything here takes on a slow machine.
const LONG: Duration = Duration::from_mins(1);

/// A running server; dropped, it dies as by `kill -9`: where it stands, its leases kept.
struct Running(#[expect(dead_code, reason = "its tasks die with it")] JoinSet<()>);

async fn start(rig: &Rig, owner: &'static str) -> Running {
    let keyring = Keyring::load(KeySource::File(rig.test.key_file.clone())).await.unwrap();
    let clock = rig.test.clock.clone();
    let store = Store::open(&rig.test.config, keyring, clock.clone(), IdSource::random(clock)).await.unwrap();
    let parts = server(&store, &rig.fake, owner);
    let activator = Reconcilers::new(store.clone(), owner);
    let (never, mut tasks) = (CancellationToken::new(), JoinSet::new());
    tasks.spawn(parts.runner.run(never.clone()));
    let reconcilers: [Arc<dyn Reconciler>; 3] =
        [Arc::new(parts.rollouts), Arc::new(parts.deadlines), Arc::new(parts.tasks)];
    for reconciler in reconcilers {
        let (activator, never) = (activator.clone(), never.clone());
        let notices = Notices::with_changes(store.changes());
        tasks.spawn(async move {
            activator.run(reconciler, Duration::from_millis(100), notices, never).await;
        });
    }
    Running(tasks)
}

/// Lets time pass, a second for each look, until the deployment is in this state; `check` holds at each look.
async fn until(rig: &Rig, id: &DeploymentId, state: &str, check: impl Fn()) {
    let waiting = async {
        let mut changes = rig.store().changes();
        while rig.state(id).await != state {
            check();
            rig.test.clock.advance(Duration::from_secs(1));
            // What the servers write is a notice; without one there is time to look again.
            let _ = tokio::time::timeout(Duration::from_millis(100), changes.changed()).await;
        }
    };
    let waited = tokio::time::timeout(LONG, waiting).await;
    assert!(waited.is_ok(), "still {:?}", rig.deployment(id).await.state);
}

fn starts(rig: &Rig) -> usize {
    rig.fake.calls().into_iter().filter(|call| *call == "start_task").count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_servers_on_one_postgresql_each_deploy_is_made_once() {
    let Some(test) = TestStore::postgres().await else { return };
    let rig = Rig::on(test).await;
    rig.image('1', Behaviour::default());
    rig.image('2', Behaviour::ready_after(Duration::from_secs(2)));
    rig.scale("web", 2).await;
    let (_one, _two) = (start(&rig, "one").await, start(&rig, "two").await);
    let first = rig.ask('1', None).await;
    until(&rig, &first, "live", || ()).await;
    for turn in 1..=4 {
        let digit = if turn % 2 == 0 { '1' } else { '2' };
        let next = rig.ask(digit, Some(RELEASE)).await;
        until(&rig, &next, "live", || assert_eq!(rig.upstreams(), 2)).await;
        assert_eq!(starts(&rig), turn, "its release command ran once");
        assert_eq!(rig.release_of(&next).await.number as usize, turn + 1);
    }
    assert_eq!((rig.deployments().await.len(), rig.fake.removed_while_routed()), (5, vec![]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_one_of_two_servers_dies_in_a_deploy_the_other_takes_over() {
    for (state, victim) in [("releasing", 0), ("releasing", 1), ("rolling", 0), ("rolling", 1)] {
        let Some(test) = TestStore::postgres().await else { return };
        let rig = Rig::on(test).await;
        rig.image('1', Behaviour::default());
        rig.image('2', Behaviour::ready_after(Duration::from_secs(5)));
        rig.scale("web", 2).await;
        let mut servers = vec![start(&rig, "one").await, start(&rig, "two").await];
        let first = rig.ask('1', None).await;
        until(&rig, &first, "live", || ()).await;
        let next = rig.ask('2', Some(RELEASE)).await;
        until(&rig, &next, state, || assert_eq!(rig.upstreams(), 2)).await;
        drop(servers.remove(victim));
        until(&rig, &next, "live", || assert_eq!(rig.upstreams(), 2)).await;
        assert_eq!((starts(&rig), rig.release_of(&next).await.number), (1, 2), "{victim} died while {state}");
        assert_eq!((rig.upstreams(), rig.fake.removed_while_routed()), (2, vec![]));
    }
}
