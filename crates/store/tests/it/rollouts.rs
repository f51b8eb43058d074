//! The pointers that a rollout moves: to a release, to what the routes name, and back.

use std::time::Duration;

use panda_domain::deployment::{CancelReason, DeploymentState, Trigger};
use panda_domain::failure::{Failure, FailureCode};
use panda_domain::ids::ReleaseId;
use panda_domain::source::Source;
use panda_store::testing::TestStore;
use panda_store::{DeploymentRow, GoingBack, NewDeployment, NewRelease, ReleaseRow, StoreError, Tx};

use crate::deploys::new_release;
use crate::support::{World, begin, new_deployment, on_each, world};

/// Accepts a deployment and hands it over with a release of its own; `env` tells releases apart.
async fn handed_over(tx: &mut Tx, world: &World, env: i64) -> (DeploymentRow, ReleaseRow) {
    let new = new_deployment(&world.team.id, &world.placement, &world.actor);
    let made = tx.insert_deployment(&new).await.unwrap();
    let release = NewRelease { env_version: env, ..new_release(world) };
    let release = tx.hand_over(&made, &release).await.unwrap();
    (tx.deployment_by_id(&made.id).await.unwrap().unwrap(), release)
}

async fn rolling(tx: &mut Tx, world: &World, env: i64) -> (DeploymentRow, ReleaseRow) {
    let (releasing, release) = handed_over(tx, world, env).await;
    (tx.advance_deployment(&releasing, DeploymentState::Rolling).await.unwrap(), release)
}

/// Says that a rolling deployment's routes arrived.
async fn arrived(tx: &mut Tx, rolling: &DeploymentRow) -> DeploymentRow {
    if let Some(live) = tx.live_deployment(&rolling.placement).await.unwrap() {
        tx.advance_deployment(&live, DeploymentState::Superseded).await.unwrap();
    }
    tx.advance_deployment(rolling, DeploymentState::Live).await.unwrap()
}

async fn live(test: &TestStore, tx: &mut Tx, world: &World, env: i64) -> (DeploymentRow, ReleaseRow) {
    let (rolling, release) = rolling(tx, world, env).await;
    tx.switch_to(&rolling, &release.id, 0).await.unwrap();
    test.clock.advance(Duration::from_secs(1));
    (arrived(tx, &rolling).await, release)
}

/// A restart of what is desired, rolling, with its routes on their way.
async fn switched_restart(tx: &mut Tx, world: &World, release: &ReleaseRow, revision: u32) -> DeploymentRow {
    let new = NewDeployment {
        trigger: Trigger::Restart,
        ..new_deployment(&world.team.id, &world.placement, &world.actor)
    };
    let made = tx.insert_deployment(&new).await.unwrap();
    tx.hand_over_restart(&made, release, revision).await.unwrap();
    let releasing = tx.deployment_by_id(&made.id).await.unwrap().unwrap();
    let rolling = tx.advance_deployment(&releasing, DeploymentState::Rolling).await.unwrap();
    tx.switch_to(&rolling, &release.id, revision).await.unwrap();
    rolling
}

/// Desired release and revision, then those of the routes.
async fn pointers(tx: &mut Tx, world: &World) -> (Option<ReleaseId>, u32, Option<ReleaseId>, u32) {
    let row = tx.placement_by_id(&world.placement).await.unwrap().unwrap();
    let placement = row.placement;
    (placement.desired_release, row.desired_revision, placement.last_good_release, row.last_good_revision)
}

#[tokio::test]
async fn only_a_rolling_deployment_sends_the_routes_to_its_release() {
    on_each(async |test| {
        let world = world(&test.store, "acme").await;
        let mut tx = begin(test).await;
        let (releasing, release) = handed_over(&mut tx, &world, 1).await;
        let early = tx.switch_to(&releasing, &release.id, 0).await;
        assert!(matches!(early, Err(StoreError::Stale { .. })));
        let rolling = tx.advance_deployment(&releasing, DeploymentState::Rolling).await.unwrap();
        assert!(!tx.has_switched(&rolling).await.unwrap());
        for _ in 0..2 {
            tx.switch_to(&rolling, &release.id, 0).await.unwrap();
        }
        assert!(tx.has_switched(&rolling).await.unwrap());
        let (id, both) = (Some(release.id.clone()), pointers(&mut tx, &world).await);
        assert_eq!(both, (id.clone(), 0, id, 0));
        arrived(&mut tx, &rolling).await;
        let late = tx.switch_to(&rolling, &release.id, 0).await;
        assert!(matches!(late, Err(StoreError::Stale { .. })));
    })
    .await;
}

#[tokio::test]
async fn calling_a_deployment_off_points_back_until_its_routes_are_on_their_way() {
    on_each(async |test| {
        let world = world(&test.store, "acme").await;
        let mut tx = begin(test).await;
        let requested = CancelReason::Requested;
        let (first, _) = rolling(&mut tx, &world, 1).await;
        let ended = tx.call_off(&first, requested).await.unwrap().unwrap();
        assert_eq!(
            (ended.state, ended.cancel_requested),
            (DeploymentState::Canceled { reason: requested }, true)
        );
        assert_eq!(pointers(&mut tx, &world).await, (None, 0, None, 0));
        assert!(matches!(tx.call_off(&first, requested).await, Err(StoreError::Stale { .. })));

        let (_, good) = live(test, &mut tx, &world, 1).await;
        let (second, next) = rolling(&mut tx, &world, 2).await;
        assert_eq!(pointers(&mut tx, &world).await, (Some(next.id), 0, Some(good.id.clone()), 0));
        tx.call_off(&second, requested).await.unwrap().unwrap();
        assert_eq!(pointers(&mut tx, &world).await, (Some(good.id.clone()), 0, Some(good.id), 0));

        let (third, next) = rolling(&mut tx, &world, 3).await;
        tx.switch_to(&third, &next.id, 0).await.unwrap();
        assert_eq!(tx.call_off(&third, requested).await.unwrap(), None);
        assert_eq!(tx.deployment_by_id(&third.id).await.unwrap().unwrap().state, DeploymentState::Rolling);
    })
    .await;
}

#[tokio::test]
async fn routes_that_nobody_saw_arrive_are_taken_back_to_what_is_live_restarts_included() {
    on_each(async |test| {
        let world = world(&test.store, "acme").await;
        let mut tx = begin(test).await;
        let (first, release) = rolling(&mut tx, &world, 1).await;
        tx.switch_to(&first, &release.id, 0).await.unwrap();
        tx.step_back(&first).await.unwrap();
        assert_eq!(pointers(&mut tx, &world).await, (None, 0, None, 0), "nothing was live before it");
        tx.call_off(&first, CancelReason::Requested).await.unwrap().unwrap();

        let (_, good) = live(test, &mut tx, &world, 1).await;
        let restarted = switched_restart(&mut tx, &world, &good, 1).await;
        let restarted = arrived(&mut tx, &restarted).await;
        assert_eq!(tx.deployment_by_id(&restarted.id).await.unwrap().unwrap().revision, 1);
        let again = switched_restart(&mut tx, &world, &good, 2).await;
        for _ in 0..2 {
            tx.step_back(&again).await.unwrap();
            let id = Some(good.id.clone());
            assert_eq!(pointers(&mut tx, &world).await, (id.clone(), 1, id, 1));
        }
    })
    .await;
}

#[tokio::test]
async fn a_newer_deployment_overtakes_one_whose_routes_nobody_saw_arrive() {
    on_each(async |test| {
        let world = world(&test.store, "acme").await;
        let mut tx = begin(test).await;
        let (good, release) = live(test, &mut tx, &world, 1).await;
        let (older, next) = rolling(&mut tx, &world, 2).await;
        tx.switch_to(&older, &next.id, 0).await.unwrap();
        let (_, newest) = handed_over(&mut tx, &world, 3).await;
        let older = tx.deployment_by_id(&older.id).await.unwrap().unwrap();
        assert_eq!(older.state, DeploymentState::Canceled { reason: CancelReason::Overtaken });
        assert_eq!(tx.live_deployment(&world.placement).await.unwrap().map(|live| live.id), Some(good.id));
        assert_eq!(pointers(&mut tx, &world).await, (Some(newest.id), 0, Some(release.id), 0));
    })
    .await;
}

#[tokio::test]
async fn going_back_that_failed_is_known_and_one_that_was_overtaken_is_none() {
    on_each(async |test| {
        let failure = || Failure::new(FailureCode::P208, "it exits", "read its log");
        let ends = [
            (DeploymentState::Unhealthy { failure: failure() }, true),
            (DeploymentState::TimedOut { failure: failure() }, true),
            (DeploymentState::ReleaseFailed { failure: failure() }, true),
            (DeploymentState::Canceled { reason: CancelReason::Requested }, true),
            (DeploymentState::Canceled { reason: CancelReason::Overtaken }, false),
        ];
        for (number, (end, failed)) in ends.into_iter().enumerate() {
            let world = world(&test.store, &format!("team{number}")).await;
            let mut tx = begin(test).await;
            let (_, before) = live(test, &mut tx, &world, 1).await;
            let (now, release) = live(test, &mut tx, &world, 2).await;
            assert!(!tx.going_back_failed(&now).await.unwrap());
            assert_eq!(tx.release_before(&now).await.unwrap().map(|r| r.id), Some(before.id.clone()));
            let instead_of = GoingBack { instead_of: release.id };
            let new = NewDeployment {
                trigger: Trigger::AutoRollback,
                source: Source::Release { number: before.number },
                request_json: serde_json::to_string(&instead_of).unwrap(),
                ..new_deployment(&world.team.id, &world.placement, &world.actor)
            };
            let attempt = tx.insert_deployment(&new).await.unwrap();
            let copy = NewRelease { env_version: 1, copy_of: Some(before.number), ..new_release(&world) };
            tx.hand_over(&attempt, &copy).await.unwrap();
            let attempt = tx.deployment_by_id(&attempt.id).await.unwrap().unwrap();
            assert!(!tx.going_back_failed(&now).await.unwrap(), "it is under way");
            tx.advance_deployment(&attempt, end.clone()).await.unwrap();
            assert_eq!(tx.going_back_failed(&now).await.unwrap(), failed, "{end:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn the_newest_step_of_a_deployment_is_found_among_its_other_progress() {
    on_each(async |test| {
        let world = world(&test.store, "acme").await;
        let mut tx = begin(test).await;
        let new = new_deployment(&world.team.id, &world.placement, &world.actor);
        let made = tx.insert_deployment(&new).await.unwrap();
        assert_eq!(tx.newest_progress(&made.id, "step").await.unwrap(), None);
        for detail in ["one", "two"] {
            tx.add_progress(&made.id, "step", &serde_json::json!({ "detail": detail })).await.unwrap();
            tx.add_progress(&made.id, "log", &serde_json::json!({ "lines": [] })).await.unwrap();
        }
        let step = tx.newest_progress(&made.id, "step").await.unwrap().unwrap();
        assert_eq!(step.body["detail"], "two");
    })
    .await;
}
