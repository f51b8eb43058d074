//! The walking path and what people do meanwhile.

use std::time::Duration;

use panda_deployer::runtime::fake::Behaviour;
use panda_deployer::runtime::{Inventory, WorkloadKey, Workloads};
use panda_domain::env::{EnvChange, EnvValue};
use panda_domain::secret::Secret;

use crate::support::{Rig, is_gone};

#[tokio::test]
async fn a_deploy_goes_live_and_the_next_one_takes_over_only_when_all_of_it_is_ready() {
    let rig = Rig::new().await;
    rig.image('1', Behaviour::default());
    rig.image('2', Behaviour::ready_after(Duration::from_secs(5)));
    rig.scale("web", 3).await;
    let first = rig.deploy_live('1').await;
    assert_eq!((rig.upstreams(), rig.runs().await.len()), (3, 1));

    let second = rig.ask('2', None).await;
    let (old, mut seen) = (rig.web_of(&first).await, Vec::new());
    for _ in 0..30 {
        rig.turn().await;
        let routed = rig.routed();
        assert_eq!((routed.len(), rig.upstreams()), (1, 3), "the route is never empty once it served");
        if routed == [old.clone()] {
            assert_ne!(rig.state(&second).await, "live");
        }
        let state = rig.state(&second).await;
        if seen.last() != Some(&state) {
            seen.push(state);
        }
        rig.test.clock.advance(Duration::from_millis(500));
    }
    assert_eq!(seen, ["rolling", "live"]);
    let way = rig.store().read().await.unwrap().progress_after(&second, 0, 100).await.unwrap();
    let states: Vec<_> =
        way.iter().filter(|p| p.kind == "state").filter_map(|p| p.body["state"].as_str()).collect();
    assert_eq!(states, ["queued", "releasing", "rolling", "live"]);
    assert_eq!(rig.state(&first).await, "superseded");
    assert_eq!(rig.routed(), [rig.web_of(&second).await]);
    assert_eq!(rig.runs().await.len(), 1, "the old one is gone");
    assert!(rig.row().await.placement.converged());
}

#[tokio::test]
async fn a_restart_replaces_every_instance_of_the_same_release() {
    let rig = Rig::new().await;
    rig.image('1', Behaviour::default());
    let first = rig.deploy_live('1').await;
    let before = rig.runs().await;
    let again = rig.restart().await.unwrap();
    rig.pass(12).await;
    assert_eq!((rig.state(&first).await, rig.state(&again).await), ("superseded", "live"));
    let after = rig.runs().await;
    assert_eq!((after.len(), after[0].key.revision), (1, 1));
    assert_eq!(after[0].key.release, before[0].key.release);
    assert_ne!(after[0].instances[0].id, before[0].instances[0].id);
    assert_eq!(rig.upstreams(), 1);
}

#[tokio::test]
async fn a_rollback_runs_the_release_before_under_a_new_number() {
    let rig = Rig::new().await;
    rig.image('1', Behaviour::default());
    rig.image('2', Behaviour::default());
    let first = rig.deploy_live('1').await;
    rig.deploy_live('2').await;
    let back = rig.roll_back().await.unwrap();
    rig.pass(12).await;
    let (release, original) = (rig.release_of(&back).await, rig.release_of(&first).await);
    assert_eq!(rig.state(&back).await, "live");
    assert_eq!((release.number, release.copy_of, release.image), (3, Some(1), original.image));
}

#[tokio::test]
async fn a_newer_deploy_overtakes_an_older_one_in_each_of_its_states() {
    let slow_release = "[deploy]\nrelease = \"sh -c 'sleep 60'\"\n";
    for (state, manifest) in [("queued", None), ("releasing", Some(slow_release)), ("rolling", None)] {
        let rig = Rig::new().await;
        rig.image('1', Behaviour::default());
        rig.image('2', Behaviour::never_ready());
        rig.image('3', Behaviour::default());
        let good = rig.deploy_live('1').await;
        let older = rig.ask('2', manifest).await;
        if state != "queued" {
            rig.pass(3).await;
        }
        assert_eq!(rig.state(&older).await, state);
        let newer = rig.ask('3', None).await;
        for _ in 0..15 {
            rig.turn().await;
            assert_eq!(rig.upstreams(), 1, "while {state}");
            rig.test.clock.advance(Duration::from_secs(1));
        }
        let states = (rig.state(&good).await, rig.state(&older).await, rig.state(&newer).await);
        assert_eq!(states, ("superseded", "canceled", "live"), "while {state}");
        assert_eq!(rig.runs().await.len(), 1, "nothing of the overtaken one is left");
    }
}

#[tokio::test]
async fn a_deploy_whose_routes_nobody_saw_arrive_is_overtaken_as_one_that_never_served() {
    let rig = Rig::new().await;
    rig.image('1', Behaviour::default());
    rig.image('2', Behaviour::never_ready());
    let good = rig.deploy_live('1').await;
    let rolled = rig.restart().await.unwrap();
    rig.jobs().await;
    // The pointer has moved, the server dies before it says so, and a newer deploy comes.
    let row = rig.row().await;
    let mut tx = rig.store().begin().await.unwrap();
    let releasing = tx.deployment_by_id(&rolled).await.unwrap().unwrap();
    let rolling =
        tx.advance_deployment(&releasing, panda_domain::deployment::DeploymentState::Rolling).await.unwrap();
    tx.switch_to(&rolling, &row.placement.desired_release.unwrap(), 1).await.unwrap();
    tx.commit().await.unwrap();
    assert!(!rig.cancel(&rolled).await, "the routes are on their way");
    let newer = rig.ask('2', None).await;
    rig.jobs().await;
    let states = (rig.state(&good).await, rig.state(&rolled).await, rig.state(&newer).await);
    assert_eq!(states, ("live", "canceled", "releasing"));
    assert!(rig.cancel(&newer).await);
    rig.pass(5).await;
    assert_eq!(rig.routed()[0].revision, 0);
    assert_eq!((rig.upstreams(), rig.runs().await.len()), (1, 1));
}

#[tokio::test]
async fn a_canceled_deploy_leaves_the_old_one_serving_whatever_state_it_was_in() {
    let slow_release = "[deploy]\nrelease = \"sh -c 'sleep 60'\"\n";
    for (state, manifest) in [("queued", None), ("releasing", Some(slow_release)), ("rolling", None)] {
        let rig = Rig::new().await;
        rig.image('1', Behaviour::default());
        rig.image('2', Behaviour::never_ready());
        let good = rig.deploy_live('1').await;
        let bad = rig.ask('2', manifest).await;
        if state != "queued" {
            rig.pass(3).await;
        }
        assert_eq!(rig.state(&bad).await, state);
        assert!(rig.cancel(&bad).await);
        rig.pass(12).await;
        assert_eq!((rig.state(&good).await, rig.state(&bad).await), ("live", "canceled"), "while {state}");
        assert_eq!(rig.routed(), [rig.web_of(&good).await]);
        assert_eq!((rig.upstreams(), rig.runs().await.len()), (1, 1), "while {state}");
    }
}

#[tokio::test]
async fn a_rollout_that_was_canceled_under_the_hand_does_not_take_the_routes() {
    let rig = Rig::new().await;
    rig.image('1', Behaviour::default());
    rig.image('2', Behaviour::never_ready());
    let good = rig.deploy_live('1').await;
    let bad = rig.ask('2', None).await;
    rig.pass(2).await;
    let rolling = rig.deployment(&bad).await;
    assert!(rig.cancel(&bad).await);
    let mut tx = rig.store().begin().await.unwrap();
    let late = tx.switch_to(&rolling, rolling.release.as_ref().unwrap(), 0).await;
    assert!(matches!(late, Err(panda_store::StoreError::Stale { .. })));
    drop(tx);
    rig.pass(12).await;
    assert_eq!(rig.routed(), [rig.web_of(&good).await]);
}

#[tokio::test]
async fn a_scale_during_a_roll_is_what_runs_in_the_end() {
    for (from, to) in [(1, 4), (4, 1), (2, 0)] {
        let rig = Rig::new().await;
        rig.image('1', Behaviour::default());
        rig.image('2', Behaviour::ready_after(Duration::from_secs(4)));
        rig.scale("web", from).await;
        rig.deploy_live('1').await;
        let next = rig.ask('2', None).await;
        rig.pass(2).await;
        assert_eq!(rig.state(&next).await, "rolling");
        rig.scale("web", to).await;
        rig.pass(20).await;
        assert_eq!(rig.state(&next).await, "live", "{from} to {to}");
        assert_eq!(rig.upstreams(), to as usize, "{from} to {to}");
        assert!(rig.row().await.placement.converged());
    }
}

#[tokio::test]
async fn a_worker_rolls_with_web_and_only_web_is_routed() {
    let rig = Rig::new().await;
    rig.image('1', Behaviour::default());
    let manifest = "[processes.web]\n[processes.worker]\ncommand = \"work\"\n";
    let id = rig.ask('1', Some(manifest)).await;
    rig.pass(12).await;
    assert_eq!(rig.state(&id).await, "live");
    let runs: Vec<_> = rig.runs().await.into_iter().map(|w| w.key.process.to_string()).collect();
    assert_eq!(runs, ["web", "worker"]);
    assert_eq!(rig.routed(), [rig.web_of(&id).await]);
    // The next one has no worker: it goes.
    let next = rig.ask('1', None).await;
    rig.pass(12).await;
    assert_eq!(rig.state(&next).await, "live");
    assert_eq!(rig.runs().await.len(), 1);
}

#[tokio::test]
async fn scaled_to_zero_is_live_and_comes_back() {
    let rig = Rig::new().await;
    rig.image('1', Behaviour::default());
    rig.scale("web", 0).await;
    let id = rig.deploy_live('1').await;
    assert_eq!((rig.upstreams(), rig.runs().await.len()), (0, 0));
    assert!(rig.row().await.placement.converged());
    rig.scale("web", 2).await;
    rig.pass(3).await;
    assert_eq!(rig.routed(), [rig.web_of(&id).await]);
    assert_eq!(rig.upstreams(), 2);
}

#[tokio::test]
async fn a_workload_that_nobody_asked_for_is_removed() {
    let rig = Rig::new().await;
    rig.image('1', Behaviour::default());
    let id = rig.deploy_live('1').await;
    let mut spec = rig.fake.spec_of(&rig.web_of(&id).await).unwrap();
    spec.key = WorkloadKey { revision: 9, ..spec.key };
    rig.fake.ensure_workload(&spec).await.unwrap();
    assert_eq!(rig.runs().await.len(), 2);
    rig.pass(30).await;
    assert_eq!(rig.runs().await.len(), 1);
}

#[tokio::test]
async fn an_environment_that_was_taken_away_is_put_back() {
    let rig = Rig::new().await;
    rig.image('1', Behaviour::default());
    rig.scale("web", 0).await;
    rig.deploy_live('1').await;
    rig.fake.remove_environment(&rig.environment_key()).await.unwrap();
    rig.scale("web", 1).await;
    rig.pass(20).await;
    assert_eq!(rig.upstreams(), 1);
}

#[tokio::test]
async fn two_apps_of_an_environment_roll_beside_each_other() {
    let rig = Rig::new().await;
    rig.image('1', Behaviour::default());
    rig.deploy_live('1').await;
    let mut tx = rig.store().begin().await.unwrap();
    let project = rig.app.project.clone();
    let other = tx.insert_app(&rig.team.id, &project, &"blog".parse().unwrap()).await.unwrap();
    let place = tx.insert_placement(&other, &rig.environment, "blog.localhost").await.unwrap();
    tx.commit().await.unwrap();
    let mut second = rig;
    let first_placement = std::mem::replace(&mut second.placement, place.id);
    second.image('2', Behaviour::exits(1));
    let bad = second.ask('2', None).await;
    second.pass(20).await;
    assert_eq!(second.state(&bad).await, "unhealthy");
    let runs = second.runs().await;
    assert_eq!((runs.len(), &runs[0].key.placement), (1, &first_placement));
    assert_eq!(second.upstreams(), 1, "the first app serves on");
}

#[tokio::test]
async fn an_env_that_cannot_be_decrypted_stops_the_deploy_and_changes_nothing() {
    let rig = Rig::new().await;
    rig.image('1', Behaviour::default());
    rig.image('2', Behaviour::default());
    let good = rig.deploy_live('1').await;
    let value = EnvValue { value: Secret::new("s3cret"), secret: true };
    let changes = [("KEY".parse().unwrap(), EnvChange::Set(value))].into();
    let mut tx = rig.store().begin().await.unwrap();
    tx.change_env(&rig.team.id, &rig.placement, &changes, &Rig::actor()).await.unwrap();
    tx.commit().await.unwrap();
    rig.test.tamper("update env_versions set sealed = x'00112233445566778899'").await;
    let stuck = rig.ask('2', None).await;
    rig.pass(30).await;
    assert_eq!(rig.state(&stuck).await, "releasing");
    assert_eq!((rig.upstreams(), rig.runs().await.len()), (1, 1));
    rig.test.clock.advance(Duration::from_secs(1000));
    rig.pass(5).await;
    assert_eq!(rig.state(&stuck).await, "timed_out", "it ends all the same");
    assert_eq!(rig.routed(), [rig.web_of(&good).await]);
    assert_eq!((rig.upstreams(), rig.runs().await.len()), (1, 1));
}

#[tokio::test]
async fn a_runtime_that_is_away_for_a_while_fails_nothing() {
    let rig = Rig::new().await;
    rig.image('1', Behaviour::default());
    rig.image('2', Behaviour::default());
    rig.deploy_live('1').await;
    rig.fake.set_unavailable(true);
    let id = rig.ask('2', None).await;
    rig.pass(60).await;
    assert_eq!(rig.state(&id).await, "queued");
    rig.fake.set_unavailable(false);
    rig.test.clock.advance(Duration::from_secs(5));
    rig.jobs().await;
    rig.fake.set_unavailable(true);
    rig.pass(60).await;
    assert_eq!(rig.state(&id).await, "releasing");
    rig.fake.set_unavailable(false);
    rig.pass(12).await;
    assert_eq!(rig.state(&id).await, "live");
    assert_eq!((rig.upstreams(), rig.runs().await.len()), (1, 1));
}

#[tokio::test]
async fn a_runtime_that_never_comes_back_does_not_keep_a_deploy_from_ending() {
    let rig = Rig::new().await;
    rig.image('1', Behaviour::default());
    rig.image('2', Behaviour::never_ready());
    let good = rig.deploy_live('1').await;
    let id = rig.ask('2', None).await;
    rig.pass(3).await;
    assert_eq!(rig.state(&id).await, "rolling");
    rig.fake.set_unavailable(true);
    rig.pass(400).await;
    assert_eq!(rig.state(&id).await, "timed_out");
    rig.fake.set_unavailable(false);
    rig.pass(40).await;
    assert_eq!(rig.routed(), [rig.web_of(&good).await]);
    assert_eq!((rig.upstreams(), rig.runs().await.len()), (1, 1));
}

#[tokio::test]
async fn destroying_an_app_takes_its_tasks_along_whether_they_run_or_ended() {
    let rig = Rig::new().await;
    rig.image('1', Behaviour::default());
    let id = rig.ask('1', Some("[deploy]\nrelease = \"true\"\n")).await;
    rig.pass(12).await;
    assert_eq!(rig.state(&id).await, "live");
    rig.run("sleep 1000").await;
    rig.turn().await;
    rig.run("sleep 1").await; // asked for, and not started when the app goes
    assert_eq!(rig.fake.inventory().await.unwrap().tasks.len(), 2);
    rig.destroy().await;
    rig.pass(40).await;
    assert!(is_gone(&rig).await.unwrap());
    assert_eq!(rig.fake.inventory().await.unwrap(), Inventory::default());
}

#[tokio::test]
async fn destroying_an_app_leaves_nothing_and_twice_is_once() {
    let rig = Rig::new().await;
    rig.image('1', Behaviour::default());
    rig.image('2', Behaviour::never_ready());
    rig.deploy_live('1').await;
    rig.ask('2', None).await;
    rig.pass(2).await;
    rig.destroy().await;
    rig.pass(40).await;
    assert!(is_gone(&rig).await.unwrap());
    assert_eq!((rig.runs().await.len(), rig.routed().len()), (0, 0));
    assert_eq!(rig.fake.inventory().await.unwrap(), Inventory::default());
    let mut tx = rig.store().begin().await.unwrap();
    let payload =
        panda_domain::job::JobPayload::DestroyApp { team: rig.team.id.clone(), app: rig.app.id.clone() };
    let job = tx.enqueue(&payload, "destroy/again", rig.test.clock.now()).await.unwrap();
    tx.commit().await.unwrap();
    rig.pass(2).await;
    let state = rig.store().read().await.unwrap().job_state(&job).await.unwrap().unwrap();
    assert_eq!(state.0, "done");
}
