//! Settings, the claim, people, teams, sessions, tokens, device codes and rates.

use std::time::Duration;

use panda_domain::team::{Role, Scope};
use panda_store::{
    Backend, Cursor, DeviceState, NewDeviceCode, NewSession, NewToken, NewUser, RateVerdict, Security,
    StoreError,
};

use crate::support::{begin, name, on_each, read, world};

const HOUR: Duration = Duration::from_hours(1);

#[tokio::test]
async fn a_setting_keeps_its_last_text() {
    on_each(async |test| {
        let mut tx = begin(test).await;
        assert_eq!(tx.setting("apps_domain").await.unwrap(), None);
        tx.set_setting("apps_domain", "one").await.unwrap();
        tx.set_setting("apps_domain", "two").await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(read(test).await.setting("apps_domain").await.unwrap().as_deref(), Some("two"));
    })
    .await;
}

#[tokio::test]
async fn what_is_not_committed_was_never_written_and_reads_do_not_write() {
    on_each(async |test| {
        let mut tx = begin(test).await;
        tx.set_setting("lost", "1").await.unwrap();
        drop(tx);
        let mut reading = read(test).await;
        assert_eq!(reading.setting("lost").await.unwrap(), None);
        assert!(matches!(reading.set_setting("lost", "1").await, Err(StoreError::Internal { .. })));
    })
    .await;
}

#[tokio::test]
async fn an_installation_is_claimed_once() {
    on_each(async |test| {
        let mut tx = begin(test).await;
        assert_eq!(tx.claim().await.unwrap(), None);
        assert!(!tx.mark_claimed().await.unwrap());
        tx.put_claim("first").await.unwrap();
        tx.put_claim("second").await.unwrap();
        assert_eq!(tx.claim().await.unwrap().unwrap().token_hash, "second");
        assert!(tx.mark_claimed().await.unwrap());
        assert!(!tx.mark_claimed().await.unwrap());
        tx.put_claim("third").await.unwrap();
        let claim = tx.claim().await.unwrap().unwrap();
        assert_eq!((claim.token_hash.as_str(), claim.used_at), ("second", Some(test.clock.now())));
    })
    .await;
}

#[tokio::test]
async fn people_are_found_by_id_and_address_and_addresses_are_unique() {
    on_each(async |test| {
        let mut tx = begin(test).await;
        let new = NewUser { email: name("a@example.com"), password_hash: "h1".to_owned() };
        let user = tx.insert_user(&new).await.unwrap();
        assert!(matches!(tx.insert_user(&new).await, Err(StoreError::Taken { .. })));
        assert_eq!(tx.user(&user.id).await.unwrap().as_ref(), Some(&user));
        tx.set_password(&user.id, "h2").await.unwrap();
        tx.set_user_disabled(&user.id, true).await.unwrap();
        let changed = tx.user_by_email(&user.email).await.unwrap().unwrap();
        assert_eq!((changed.password_hash.as_str(), changed.disabled_at), ("h2", Some(test.clock.now())));
        assert_eq!(tx.users().await.unwrap(), [changed]);
        let nobody = test.store.ids().next();
        assert!(matches!(tx.set_password(&nobody, "h").await, Err(StoreError::NotFound { .. })));
    })
    .await;
}

#[tokio::test]
async fn members_have_one_role_each() {
    on_each(async |test| {
        let world = world(&test.store, "acme").await;
        let mut tx = begin(test).await;
        assert!(matches!(tx.insert_team(&name("acme")).await, Err(StoreError::Taken { .. })));
        let other = tx.insert_team(&name("other")).await.unwrap();
        tx.add_member(&world.team.id, &world.user.id, Role::Viewer).await.unwrap();
        assert_eq!(tx.role_of(&world.team.id, &world.user.id).await.unwrap(), Some(Role::Viewer));
        assert_eq!(tx.role_of(&other.id, &world.user.id).await.unwrap(), None);
        let members = tx.members(&world.team.id).await.unwrap();
        assert_eq!((members.len(), members[0].email.as_str()), (1, "acme@example.com"));
        let (first, role) = tx.first_team_of(&world.user.id).await.unwrap().unwrap();
        assert_eq!((first.id, role), (world.team.id.clone(), Role::Viewer));
        tx.set_team_security(&other.id, Security::Restricted).await.unwrap();
        assert_eq!(tx.team(&other.id).await.unwrap().unwrap().security, Security::Restricted);
        assert_eq!(tx.teams().await.unwrap().len(), 2);
        assert!(tx.remove_member(&world.team.id, &world.user.id).await.unwrap());
        assert!(!tx.remove_member(&world.team.id, &world.user.id).await.unwrap());
    })
    .await;
}

#[tokio::test]
async fn a_session_ends_with_its_time_its_membership_or_its_person() {
    on_each(async |test| {
        let world = world(&test.store, "acme").await;
        let mut tx = begin(test).await;
        let new = |secret: &str| NewSession {
            user: world.user.id.clone(),
            team: world.team.id.clone(),
            secret_hash: secret.to_owned(),
            user_agent: "browser".to_owned(),
            expires_at: test.clock.now() + HOUR,
        };
        let one = tx.insert_session(&new("s1")).await.unwrap();
        let two = tx.insert_session(&new("s2")).await.unwrap();
        let (session, user, role) = tx.session_principal("s1").await.unwrap().unwrap();
        assert_eq!((session.id.clone(), user, role), (one.id.clone(), world.user.clone(), Role::Owner));
        assert_eq!(tx.session_principal("other").await.unwrap(), None);

        test.clock.advance(Duration::from_secs(30));
        tx.touch_session(&one.id).await.unwrap();
        assert_eq!(tx.session_principal("s1").await.unwrap().unwrap().0.last_seen_at, one.created_at);
        test.clock.advance(Duration::from_secs(31));
        tx.touch_session(&one.id).await.unwrap();
        assert_eq!(tx.session_principal("s1").await.unwrap().unwrap().0.last_seen_at, test.clock.now());

        tx.set_user_disabled(&world.user.id, true).await.unwrap();
        assert_eq!(tx.session_principal("s1").await.unwrap(), None);
        tx.set_user_disabled(&world.user.id, false).await.unwrap();
        tx.remove_member(&world.team.id, &world.user.id).await.unwrap();
        assert_eq!(tx.session_principal("s1").await.unwrap(), None);
        tx.add_member(&world.team.id, &world.user.id, Role::Viewer).await.unwrap();

        assert_eq!(tx.sessions_of(&world.user.id).await.unwrap().len(), 2);
        assert_eq!(tx.delete_other_sessions(&world.user.id, Some(&one.id)).await.unwrap(), 1);
        assert!(!tx.delete_session(&world.user.id, &two.id).await.unwrap());
        test.clock.advance(HOUR);
        assert_eq!(tx.session_principal("s1").await.unwrap(), None);
        assert_eq!(tx.sessions_of(&world.user.id).await.unwrap(), []);
        assert_eq!(tx.delete_expired(10).await.unwrap(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_token_acts_within_its_team_until_it_is_revoked_or_over() {
    on_each(async |test| {
        let (ours, theirs) = (world(&test.store, "acme").await, world(&test.store, "other").await);
        let mut tx = begin(test).await;
        let new = |secret: &str| NewToken {
            team: ours.team.id.clone(),
            user: ours.user.id.clone(),
            name: name("ci"),
            scope: Scope::Deploy { app: name("shop") },
            secret_hash: secret.to_owned(),
            expires_at: test.clock.now() + HOUR,
        };
        let mut made = Vec::new();
        for n in 0..5 {
            made.push(tx.insert_token(&new(&format!("t{n}"))).await.unwrap());
            test.clock.advance(Duration::from_millis(1));
        }
        let (token, email, role, team) = tx.token_principal("t0").await.unwrap().unwrap();
        assert_eq!(
            (&token, email, role, team),
            (&made[0], name("acme@example.com"), Role::Owner, name("acme"))
        );
        tx.touch_token(&token.id).await.unwrap();
        assert_eq!(tx.token_principal("t0").await.unwrap().unwrap().0.last_used_at, Some(test.clock.now()));

        let first = tx.tokens(&ours.team.id, &Cursor::first(3)).await.unwrap();
        let rest = tx.tokens(&ours.team.id, &Cursor::after(first[2].id.as_str(), 3)).await.unwrap();
        let seen: Vec<_> = first.iter().chain(&rest).map(|t| &t.id).collect();
        assert_eq!(seen, made.iter().rev().map(|t| &t.id).collect::<Vec<_>>());
        assert_eq!(tx.tokens(&theirs.team.id, &Cursor::default()).await.unwrap(), []);
        let odd = tx.tokens(&ours.team.id, &Cursor::after("'; drop\0", 3)).await;
        assert!(matches!(odd, Err(StoreError::NotFound { .. })));

        assert!(!tx.delete_token(&theirs.team.id, &made[0].id).await.unwrap());
        assert!(tx.delete_token(&ours.team.id, &made[0].id).await.unwrap());
        assert!(tx.token_principal("t0").await.unwrap().is_none());
        test.clock.advance(HOUR);
        assert!(tx.token_principal("t1").await.unwrap().is_none());
    })
    .await;
}

#[tokio::test]
async fn a_device_code_is_decided_once_and_used_once() {
    on_each(async |test| {
        let world = world(&test.store, "acme").await;
        let mut tx = begin(test).await;
        let new = |n: &str| NewDeviceCode {
            device_hash: format!("hash-{n}"),
            user_code: format!("CODE-{n}"),
            client_name: "panda on box".to_owned(),
            expires_at: test.clock.now() + HOUR,
        };
        let row = tx.insert_device_code(&new("1")).await.unwrap();
        assert_eq!(tx.device_by_hash("hash-1").await.unwrap().as_ref(), Some(&row));
        assert!(!tx.mark_used(&row.id).await.unwrap());
        let approve = Some((world.user.id.clone(), world.team.id.clone()));
        assert!(tx.decide_device("CODE-1", approve.clone()).await.unwrap());
        assert!(!tx.decide_device("CODE-1", None).await.unwrap());
        tx.mark_polled(&row.id).await.unwrap();
        let decided = tx.device_by_user_code("CODE-1").await.unwrap().unwrap();
        let state = DeviceState::Approved { user: world.user.id.clone(), team: world.team.id.clone() };
        assert_eq!((decided.state, decided.polled_at), (state, Some(test.clock.now())));
        assert!(tx.mark_used(&row.id).await.unwrap());
        assert!(!tx.mark_used(&row.id).await.unwrap());

        tx.insert_device_code(&new("2")).await.unwrap();
        assert!(tx.decide_device("CODE-2", None).await.unwrap());
        assert_eq!(tx.device_by_hash("hash-2").await.unwrap().unwrap().state, DeviceState::Denied);
        tx.insert_device_code(&new("3")).await.unwrap();
        test.clock.advance(HOUR);
        assert!(!tx.decide_device("CODE-3", approve).await.unwrap());
        assert_eq!(tx.device_by_user_code("CODE-3").await.unwrap(), None);
    })
    .await;
}

#[tokio::test]
async fn attempts_beyond_the_limit_wait_for_the_window_to_end() {
    on_each(async |test| {
        let mut tx = begin(test).await;
        let minute = Duration::from_mins(1);
        for _ in 0..3 {
            assert_eq!(tx.hit_rate("login:a", minute, 3).await.unwrap(), RateVerdict::Allowed);
        }
        test.clock.advance(Duration::from_millis(20_500));
        let limited = RateVerdict::Limited { retry_after_s: 40 };
        assert_eq!(tx.hit_rate("login:a", minute, 3).await.unwrap(), limited);
        assert_eq!(tx.hit_rate("login:b", minute, 3).await.unwrap(), RateVerdict::Allowed);
        test.clock.advance(minute);
        assert_eq!(tx.hit_rate("login:a", minute, 3).await.unwrap(), RateVerdict::Allowed);
    })
    .await;
}

#[tokio::test]
async fn the_identity_mark_moves_with_what_tokens_speak_for_alone() {
    on_each(async |test| {
        let world = world(&test.store, "acme").await;
        let before = test.store.identity_mark();
        let mut tx = begin(test).await;
        tx.mark_deleting(&world.placement).await.unwrap();
        tx.commit().await.unwrap();
        if test.store.backend() == Backend::Sqlite {
            assert_eq!(test.store.identity_mark(), before);
        }
        let before = test.store.identity_mark();
        let mut tx = begin(test).await;
        tx.set_user_disabled(&world.user.id, true).await.unwrap();
        tx.commit().await.unwrap();
        assert!(test.store.identity_mark() > before);
    })
    .await;
}
