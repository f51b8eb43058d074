//! What the runtime holds and nobody knows, and what tasks leave.

use std::time::Duration;

use panda_deployer::runtime::fake::FakeRuntime;
use panda_deployer::runtime::{
    EnvironmentKey, EnvironmentSpec, Inventory, TaskKey, TaskSpec, Tasks, WorkloadKey, WorkloadSpec,
    Workloads,
};
use panda_domain::names::EnvironmentName;
use panda_jobs::{Outcome, Reconciler};

use super::{DAY, Yard, almost};

const GRACE: Duration = Duration::from_mins(5);

/// Leaves a workload, a task and their environment that no row stands for, made like those of an app that serves.
async fn leave_behind(yard: &Yard, fake: &FakeRuntime) -> EnvironmentKey {
    let ids = yard.rig.store().ids();
    let environment = EnvironmentKey { team: yard.rig.team.id.clone(), environment: ids.next() };
    let spec = EnvironmentSpec { key: environment.clone(), name: EnvironmentName::production() };
    fake.ensure_environment(&spec).await.unwrap();
    let served = yard.rig.runs().await.remove(0).key;
    let like = fake.spec_of(&served).unwrap();
    let key = WorkloadKey { environment: environment.clone(), placement: ids.next(), ..served };
    let task = TaskSpec {
        key: TaskKey { environment: environment.clone(), task: ids.next() },
        placement: key.placement.clone(),
        app: like.app.clone(),
        image: like.image.clone(),
        user: like.user,
        command: vec!["true".to_owned()],
        env: like.env.clone(),
        files: Vec::new(),
        size: like.size,
        tty: false,
        timeout_s: 60,
    };
    fake.ensure_workload(&WorkloadSpec { key, ..like }).await.unwrap();
    fake.start_task(&task).await.unwrap();
    environment
}

async fn held(yard: &Yard) -> Inventory {
    yard.rig.fake.inventory().await.unwrap()
}

#[tokio::test]
async fn what_nobody_knows_goes_when_it_was_so_for_a_while_and_what_serves_stays() {
    let yard = Yard::new().await;
    yard.rig.deploy_live('1').await;
    let own = held(&yard).await;
    leave_behind(&yard, &yard.rig.fake).await;
    let all = held(&yard).await;
    assert_eq!((all.workloads.len(), all.tasks.len(), all.environments.len()), (2, 1, 2));
    for _ in 0..2 {
        yard.tidy().await;
        assert_eq!(held(&yard).await, all, "it may be of an app that is being made");
        yard.pass(GRACE / 2);
    }
    assert_eq!(yard.tidy().await, Outcome::Applied);
    let left = held(&yard).await;
    assert_eq!((&left.workloads, &left.tasks), (&own.workloads, &own.tasks));
    yard.tidy().await;
    yard.pass(GRACE);
    yard.tidy().await;
    assert_eq!(held(&yard).await, own, "the network goes after those in it");
    assert_eq!(yard.rig.upstreams(), 1);
}

#[tokio::test]
async fn a_new_server_watches_an_orphan_anew() {
    let mut yard = Yard::new().await;
    yard.rig.deploy_live('1').await;
    leave_behind(&yard, &yard.rig.fake).await;
    yard.tidy().await;
    yard.pass(GRACE);
    yard.garbage = super::garbage(&yard.rig, &yard.blobs, &yard.settings);
    yard.tidy().await;
    assert_eq!(held(&yard).await.workloads.len(), 2);
}

#[tokio::test]
async fn an_engine_that_is_away_is_asked_again_and_holds_up_nothing_else() {
    let yard = Yard::new().await;
    yard.rig.deploy_live('1').await;
    let tree = yard.upload(&["a"]).await;
    let mut tx = yard.rig.store().begin().await.unwrap();
    tx.delete_app_rows(&yard.rig.team.id, &yard.rig.app.id).await.unwrap();
    tx.commit().await.unwrap();
    yard.rig.fake.set_unavailable(true);
    yard.pass(2 * DAY);
    let outcome = yard.garbage.activate().await;
    assert!(matches!(&outcome, Outcome::Failed { object, .. } if object == "runtime"), "{outcome:?}");
    assert!(!yard.has_tree(&tree).await);
    yard.rig.fake.set_unavailable(false);
    for _ in 0..4 {
        yard.tidy().await;
        yard.pass(GRACE);
    }
    assert_eq!(held(&yard).await, Inventory::default());
}

#[tokio::test]
async fn a_task_and_its_container_go_some_days_after_its_end() {
    let yard = Yard::new().await;
    yard.rig.deploy_live('1').await;
    let task = yard.rig.run("exit 0").await;
    let id = yard.rig.ask('2', Some("[deploy]\nrelease = \"true\"\n")).await;
    yard.rig.pass(20).await;
    assert_eq!(yard.rig.state(&id).await, "live");
    assert_eq!(held(&yard).await.tasks.len(), 2, "the command and the release's command");
    yard.pass(almost(7 * DAY));
    for _ in 0..2 {
        yard.tidy().await;
        yard.pass(Duration::from_secs(1));
    }
    assert_eq!(held(&yard).await.tasks.len(), 2, "its output can still be read");
    yard.pass(Duration::from_mins(2));
    for _ in 0..2 {
        yard.tidy().await;
        yard.pass(GRACE);
    }
    assert!(held(&yard).await.tasks.is_empty());
    assert_eq!(yard.rig.store().read().await.unwrap().task_by_id(&task).await.unwrap(), None);
    assert_eq!(yard.rig.upstreams(), 1);
}
