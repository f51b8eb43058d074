//! Builds, releases, deployments and their progress.

use std::collections::BTreeMap;
use std::time::Duration;

use panda_domain::build::BuildState;
use panda_domain::deployment::{CancelReason, DeploymentState};
use panda_domain::failure::{Failure, FailureCode};
use panda_domain::image::Digest;
use panda_domain::release::{HttpConfig, ReleaseConfig, ReleaseImage};
use panda_domain::source::Source;
use panda_store::{Cursor, NewBuild, NewRelease, StoreError};
use serde_json::json;

use crate::support::{World, begin, new_deployment, on_each, read, world};

fn digest(digit: &str) -> Digest {
    format!("sha256:{}", digit.repeat(64)).parse().unwrap()
}

pub(crate) fn new_release(world: &World) -> NewRelease {
    NewRelease {
        team: world.team.id.clone(),
        placement: world.placement.clone(),
        image: ReleaseImage {
            repository: "acme/shop".to_owned(),
            digest: digest("a"),
            own_registry: true,
            built_here: false,
        },
        config: ReleaseConfig {
            processes: BTreeMap::new(),
            release_command: None,
            files: BTreeMap::new(),
            ports: Vec::new(),
            http: HttpConfig::default(),
            rollout_timeout_s: 300,
            release_timeout_s: 600,
            auto_rollback: true,
        },
        source: Source::Upload { tree: "sha256:aa".to_owned(), git_sha: Some("abc".to_owned()) },
        env_version: 0,
        build: None,
        copy_of: None,
        actor: world.actor.clone(),
    }
}

#[tokio::test]
async fn a_build_that_ended_stays_ended_and_is_found_again_by_its_key() {
    on_each(async |test| {
        let world = world(&test.store, "acme").await;
        let mut tx = begin(test).await;
        let new = NewBuild {
            team: world.team.id.clone(),
            placement: world.placement.clone(),
            deployment: test.store.ids().next(),
            build_key: "key".to_owned(),
        };
        let build = tx.insert_build(&new).await.unwrap();
        assert_eq!(tx.known_build(&world.placement, "key").await.unwrap(), None);
        tx.set_build_state(&build.id, &BuildState::Running).await.unwrap();
        tx.set_build_plan(&build.id, "{}").await.unwrap();
        test.clock.advance(Duration::from_secs(5));
        for _ in 0..2 {
            tx.finish_build(&build.id, "acme/shop", &digest("b"), "{\"p\":1}", "{}").await.unwrap();
        }
        let known = tx.known_build(&world.placement, "key").await.unwrap().unwrap();
        assert_eq!((&known.state, known.digest.as_ref()), (&BuildState::Succeeded, Some(&digest("b"))));
        assert_eq!((known.started_at, known.finished_at), (Some(build.created_at), Some(test.clock.now())));
        assert_eq!(tx.build(&world.team.id, &build.id).await.unwrap(), Some(known));
        assert_eq!(tx.build(&test.store.ids().next(), &build.id).await.unwrap(), None);
        let other = tx.finish_build(&build.id, "acme/shop", &digest("c"), "{}", "{}").await;
        assert!(matches!(other, Err(StoreError::Stale { .. })));

        let failing = tx.insert_build(&new).await.unwrap();
        let failure = Failure::new(FailureCode::P109, "npm failed", "look at the log");
        let failed = BuildState::Failed { failure };
        tx.set_build_state(&failing.id, &failed).await.unwrap();
        assert_eq!(tx.build(&world.team.id, &failing.id).await.unwrap().unwrap().state, failed);
        let late = tx.set_build_state(&failing.id, &BuildState::Canceled).await;
        assert!(matches!(late, Err(StoreError::Stale { .. })));
    })
    .await;
}

#[tokio::test]
async fn releases_are_numbered_without_gaps_also_when_made_at_once() {
    on_each(async |test| {
        let world = world(&test.store, "acme").await;
        let mut making = tokio::task::JoinSet::new();
        for _ in 0..6 {
            let (store, new) = (test.store.clone(), new_release(&world));
            making.spawn(async move {
                let mut tx = store.begin().await.unwrap();
                let release = tx.insert_release(&new).await.unwrap();
                tx.commit().await.unwrap();
                release
            });
        }
        let mut made = Vec::new();
        while let Some(release) = making.join_next().await {
            made.push(release.unwrap());
        }
        made.sort_by_key(|release| release.number);
        assert_eq!(made.iter().map(|release| release.number).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6]);
        let mut tx = read(test).await;
        let team = &world.team.id;
        assert_eq!(tx.newest_release(&world.placement).await.unwrap().as_ref(), Some(&made[5]));
        assert_eq!(tx.release(team, &made[2].id).await.unwrap().as_ref(), Some(&made[2]));
        assert_eq!(tx.release_by_id(&made[2].id).await.unwrap().as_ref(), Some(&made[2]));
        assert_eq!(tx.release_by_number(team, &world.placement, 4).await.unwrap().as_ref(), Some(&made[3]));
        let page = tx.releases(team, &world.placement, &Cursor::after("5", 2)).await.unwrap();
        assert_eq!(page.iter().map(|release| release.number).collect::<Vec<_>>(), [4, 3]);
        assert_eq!(tx.release(&test.store.ids().next(), &made[0].id).await.unwrap(), None);
    })
    .await;
}

#[tokio::test]
async fn a_release_of_a_foreign_placement_is_refused() {
    on_each(async |test| {
        let (ours, theirs) = (world(&test.store, "acme").await, world(&test.store, "other").await);
        let foreign = NewRelease { placement: theirs.placement.clone(), ..new_release(&ours) };
        let refused = begin(test).await.insert_release(&foreign).await;
        assert!(matches!(refused, Err(StoreError::NotFound { .. })));
    })
    .await;
}

#[tokio::test]
async fn a_deployment_moves_once_from_each_state_and_its_way_is_kept() {
    on_each(async |test| {
        let world = world(&test.store, "acme").await;
        let mut tx = begin(test).await;
        let new = new_deployment(&world.team.id, &world.placement, &world.actor);
        let queued = tx.insert_deployment(&new).await.unwrap();
        assert_eq!(queued.state, DeploymentState::Queued);
        test.clock.advance(Duration::from_secs(1));
        let releasing = tx.advance_deployment(&queued, DeploymentState::Releasing).await.unwrap();
        assert_eq!(releasing.phase_started_at, test.clock.now());
        let again = tx.advance_deployment(&queued, DeploymentState::Releasing).await;
        assert!(matches!(again, Err(StoreError::Stale { .. })));
        let illegal = tx.advance_deployment(&releasing, DeploymentState::Live).await;
        assert!(matches!(illegal, Err(StoreError::Internal { .. })));
        let rolling = tx.advance_deployment(&releasing, DeploymentState::Rolling).await.unwrap();
        let live = tx.advance_deployment(&rolling, DeploymentState::Live).await.unwrap();
        assert_eq!((live.live_at, live.finished_at), (Some(test.clock.now()), Some(test.clock.now())));
        assert_eq!(tx.live_deployment(&world.placement).await.unwrap().as_ref(), Some(&live));
        assert_eq!(tx.active_deployments().await.unwrap(), []);

        tx.add_progress(&live.id, "log", &json!({ "line": "hello\0" })).await.unwrap();
        let way = tx.progress_after(&live.id, 0, 100).await.unwrap();
        let states: Vec<_> = way.iter().map(|row| row.body["state"].as_str().unwrap_or("-")).collect();
        assert_eq!(states, ["queued", "releasing", "rolling", "live", "-"]);
        let rest = tx.progress_after(&live.id, way[3].id, 100).await.unwrap();
        assert_eq!((rest.len(), &rest[0].body), (1, &json!({ "line": "hello\0" })));
        let now = test.clock.now();
        assert_eq!(tx.delete_old_progress(now, 100).await.unwrap(), 0);
        let later = now + Duration::from_secs(1);
        assert_eq!(tx.delete_old_progress(later, 3).await.unwrap(), 3);
        assert_eq!(tx.delete_old_progress(later, 3).await.unwrap(), 2);
    })
    .await;
}

#[tokio::test]
async fn a_deployment_carries_what_was_attached_and_asked() {
    on_each(async |test| {
        let world = world(&test.store, "acme").await;
        let mut tx = begin(test).await;
        let new = new_deployment(&world.team.id, &world.placement, &world.actor);
        let first = tx.insert_deployment(&new).await.unwrap();
        // In the same millisecond: the order is that of the transactions, not of the clock.
        let second = tx.insert_deployment(&new).await.unwrap();
        assert_eq!((first.sequence, second.sequence), (1, 2));
        let ids = test.store.ids();
        let (build, release, task) = (ids.next(), ids.next(), ids.next());
        tx.attach_build(&first.id, &build).await.unwrap();
        tx.attach_release(&first.id, &release).await.unwrap();
        tx.attach_generation(&first.id, 7).await.unwrap();
        tx.attach_task(&first.id, &task).await.unwrap();
        assert!(!tx.request_cancel(&ids.next(), &first.id).await.unwrap());
        assert!(tx.request_cancel(&world.team.id, &first.id).await.unwrap());
        let row = tx.deployment(&world.team.id, &first.id).await.unwrap().unwrap();
        assert_eq!((row.build.as_ref(), row.release.as_ref()), (Some(&build), Some(&release)));
        assert_eq!((row.generation, row.task.as_ref(), row.cancel_requested), (Some(7), Some(&task), true));
        assert_eq!(tx.deployment(&ids.next(), &first.id).await.unwrap(), None);
        assert_eq!(tx.deployment_by_id(&first.id).await.unwrap().as_ref(), Some(&row));
        assert_eq!(tx.newest_deployment(&world.placement).await.unwrap().as_ref(), Some(&second));
        let active = tx.active_deployment_of(&world.placement).await.unwrap();
        assert_eq!(active, [row.clone(), second.clone()]);
        let page = tx.deployments(&world.team.id, &world.placement, &Cursor::first(1)).await.unwrap();
        assert_eq!(page, std::slice::from_ref(&second));
        let after = Cursor::after(second.id.as_str(), 5);
        let rest = tx.deployments(&world.team.id, &world.placement, &after).await.unwrap();
        assert_eq!(rest, std::slice::from_ref(&row));
        let unknown = Cursor::after(ids.next::<panda_domain::ids::DeploymentId>().as_str(), 5);
        assert_eq!(tx.deployments(&world.team.id, &world.placement, &unknown).await.unwrap(), []);

        let canceled = DeploymentState::Canceled { reason: CancelReason::Requested };
        let ended = tx.advance_deployment(&row, canceled.clone()).await.unwrap();
        assert_eq!((ended.state, ended.finished_at), (canceled, Some(test.clock.now())));
        assert!(!tx.request_cancel(&world.team.id, &first.id).await.unwrap());
        assert!(matches!(tx.attach_build(&ids.next(), &build).await, Err(StoreError::NotFound { .. })));
    })
    .await;
}

#[tokio::test]
async fn sending_a_deploy_twice_makes_one() {
    on_each(async |test| {
        let world = world(&test.store, "acme").await;
        let mut tx = begin(test).await;
        let mut new = new_deployment(&world.team.id, &world.placement, &world.actor);
        new.idempotency_key = Some("k".to_owned());
        let made = tx.insert_deployment(&new).await.unwrap();
        assert!(matches!(tx.insert_deployment(&new).await, Err(StoreError::Taken { .. })));
        let found = tx.deployment_by_idempotency_key(&world.placement, "k").await.unwrap();
        assert_eq!(found, Some(made));
        assert_eq!(tx.active_deployment_of(&world.placement).await.unwrap().len(), 1);
    })
    .await;
}
