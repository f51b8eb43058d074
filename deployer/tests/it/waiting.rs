//! What people are told while something waits, and how it ends when the wait does.

use std::time::Duration;

use panda_deployer::runtime::fake::{Behaviour, PullFailure};
use panda_domain::failure::FailureCode;
use panda_domain::ids::DeploymentId;
use panda_store::{NewTask, TaskState};

use crate::support::Rig;

const AWAY: PullFailure = PullFailure::RegistryDown;

/// What those who watch a deployment were told last.
async fn told(rig: &Rig, id: &DeploymentId) -> String {
    let step = rig.store().read().await.unwrap().newest_progress(id, "step").await.unwrap();
    let body = step.unwrap_or_else(|| panic!("nothing was said")).body;
    format!(
        "{} {}: {}",
        body["state"].as_str().unwrap(),
        body["title"].as_str().unwrap(),
        body["detail"].as_str().unwrap()
    )
}

#[tokio::test]
async fn a_deploy_that_waits_for_its_registry_says_so_once_for_each_reason_and_goes_on() {
    let rig = Rig::new().await;
    rig.image('1', Behaviour::not_pulled(AWAY));
    let id = rig.ask('1', None).await;
    rig.pass(60).await;
    assert_eq!(rig.state(&id).await, "queued");
    assert_eq!(
        told(&rig, &id).await,
        "running find the image: `shop:1` can't be had from `docker.io` yet: connection refused; tried since 00:00:00 UTC"
    );
    let said = rig.store().read().await.unwrap().progress_after(&id, 0, 100).await.unwrap();
    let steps: Vec<_> = said.iter().filter(|row| row.kind == "step").map(|row| &row.body["detail"]).collect();
    assert_eq!(
        (steps.len(), steps[0].as_str()),
        (2, Some("asking `docker.io` for `shop:1` since 00:00:00 UTC"))
    );
    rig.image('1', Behaviour::default());
    rig.pass(12).await;
    assert_eq!(rig.state(&id).await, "live");
}

#[tokio::test]
async fn a_deploy_whose_registry_stays_away_ends_with_what_it_waited_for() {
    let rig = Rig::new().await;
    rig.image('1', Behaviour::not_pulled(AWAY));
    let id = rig.ask('1', None).await;
    rig.turn().await;
    rig.test.clock.advance(Duration::from_mins(31));
    rig.turn().await;
    let ended = rig.deployment(&id).await;
    let failure = ended.state.failure().unwrap_or_else(|| panic!("still {:?}", ended.state));
    assert_eq!((ended.state.word(), failure.code), ("timed_out", FailureCode::P501));
    assert!(
        failure.cause.contains("for its image") && failure.cause.contains("connection refused"),
        "{}",
        failure.cause
    );
}

#[tokio::test]
async fn a_rollback_whose_image_is_away_says_so_and_ends_with_that_reason() {
    let rig = Rig::new().await;
    rig.image('1', Behaviour::default());
    rig.image('2', Behaviour::default());
    rig.deploy_live('1').await;
    let good = rig.deploy_live('2').await;
    rig.image('1', Behaviour::not_pulled(AWAY));
    let back = rig.roll_back().await.unwrap();
    rig.pass(5).await;
    let now = told(&rig, &back).await;
    assert!(
        now.starts_with(
            "running start web: 0 of 1 ready; `docker.io/library/shop@sha256:111111111111` can't"
        ),
        "{now}"
    );
    rig.pass(305).await;
    let ended = rig.deployment(&back).await;
    let failure = ended.state.failure().unwrap_or_else(|| panic!("still {:?}", ended.state));
    assert_eq!((ended.state.word(), failure.code), ("timed_out", FailureCode::P207));
    assert!(failure.cause.contains("connection refused"), "{}", failure.cause);
    assert_eq!((rig.routed(), rig.upstreams()), (vec![rig.web_of(&good).await], 1));
}

#[tokio::test]
async fn a_release_command_whose_image_is_away_says_so_and_ends_with_that_reason() {
    let rig = Rig::new().await;
    rig.image('1', Behaviour::default());
    let id = rig.ask('1', Some("[deploy]\nrelease = \"migrate\"\n")).await;
    rig.jobs().await;
    rig.image('1', Behaviour::not_pulled(AWAY));
    rig.pass(5).await;
    let now = told(&rig, &id).await;
    assert!(now.starts_with("running run the release command: `docker.io/library/shop@"), "{now}");
    rig.pass(600).await;
    let ended = rig.deployment(&id).await;
    let failure = ended.state.failure().unwrap_or_else(|| panic!("still {:?}", ended.state));
    assert_eq!((ended.state.word(), failure.code), ("timed_out", FailureCode::P207));
    assert!(failure.cause.contains("never started"), "{}", failure.cause);
}

#[tokio::test]
async fn at_no_replicas_a_release_is_live_only_when_its_image_was_seen() {
    let rig = Rig::new().await;
    rig.scale("web", 0).await;
    rig.image('1', Behaviour::not_pulled(PullFailure::Absent));
    let gone = rig.ask('1', None).await;
    rig.pass(5).await;
    let ended = rig.deployment(&gone).await;
    assert_eq!(ended.state.word(), "unhealthy");
    assert_eq!(ended.state.failure().unwrap().code, FailureCode::P207);

    rig.image('2', Behaviour::default());
    let away = rig.ask('2', None).await;
    rig.jobs().await;
    rig.image('2', Behaviour::not_pulled(AWAY));
    rig.pass(5).await;
    assert_eq!(rig.state(&away).await, "rolling");
    let now = told(&rig, &away).await;
    assert!(now.starts_with("running start web: 0 of 0 ready; `docker.io/library/shop@"), "{now}");
    rig.image('2', Behaviour::default());
    rig.pass(5).await;
    assert_eq!(rig.state(&away).await, "live");
}

#[tokio::test]
async fn a_task_whose_image_stays_away_ends_and_says_why() {
    let rig = Rig::new().await;
    rig.image('1', Behaviour::default());
    let id = rig.deploy_live('1').await;
    rig.image('1', Behaviour::not_pulled(AWAY));
    let new = NewTask {
        team: rig.team.id.clone(),
        placement: rig.placement.clone(),
        release: rig.release_of(&id).await.id,
        command: vec!["migrate".to_owned()],
        tty: false,
        timeout_s: 3600,
        actor: Rig::actor(),
    };
    let mut tx = rig.store().begin().await.unwrap();
    let task = tx.insert_task(&new).await.unwrap();
    tx.commit().await.unwrap();
    let state = async || rig.store().read().await.unwrap().task_by_id(&task.id).await.unwrap().unwrap().state;
    rig.pass(599).await;
    assert_eq!(state().await, TaskState::Running);
    rig.pass(2).await;
    let TaskState::Ended { exit_code: None, reason: Some(reason) } = state().await else {
        panic!("{:?}", state().await);
    };
    assert!(
        reason.contains("didn't start within 10 minutes") && reason.contains("connection refused"),
        "{reason}"
    );
}
