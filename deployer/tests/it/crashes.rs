//! The server dies after every single step; every step is made twice.

use std::time::Duration;

use panda_deployer::runtime::fake::Behaviour;

use crate::support::Rig;

const RELEASE: &str =
    "[deploy]\nrelease = \"sh -c 'sleep 2'\"\n[processes.web]\n[processes.worker]\ncommand = \"work\"\n";

/// Deploys a second version and kills the server after each activation, the first of them after `healthy` ones.
async fn deploy_with_crashes(twice: bool, healthy: usize, crash_always: bool) {
    let mut rig = Rig::new().await;
    rig.twice = twice;
    rig.image('1', Behaviour::default());
    rig.image('2', Behaviour::ready_after(Duration::from_secs(2)));
    rig.scale("web", 2).await;
    let old = rig.deploy_live('1').await;
    let id = rig.ask('2', Some(RELEASE)).await;
    for step in 0..40 {
        match step % 2 {
            0 => rig.jobs().await,
            _ => drop(rig.look().await),
        }
        assert_eq!(rig.upstreams(), 2, "step {step}");
        if step == healthy || (crash_always && step > healthy) {
            rig.crash();
        }
        rig.test.clock.advance(Duration::from_millis(500));
    }
    assert_eq!((rig.state(&old).await, rig.state(&id).await), ("superseded", "live"));
    let runs = rig.runs().await;
    let instances: Vec<_> = runs.iter().map(|w| (w.key.process.to_string(), w.instances.len())).collect();
    assert_eq!(instances, [("web".to_owned(), 2), ("worker".to_owned(), 1)], "after {healthy}");
    let starts = rig.fake.calls().into_iter().filter(|call| *call == "start_task").count();
    assert_eq!(starts, 1, "after {healthy}");
}

#[tokio::test]
async fn a_server_that_dies_after_any_step_of_a_deploy_finishes_it() {
    for healthy in 0..16 {
        deploy_with_crashes(false, healthy, false).await;
    }
}

#[tokio::test]
async fn a_server_that_dies_after_every_step_of_a_deploy_finishes_it() {
    deploy_with_crashes(false, 0, true).await;
}

#[tokio::test]
async fn every_step_may_run_twice() {
    deploy_with_crashes(true, 0, true).await;
}

#[tokio::test]
async fn an_activation_that_is_dropped_at_any_point_is_made_up_for() {
    for cut in 0..60 {
        let mut rig = Rig::new().await;
        rig.image('1', Behaviour::default());
        rig.image('2', Behaviour::default());
        let old = rig.deploy_live('1').await;
        let id = rig.ask('2', Some(RELEASE)).await;
        rig.jobs().await;
        rig.test.clock.advance(Duration::from_secs(1));
        rig.look().await;
        rig.test.clock.advance(Duration::from_secs(2));
        {
            // Each call to the runtime counts; after so many of them it is gone until the server is started anew.
            rig.fake.fail_after(Some(cut));
            rig.look().await;
            rig.crash();
            rig.fake.fail_after(None);
        }
        rig.pass(15).await;
        assert_eq!((rig.state(&old).await, rig.state(&id).await), ("superseded", "live"), "cut at {cut}");
        assert_eq!((rig.upstreams(), rig.runs().await.len()), (1, 2), "cut at {cut}");
    }
}
