//! Projects, apps, placements, domains, certificates, tasks and events.

use std::time::Duration;

use panda_domain::autoscale::Autoscale;
use panda_domain::event::Actor;
use panda_domain::formation::{Formation, Scale, Size};
use panda_domain::route::CertificateState;
use panda_domain::secret::Secret;
use panda_store::{
    Backend, CertificateRow, Cursor, NewDomain, NewEvent, NewTask, PlacedRow, StoreError, TaskState, Tx,
};
use serde_json::json;

use crate::support::{begin, name, on_each, read, world};

#[tokio::test]
async fn projects_and_environments_are_made_once() {
    on_each(async |test| {
        let (ours, theirs) = (world(&test.store, "acme").await, world(&test.store, "other").await);
        let mut tx = begin(test).await;
        assert_eq!(tx.ensure_project(&ours.team.id, &name("default")).await.unwrap(), ours.project);
        let again =
            tx.ensure_environment(&ours.team.id, &ours.project.id, &name("production")).await.unwrap();
        assert_eq!(again, ours.production);
        let preview =
            tx.ensure_environment(&ours.team.id, &ours.project.id, &name("preview/pr-1")).await.unwrap();
        let all = tx.environments(&ours.team.id, &ours.project.id).await.unwrap();
        assert_eq!(all, [preview, ours.production.clone()]);
        assert_eq!(tx.projects(&ours.team.id).await.unwrap(), std::slice::from_ref(&ours.project));
        let found = tx.project_by_name(&ours.team.id, &name("default")).await.unwrap();
        assert_eq!(found.as_ref(), Some(&ours.project));

        let foreign = tx.ensure_environment(&theirs.team.id, &ours.project.id, &name("staging")).await;
        assert!(matches!(foreign, Err(StoreError::NotFound { .. })));
        assert_eq!(tx.environments(&theirs.team.id, &ours.project.id).await.unwrap(), []);
    })
    .await;
}

#[tokio::test]
async fn an_app_is_found_within_its_team_only() {
    on_each(async |test| {
        let (ours, theirs) = (world(&test.store, "acme").await, world(&test.store, "other").await);
        let mut tx = begin(test).await;
        let again = tx.insert_app(&ours.team.id, &ours.project.id, &name("shop")).await;
        assert!(matches!(again, Err(StoreError::Taken { .. })));
        assert_eq!(tx.app_by_name(&ours.team.id, &name("shop")).await.unwrap().as_ref(), Some(&ours.app));
        assert_eq!(tx.app(&ours.team.id, &ours.app.id).await.unwrap().as_ref(), Some(&ours.app));
        assert_eq!(tx.app(&theirs.team.id, &ours.app.id).await.unwrap(), None);
        assert_eq!(
            tx.apps(&ours.team.id, &Cursor::default()).await.unwrap(),
            std::slice::from_ref(&ours.app)
        );
        assert!(!tx.delete_app_rows(&theirs.team.id, &ours.app.id).await.unwrap());
        assert!(tx.delete_app_rows(&ours.team.id, &ours.app.id).await.unwrap());
        assert_eq!(tx.placement(&ours.team.id, &ours.placement).await.unwrap(), None);
    })
    .await;
}

#[tokio::test]
async fn a_host_is_given_once_and_the_transaction_can_try_another() {
    on_each(async |test| {
        let world = world(&test.store, "acme").await;
        test.clock.advance(Duration::from_millis(1));
        let mut tx = begin(test).await;
        let app = tx.insert_app(&world.team.id, &world.project.id, &name("blog")).await.unwrap();
        let taken = tx.insert_placement(&app, &world.production, "acme.localhost").await.unwrap_err();
        assert_eq!(taken.to_string(), "host `acme.localhost` is taken");
        let placement = tx.insert_placement(&app, &world.production, "blog.localhost").await.unwrap();
        let twice = tx.insert_placement(&app, &world.production, "blog-2.localhost").await.unwrap_err();
        assert_eq!(twice.to_string(), "place of app `blog` in `production` is taken");
        tx.commit().await.unwrap();
        let mut tx = read(test).await;
        let row =
            tx.placement_by_names(&world.team.id, &name("blog"), &name("production")).await.unwrap().unwrap();
        assert_eq!((&row.placement, row.project_name.as_str()), (&placement, "default"));
        assert_eq!(tx.placement(&world.team.id, &placement.id).await.unwrap().as_ref(), Some(&row));
        assert_eq!(tx.placement_by_id(&placement.id).await.unwrap().as_ref(), Some(&row));
        assert_eq!(tx.all_placements().await.unwrap().len(), 2);
        let page = tx.placed(&world.team.id, Some(&world.project.id), &Cursor::first(1)).await.unwrap();
        let shown = |app: &PlacedRow| (app.id.clone(), app.host.clone(), app.good_release.clone());
        assert_eq!(
            page.iter().map(shown).collect::<Vec<_>>(),
            [(placement.id.clone(), placement.host.clone(), None)]
        );
        assert_eq!((&page[0].app_name, &page[0].formation), (&placement.app_name, &Formation::default()));
        assert_eq!(tx.placements_of_app(&world.team.id, &app.id).await.unwrap(), [row]);
        let foreign = test.store.ids().next();
        assert_eq!(tx.placement(&foreign, &placement.id).await.unwrap(), None);
        assert_eq!(
            tx.placed(&world.team.id, Some(&test.store.ids().next()), &Cursor::default()).await.unwrap(),
            []
        );
    })
    .await;
}

#[tokio::test]
async fn a_wish_makes_a_generation_that_only_its_own_sight_converges() {
    on_each(async |test| {
        let world = world(&test.store, "acme").await;
        let mut tx = begin(test).await;
        let release = test.store.ids().next();
        assert_eq!(tx.set_desired(&world.placement, &release, 3).await.unwrap(), 1);
        assert_eq!(tx.bump_generation(&world.placement).await.unwrap(), 2);
        assert!(!tx.set_converged(&world.placement, 1).await.unwrap());
        assert_eq!(tx.unconverged_placements().await.unwrap().len(), 1);
        assert!(tx.set_converged(&world.placement, 2).await.unwrap());
        assert_eq!(tx.unconverged_placements().await.unwrap(), []);
        tx.set_last_good(&world.placement, &release, 3).await.unwrap();

        let now = test.clock.now();
        tx.set_observed(&world.placement, "[1]", now).await.unwrap();
        tx.set_observed(&world.placement, "[0]", now - Duration::from_secs(1)).await.unwrap();
        let row = tx.placement(&world.team.id, &world.placement).await.unwrap().unwrap();
        assert_eq!((row.desired_revision, row.last_good_revision), (3, 3));
        assert_eq!(row.placement.desired_release.as_ref(), Some(&release));
        assert_eq!((row.observed.as_deref(), row.observed_at), (Some("[1]"), Some(now)));

        tx.mark_deleting(&world.placement).await.unwrap();
        test.clock.advance(Duration::from_secs(1));
        tx.mark_deleting(&world.placement).await.unwrap();
        let row = tx.placement(&world.team.id, &world.placement).await.unwrap().unwrap();
        assert_eq!((row.placement.generation, row.placement.deleting_at), (3, Some(now)));
        let nowhere = test.store.ids().next();
        assert!(matches!(tx.bump_generation(&nowhere).await, Err(StoreError::NotFound { .. })));
    })
    .await;
}

#[tokio::test]
async fn a_formation_keeps_the_last_scale_of_each_process() {
    on_each(async |test| {
        let world = world(&test.store, "acme").await;
        let mut tx = begin(test).await;
        let scale = |replicas| Scale {
            replicas,
            size: Size { cpu_millis: 250, memory_bytes: 5 << 30 },
            autoscale: None,
        };
        let bounds = |cpu, memory| Autoscale { min: 2, max: 9, cpu_percent: cpu, memory_percent: memory };
        tx.set_scale(&world.placement, &name("web"), &scale(1)).await.unwrap();
        tx.set_scale(&world.placement, &name("web"), &scale(3)).await.unwrap();
        tx.set_scale(&world.placement, &name("worker"), &scale(0)).await.unwrap();
        for autoscale in [Some(bounds(Some(70), None)), Some(bounds(Some(50), Some(80))), None] {
            let web = Scale { autoscale, ..scale(3) };
            tx.set_scale(&world.placement, &name("web"), &web).await.unwrap();
            let formation = tx.formation(&world.placement).await.unwrap();
            let both = [(name("web"), web), (name("worker"), scale(0))];
            assert_eq!(formation.into_iter().collect::<Vec<_>>(), both);
            let placed = tx.placed_by_names(&world.team.id, &name("shop"), &name("production")).await;
            assert_eq!(placed.unwrap().unwrap().formation, both.into());
        }
    })
    .await;
}

#[tokio::test]
async fn the_routing_mark_moves_with_what_routes_are_made_from_alone() {
    on_each(async |test| {
        let world = world(&test.store, "acme").await;
        let before = test.store.routing_mark();
        let mut tx = begin(test).await;
        tx.delete_expired(10).await.unwrap();
        tx.set_observed(&world.placement, "[]", test.clock.now()).await.unwrap();
        tx.lock_placement(&world.team.id, &world.placement).await.unwrap();
        tx.wake();
        tx.commit().await.unwrap();
        let mut tx = begin(test).await;
        tx.mark_deleting(&world.placement).await.unwrap();
        drop(tx);
        if test.store.backend() == Backend::Sqlite {
            assert_eq!(
                test.store.routing_mark(),
                before,
                "other tables, what was seen, and what isn't committed, don't count"
            );
        }
        let before = test.store.routing_mark();
        let mut tx = begin(test).await;
        tx.mark_deleting(&world.placement).await.unwrap();
        tx.commit().await.unwrap();
        assert!(test.store.routing_mark() > before);
    })
    .await;
}

#[tokio::test]
async fn a_routed_host_is_named_until_it_has_a_certificate_that_lasts() {
    on_each(async |test| {
        let world = world(&test.store, "acme").await;
        let mut tx = begin(test).await;
        let (now, day) = (test.clock.now(), Duration::from_hours(24));
        assert_eq!(tx.hosts_without_certificate(now).await.unwrap(), ["acme.localhost"]);
        let issued = CertificateRow {
            host: "acme.localhost".to_owned(),
            state: CertificateState::Local,
            chain_pem: Some("chain".to_owned()),
            key: Some(Secret::new("-----BEGIN")),
            not_after: Some(now + day),
            attempts: 0,
            next_attempt_at: now,
            challenge: None,
        };
        tx.upsert_certificate(&issued).await.unwrap();
        assert!(tx.hosts_without_certificate(now).await.unwrap().is_empty());
        assert_eq!(tx.hosts_without_certificate(now + day * 2).await.unwrap(), ["acme.localhost"]);
        tx.fail_certificate("acme.localhost", "refused", 1, now + day).await.unwrap();
        assert!(
            tx.hosts_without_certificate(now + day * 2).await.unwrap().is_empty(),
            "not before its next try"
        );
        tx.mark_deleting(&world.placement).await.unwrap();
        test.clock.advance(day * 3);
        assert!(tx.hosts_without_certificate(now + day * 9).await.unwrap().is_empty(), "nobody asks for it");
    })
    .await;
}

#[tokio::test]
async fn anybody_may_claim_a_domain_but_one_team_proves_it() {
    on_each(async |test| {
        let (ours, theirs) = (world(&test.store, "acme").await, world(&test.store, "other").await);
        let mut tx = begin(test).await;
        let new = |world: &crate::support::World, path: &str| NewDomain {
            team: world.team.id.clone(),
            placement: world.placement.clone(),
            host: name("www.example.com"),
            path: path.to_owned(),
            proof_token: "proof".to_owned(),
        };
        let mine = tx.insert_domain(&new(&ours, "/")).await.unwrap();
        let other = tx.insert_domain(&new(&theirs, "/")).await.unwrap();
        assert!(matches!(tx.insert_domain(&new(&ours, "/")).await, Err(StoreError::Taken { .. })));
        assert!(tx.verified_domain_by_host(&mine.host).await.unwrap().is_none());
        tx.mark_verified(&ours.team.id, &mine.id).await.unwrap();
        tx.mark_verified(&ours.team.id, &mine.id).await.unwrap();
        assert!(matches!(tx.mark_verified(&theirs.team.id, &other.id).await, Err(StoreError::Taken { .. })));
        assert!(matches!(
            tx.mark_verified(&theirs.team.id, &mine.id).await,
            Err(StoreError::NotFound { .. })
        ));
        assert!(matches!(tx.insert_domain(&new(&theirs, "/blog")).await, Err(StoreError::Taken { .. })));
        tx.insert_domain(&new(&ours, "/blog")).await.unwrap();

        let (owner, domain) = tx.verified_domain_by_host(&mine.host).await.unwrap().unwrap();
        assert_eq!((owner, domain.verified_at), (ours.team.id.clone(), Some(test.clock.now())));
        assert_eq!(tx.all_verified_domains().await.unwrap(), std::slice::from_ref(&domain));
        assert_eq!(tx.domains(&ours.team.id, &ours.placement).await.unwrap().len(), 2);
        assert_eq!(tx.domain(&ours.team.id, &mine.host, "/").await.unwrap(), Some(domain));
        assert!(!tx.delete_domain(&theirs.team.id, &mine.id).await.unwrap());
        assert!(tx.delete_domain(&ours.team.id, &mine.id).await.unwrap());
        tx.mark_verified(&theirs.team.id, &other.id).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_certificate_comes_back_with_its_key() {
    on_each(async |test| {
        let mut tx = begin(test).await;
        tx.ensure_certificate("www.example.com").await.unwrap();
        let now = test.clock.now();
        let due = tx.due_certificates(now).await.unwrap();
        assert_eq!((due.len(), &due[0].state), (1, &CertificateState::Pending));
        let issued = CertificateRow {
            host: "www.example.com".to_owned(),
            state: CertificateState::Issued { not_after: 1_900_000_000 },
            chain_pem: Some("chain".to_owned()),
            key: Some(Secret::new("-----BEGIN")),
            not_after: Some(now + Duration::from_hours(24)),
            attempts: 2,
            next_attempt_at: now + Duration::from_hours(1),
            challenge: Some(("token".to_owned(), "answer".to_owned())),
        };
        tx.upsert_certificate(&issued).await.unwrap();
        tx.ensure_certificate("www.example.com").await.unwrap();
        assert_eq!(tx.certificate("www.example.com").await.unwrap().as_ref(), Some(&issued));
        assert_eq!(tx.due_certificates(now).await.unwrap(), []);
        assert_eq!(tx.all_certificates().await.unwrap(), [issued]);
        let routed = ["www.example.com".to_owned()];
        let forget = async |tx: &mut Tx, routed: &[String]| {
            let before = test.clock.now() - Duration::from_mins(1);
            tx.delete_unrouted_certificates(routed, before, 10).await.unwrap()
        };
        assert!(forget(&mut tx, &[]).await.is_empty(), "it is dated first");
        test.clock.advance(Duration::from_secs(59));
        assert!(forget(&mut tx, &routed).await.is_empty());
        test.clock.advance(Duration::from_secs(59));
        assert!(forget(&mut tx, &[]).await.is_empty(), "a route led there meanwhile");
        test.clock.advance(Duration::from_mins(1));
        assert_eq!(forget(&mut tx, &[]).await, routed);
        tx.ensure_certificate("www.example.com").await.unwrap();
        assert!(tx.delete_certificate("www.example.com").await.unwrap());
        assert!(!tx.delete_certificate("www.example.com").await.unwrap());
    })
    .await;
}

#[tokio::test]
async fn a_task_ends_once() {
    on_each(async |test| {
        let world = world(&test.store, "acme").await;
        let mut tx = begin(test).await;
        let new = NewTask {
            team: world.team.id.clone(),
            placement: world.placement.clone(),
            release: test.store.ids().next(),
            command: vec!["sh".to_owned(), "-c".to_owned(), "exit 3".to_owned()],
            tty: false,
            timeout_s: 60,
            actor: world.actor.clone(),
        };
        let task = tx.insert_task(&new).await.unwrap();
        assert_eq!(tx.running_tasks().await.unwrap(), std::slice::from_ref(&task));
        assert!(tx.end_task(&task.id, Some(3), None).await.unwrap());
        assert!(!tx.end_task(&task.id, None, Some("stopped")).await.unwrap());
        let ended = tx.task(&world.team.id, &world.placement, &task.id).await.unwrap().unwrap();
        assert_eq!(ended.state, TaskState::Ended { exit_code: Some(3), reason: None });
        assert_eq!(tx.task_by_id(&task.id).await.unwrap().as_ref(), Some(&ended));
        assert_eq!(tx.tasks(&world.team.id, &world.placement, &Cursor::default()).await.unwrap(), [ended]);
        assert_eq!(tx.task(&test.store.ids().next(), &world.placement, &task.id).await.unwrap(), None);
        assert_eq!(tx.running_tasks().await.unwrap(), []);
        let now = test.clock.now();
        let unknown = test.store.ids().next();
        let asked = [task.id.clone(), unknown];
        assert_eq!(tx.known_tasks(&asked, now).await.unwrap(), [task.id.clone()].into());
        assert_eq!(tx.delete_ended_tasks(now, 10).await.unwrap(), 0);
        assert_eq!(tx.delete_ended_tasks(now + Duration::from_secs(1), 10).await.unwrap(), 1);
        assert!(tx.known_tasks(&asked, now).await.unwrap().is_empty());
    })
    .await;
}

#[tokio::test]
async fn events_are_read_backwards_in_pages_and_forwards_as_they_come() {
    on_each(async |test| {
        let world = world(&test.store, "acme").await;
        let mut tx = begin(test).await;
        let event = |n: u32, app: bool| NewEvent {
            team: Some(world.team.id.clone()),
            app: app.then(|| world.app.id.clone()),
            kind: "app.created",
            actor: &world.actor,
            text: format!("event {n}\0"),
            data: json!({ "n": n, "zero": "\0" }),
        };
        let mut ids = Vec::new();
        for n in 0..6 {
            ids.push(tx.add_event(&event(n, n % 2 == 0)).await.unwrap());
        }
        let own = NewEvent { team: None, actor: &Actor::Platform, ..event(9, false) };
        tx.add_event(&own).await.unwrap();
        let page = tx.events(&world.team.id, None, &Cursor::first(2)).await.unwrap();
        assert_eq!(page.iter().map(|e| e.id).collect::<Vec<_>>(), [ids[5], ids[4]]);
        let next = tx.events(&world.team.id, None, &Cursor::after(ids[4].to_string(), 2)).await.unwrap();
        assert_eq!(next.iter().map(|e| e.id).collect::<Vec<_>>(), [ids[3], ids[2]]);
        assert_eq!(
            (next[0].text.as_str(), &next[0].data),
            ("event 3\u{fffd}", &json!({ "n": 3, "zero": "\0" }))
        );
        let of_app = tx.events_after(&world.team.id, Some(&world.app.id), ids[0], 10).await.unwrap();
        assert_eq!(of_app.iter().map(|e| e.id).collect::<Vec<_>>(), [ids[2], ids[4]]);
        assert_eq!(tx.newest_event(&world.team.id).await.unwrap(), ids[5]);
        assert_eq!(tx.newest_event(&test.store.ids().next()).await.unwrap(), 0);
    })
    .await;
}

#[tokio::test]
async fn who_follows_a_list_misses_nothing_that_others_commit_at_the_same_time() {
    on_each(async |test| {
        let world = world(&test.store, "acme").await;
        let mut writers = tokio::task::JoinSet::new();
        for writer in 0..8 {
            let (store, team, actor) = (test.store.clone(), world.team.id.clone(), world.actor.clone());
            writers.spawn(async move {
                for n in 0..10 {
                    let mut tx = store.begin().await.unwrap();
                    let event = NewEvent {
                        team: Some(team.clone()),
                        app: None,
                        kind: "test",
                        actor: &actor,
                        text: format!("{writer} {n}"),
                        data: json!(null),
                    };
                    tx.add_event(&event).await.unwrap();
                    tokio::task::yield_now().await;
                    tx.commit().await.unwrap();
                }
            });
        }
        let mut seen = Vec::new();
        while seen.len() < 80 {
            let after = seen.last().copied().unwrap_or(0);
            let new = read(test).await.events_after(&world.team.id, None, after, 100).await.unwrap();
            seen.extend(new.iter().map(|event| event.id));
            if writers.is_empty() && new.is_empty() {
                break;
            }
            while let Some(done) = writers.try_join_next() {
                done.unwrap();
            }
            tokio::task::yield_now().await;
        }
        assert_eq!(seen.len(), 80);
    })
    .await;
}
