//! Every way in which a release isn't good enough: how the deploy ends, what it says, and that the old one serves on.

use std::time::Duration;

use panda_deployer::runtime::fake::{Behaviour, PullFailure};
use panda_domain::deployment::Trigger;
use panda_domain::failure::FailureCode;

use crate::support::Rig;

/// Deploys a good version, then a bad one; returns how the bad one ended: state, code, cause.
async fn after_a_good_one(
    behaviour: Behaviour,
    manifest: Option<&str>,
    seconds: u64,
) -> (&'static str, FailureCode, String, Vec<String>) {
    let rig = Rig::new().await;
    rig.image('1', Behaviour::default());
    rig.image('2', behaviour);
    rig.scale("web", 2).await;
    let good = rig.deploy_live('1').await;
    let bad = rig.ask('2', manifest).await;
    for _ in 0..seconds {
        rig.turn().await;
        assert_eq!((rig.routed(), rig.upstreams()), (vec![rig.web_of(&good).await], 2));
        rig.test.clock.advance(Duration::from_secs(1));
    }
    rig.pass(15).await;
    let ended = rig.deployment(&bad).await;
    let failure = ended.state.failure().unwrap_or_else(|| panic!("still {:?}", ended.state)).clone();
    let row = rig.row().await.placement;
    let good_release = rig.deployment(&good).await.release;
    assert_eq!((&row.last_good_release, &row.desired_release), (&good_release, &good_release));
    assert_eq!((rig.state(&good).await, rig.upstreams()), ("live", 2), "the old one serves on");
    let runs = rig.runs().await;
    assert_eq!((runs.len(), runs[0].key.clone()), (1, rig.web_of(&good).await), "nothing of it is left");
    assert!(row.converged());
    (ended.state.word(), failure.code, failure.cause, failure.log)
}

#[tokio::test]
async fn a_version_that_exits_loses_its_turn() {
    let mut behaviour = Behaviour::exits(1);
    behaviour.prints = vec!["Error: no database".to_owned()];
    let (state, code, cause, log) = after_a_good_one(behaviour, None, 20).await;
    assert_eq!((state, code), ("unhealthy", FailureCode::P208));
    assert!(cause.contains("exited with code 1"), "{cause}");
    assert!(log.iter().any(|line| line == "Error: no database"), "{log:?}");
}

#[tokio::test]
async fn a_version_that_never_gets_ready_ends_at_its_startup_time() {
    let (state, code, cause, _) = after_a_good_one(Behaviour::never_ready(), None, 125).await;
    assert_eq!((state, code), ("unhealthy", FailureCode::P204));
    assert!(cause.contains("listens on no port; 8080 was expected"), "{cause}");
}

#[tokio::test]
async fn a_version_that_listens_on_localhost_is_told_so() {
    let (state, code, cause, _) = after_a_good_one(Behaviour::listens_on(8080, true), None, 125).await;
    assert_eq!((state, code), ("unhealthy", FailureCode::P202));
    assert!(cause.contains("localhost only"), "{cause}");
}

#[tokio::test]
async fn a_version_that_listens_elsewhere_is_told_where() {
    let (state, code, cause, _) = after_a_good_one(Behaviour::listens_on(3000, false), None, 125).await;
    assert_eq!((state, code), ("unhealthy", FailureCode::P203));
    assert!(cause.contains("port 3000"), "{cause}");
}

#[tokio::test]
async fn a_version_that_eats_its_memory_loses_its_turn_at_once() {
    let mut behaviour = Behaviour::out_of_memory(Duration::from_secs(2));
    behaviour.ready_after = None;
    let (state, code, cause, _) = after_a_good_one(behaviour, None, 10).await;
    assert_eq!((state, code), ("unhealthy", FailureCode::P206));
    assert!(cause.contains("limit"), "{cause}");
}

#[tokio::test]
async fn an_image_that_cannot_be_pulled_is_said_at_once() {
    let (state, code, _, _) = after_a_good_one(Behaviour::not_pulled(PullFailure::Absent), None, 5).await;
    assert_eq!((state, code), ("unhealthy", FailureCode::P207));
}

#[tokio::test]
async fn an_image_that_cannot_be_pulled_for_its_release_command_is_said_at_once() {
    let manifest = Some("[deploy]\nrelease = \"migrate\"\n");
    let (state, code, _, _) = after_a_good_one(Behaviour::not_pulled(PullFailure::Absent), manifest, 5).await;
    assert_eq!((state, code), ("release_failed", FailureCode::P207));
}

#[tokio::test]
async fn a_file_of_a_secret_that_is_not_there_is_said_at_once() {
    for release in ["", "[deploy]\nrelease = \"migrate\"\n"] {
        let manifest = format!("{release}[files]\n\"/app/keys/private.pem\" = {{ secret = \"NO_SUCH\" }}\n");
        let (state, code, cause, _) = after_a_good_one(Behaviour::default(), Some(&manifest), 5).await;
        let expected = if release.is_empty() { "unhealthy" } else { "release_failed" };
        assert_eq!((state, code), (expected, FailureCode::P201));
        assert!(cause.contains("NO_SUCH"), "{cause}");
    }
}

#[tokio::test]
async fn a_release_command_that_fails_starts_nothing() {
    let manifest = Some("[deploy]\nrelease = \"sh -c 'echo migrating; sleep 3; exit 4'\"\n");
    let (state, code, cause, log) = after_a_good_one(Behaviour::default(), manifest, 10).await;
    assert_eq!((state, code), ("release_failed", FailureCode::P301));
    assert!(cause.contains("exited with code 4"), "{cause}");
    assert_eq!(log, ["migrating"]);
}

#[tokio::test]
async fn a_release_command_that_hangs_is_ended_at_its_deadline() {
    let manifest = Some("[deploy]\nrelease = \"sh -c 'sleep 9999'\"\nrelease_timeout = \"1m\"\n");
    let (state, code, cause, _) = after_a_good_one(Behaviour::default(), manifest, 62).await;
    assert!(["timed_out", "release_failed"].contains(&state), "{state}");
    assert_eq!(code, FailureCode::P301);
    assert!(cause.contains("60 s") || cause.contains("in time"), "{cause}");
}

#[tokio::test]
async fn a_release_command_that_works_runs_once_and_before_any_instance() {
    let rig = Rig::new().await;
    rig.image('1', Behaviour::default());
    let manifest = "[deploy]\nrelease = \"sh -c 'echo migrating; sleep 5'\"\n";
    let id = rig.ask('1', Some(manifest)).await;
    rig.pass(3).await;
    assert_eq!((rig.state(&id).await, rig.runs().await.len()), ("releasing", 0));
    rig.pass(5).await;
    assert_eq!((rig.state(&id).await, rig.upstreams()), ("live", 1));
    let starts = rig.fake.calls().into_iter().filter(|call| *call == "start_task").count();
    assert_eq!(starts, 1);
}

#[tokio::test]
async fn the_first_deploy_that_fails_leaves_nothing_running() {
    let rig = Rig::new().await;
    rig.image('1', Behaviour::exits(1));
    let bad = rig.ask('1', None).await;
    rig.pass(30).await;
    assert_eq!(rig.state(&bad).await, "unhealthy");
    assert_eq!((rig.runs().await.len(), rig.routed().len()), (0, 0));
    let row = rig.row().await.placement;
    assert_eq!((row.desired_release.as_ref(), row.converged()), (None, true));
}

#[tokio::test]
async fn a_deadline_is_counted_from_the_first_start_not_from_a_restart_of_the_server() {
    let mut rig = Rig::new().await;
    rig.image('1', Behaviour::ready_after(Duration::from_secs(9999)));
    let manifest =
        "[processes.web]\n[processes.web.health]\nstartup = \"30m\"\n[deploy]\nhealth_timeout = \"2m\"\n";
    let id = rig.ask('1', Some(manifest)).await;
    for _ in 0..11 {
        rig.pass(10).await;
        rig.crash();
        assert_eq!(rig.state(&id).await, "rolling");
    }
    rig.pass(12).await;
    assert_eq!(rig.state(&id).await, "timed_out");
}

#[tokio::test]
async fn a_deploy_that_nobody_builds_ends_at_the_queue_deadline() {
    let rig = Rig::new().await;
    rig.image('1', Behaviour::default());
    rig.fake.set_unavailable(true);
    let id = rig.ask('1', None).await;
    rig.test.clock.advance(Duration::from_mins(31));
    rig.turn().await;
    let ended = rig.deployment(&id).await;
    assert_eq!(ended.state.word(), "timed_out");
    assert_eq!(ended.state.failure().unwrap().code, FailureCode::P501);
}

#[tokio::test]
async fn a_release_that_dies_after_it_went_live_goes_back_by_itself() {
    let rig = Rig::new().await;
    rig.image('1', Behaviour::default());
    rig.image('2', Behaviour::dies_after(Duration::from_secs(20), 3));
    let good = rig.deploy_live('1').await;
    let bad = rig.deploy_live('2').await;
    rig.pass(60).await;
    let all = rig.deployments().await;
    assert_eq!((all.len(), all[2].trigger), (3, Trigger::AutoRollback));
    assert_eq!((rig.state(&bad).await, all[2].state.word()), ("superseded", "live"));
    let release = rig.release_of(&all[2].id).await;
    assert_eq!(release.copy_of, Some(rig.release_of(&good).await.number));
    assert_eq!(rig.upstreams(), 1);
    // `panda rollback` doesn't lead to what was gone back from.
    assert_eq!(rig.roll_back().await, None);
}

#[tokio::test]
async fn going_back_never_goes_to_and_fro() {
    let rig = Rig::new().await;
    rig.image('0', Behaviour::default());
    rig.deploy_live('0').await;
    // Three that are good while they are watched, and die whenever they are started anew.
    for digit in ['1', '2', '3'] {
        rig.image(digit, Behaviour::default());
        rig.deploy_live(digit).await;
        rig.image(digit, Behaviour::dies_after(Duration::from_secs(10), 1));
    }
    rig.image('0', Behaviour::dies_after(Duration::from_secs(10), 1));
    rig.image('4', Behaviour::dies_after(Duration::from_secs(10), 1));
    rig.ask('4', None).await;
    rig.pass(900).await;
    let rollbacks: Vec<_> = {
        let all = rig.deployments().await;
        all.into_iter().filter(|d| d.trigger == Trigger::AutoRollback).collect()
    };
    let mut went_to = Vec::new();
    for rollback in &rollbacks {
        went_to.push(rig.release_of(&rollback.id).await.copy_of.unwrap());
    }
    assert_eq!(went_to, [4, 3, 2, 1], "each of them once, then no more");
}

#[tokio::test]
async fn going_back_that_fails_is_not_tried_again() {
    let rig = Rig::new().await;
    rig.image('1', Behaviour::default());
    rig.image('2', Behaviour::dies_after(Duration::from_secs(15), 1));
    rig.deploy_live('1').await;
    rig.deploy_live('2').await;
    rig.image('1', Behaviour::not_pulled(PullFailure::Absent));
    rig.pass(280).await;
    let all = rig.deployments().await;
    let states: Vec<_> = all.iter().map(|d| d.state.word()).collect();
    assert_eq!(states, ["superseded", "live", "unhealthy"]);
}

#[tokio::test]
async fn going_back_does_not_throw_away_the_fix_that_is_on_its_way() {
    let rig = Rig::new().await;
    rig.image('1', Behaviour::default());
    rig.image('2', Behaviour::dies_after(Duration::from_secs(15), 1));
    rig.image('3', Behaviour::default());
    rig.deploy_live('1').await;
    rig.deploy_live('2').await;
    let fix = rig.ask('3', None).await;
    for _ in 0..30 {
        rig.look().await;
        rig.test.clock.advance(Duration::from_secs(1));
    }
    assert_eq!(rig.state(&fix).await, "queued");
    assert_eq!(rig.deployments().await.last().unwrap().trigger, Trigger::AutoRollback);
    rig.pass(12).await;
    assert_eq!(rig.state(&fix).await, "live");
    assert_eq!(rig.routed(), [rig.web_of(&fix).await]);
    assert_eq!((rig.upstreams(), rig.runs().await.len()), (1, 1));
}
