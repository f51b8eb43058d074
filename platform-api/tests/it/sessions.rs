use std::time::{Duration, Instant};

use panda_test_support::panda::{EMAIL, PASSWORD, TestPanda};
use serde_json::json;

#[tokio::test]
async fn a_person_signs_in_and_out() {
    let (panda, _) = TestPanda::claimed().await;
    let anyone = panda.anonymous();
    let signed_in = anyone.post("/api/v1/login", json!({ "email": EMAIL, "password": PASSWORD })).await;
    assert_eq!(signed_in.status, 200, "{}", signed_in.text);
    let ann = anyone.with_cookie_of(&signed_in);
    let who = ann.get("/api/v1/whoami").await;
    assert_eq!((&who.json["via"], &who.json["scope"]), (&json!("session"), &json!("full")));

    let out = ann.post("/api/v1/logout", json!({})).await;
    assert_eq!(out.status, 204);
    assert!(out.header("set-cookie").contains("Max-Age=0"));
    let after = ann.get("/api/v1/whoami").await;
    assert_eq!((after.status, after.header("www-authenticate").is_empty()), (401, false));
}

#[tokio::test]
async fn an_unknown_address_and_a_wrong_password_look_the_same() {
    let (panda, _) = TestPanda::claimed().await;
    panda.platform.passwords.warm_up().await.expect("hashing works");
    let anyone = panda.anonymous();
    let try_as = async |email: &str| {
        let began = Instant::now();
        let answer =
            anyone.post("/api/v1/login", json!({ "email": email, "password": "not the password" })).await;
        (answer, began.elapsed())
    };
    let (mut known_best, mut unknown_best) = (Duration::MAX, Duration::MAX);
    for _ in 0..4 {
        let (known, took) = try_as(EMAIL).await;
        known_best = known_best.min(took);
        let (unknown, took) = try_as("nobody@example.com").await;
        unknown_best = unknown_best.min(took);
        assert_eq!((known.status, known.without_instance()), (401, unknown.without_instance()));
    }
    // Both hash once: the same class, though not the same microsecond.
    assert!(unknown_best > known_best / 3, "known {known_best:?}, unknown {unknown_best:?}");
    assert!(unknown_best < known_best * 3, "known {known_best:?}, unknown {unknown_best:?}");
}

#[tokio::test]
async fn guesses_are_limited_by_account_and_address_and_the_owner_still_gets_in() {
    let (panda, _) = TestPanda::claimed().await;
    let attacker = panda.anonymous().from_ip("198.51.100.1");
    let guess = json!({ "email": EMAIL, "password": "not the password" });
    for _ in 0..10 {
        assert_eq!(attacker.post("/api/v1/login", guess.clone()).await.status, 401);
    }
    let limited = attacker.post("/api/v1/login", guess.clone()).await;
    assert_eq!((limited.status, limited.code()), (429, "rate-limited"));
    assert!(limited.json["retry_after"].as_u64().is_some_and(|s| s > 0));

    // A forged header doesn't make it another address.
    let forged = attacker.header("x-forwarded-for", "203.0.113.77");
    assert_eq!(forged.post("/api/v1/login", guess).await.status, 429);

    let owner = panda.anonymous().from_ip("192.0.2.10");
    let body = json!({ "email": EMAIL, "password": PASSWORD });
    assert_eq!(owner.post("/api/v1/login", body.clone()).await.status, 200);

    panda.clock.advance(Duration::from_mins(16));
    assert_eq!(attacker.post("/api/v1/login", body).await.status, 200);
}

#[tokio::test]
async fn a_login_ends_the_session_that_was_there_before() {
    let (panda, ann) = TestPanda::claimed().await;
    let again = ann.post("/api/v1/login", json!({ "email": EMAIL, "password": PASSWORD })).await;
    assert_eq!(again.status, 200);
    assert_eq!(ann.get("/api/v1/whoami").await.status, 401);
    assert_eq!(panda.anonymous().with_cookie_of(&again).get("/api/v1/whoami").await.status, 200);
}

#[tokio::test]
async fn a_new_password_ends_all_other_sessions_and_renews_this_one() {
    let (panda, ann) = TestPanda::claimed().await;
    let body = json!({ "email": EMAIL, "password": PASSWORD });
    let elsewhere =
        panda.anonymous().with_cookie_of(&panda.anonymous().post("/api/v1/login", body.clone()).await);

    let wrong =
        ann.post("/api/v1/password", json!({ "current": "wrong", "new": "another decent one" })).await;
    assert_eq!((wrong.status, &wrong.json["errors"][0]["field"]), (422, &json!("current")));

    let changed =
        ann.post("/api/v1/password", json!({ "current": PASSWORD, "new": "another decent one" })).await;
    assert_eq!(changed.status, 200, "{}", changed.text);
    assert_eq!(elsewhere.get("/api/v1/whoami").await.status, 401);
    assert_eq!(ann.get("/api/v1/whoami").await.status, 401);
    assert_eq!(ann.with_cookie_of(&changed).get("/api/v1/whoami").await.status, 200);
    assert_eq!(panda.anonymous().post("/api/v1/login", body).await.status, 401);
}

#[tokio::test]
async fn sessions_are_listed_revoked_and_end_by_themselves() {
    let (panda, ann) = TestPanda::claimed().await;
    let body = json!({ "email": EMAIL, "password": PASSWORD });
    let phone = panda.anonymous().with_cookie_of(&panda.anonymous().post("/api/v1/login", body).await);
    let list = ann.get("/api/v1/sessions").await;
    let items = list.json["items"].as_array().expect("a page has items");
    assert_eq!(items.len(), 2);
    let other = items.iter().find(|s| s["current"] == false).expect("one is the phone's");
    let id = other["id"].as_str().expect("an id is text");
    assert_eq!(ann.delete(&format!("/api/v1/sessions/{id}")).await.status, 204);
    assert_eq!(phone.get("/api/v1/whoami").await.status, 401);
    assert_eq!(ann.delete(&format!("/api/v1/sessions/{id}")).await.status, 404);

    panda.clock.advance(Duration::from_hours(31 * 24));
    assert_eq!(ann.get("/api/v1/whoami").await.status, 401);
}

#[tokio::test]
async fn the_database_holds_no_secret_that_would_let_anybody_in() {
    let (panda, ann) = TestPanda::claimed().await;
    let token = ann.token("ci", "full").await;
    let cookie = ann.cookie().expect("signed in by cookie");
    let dump = panda.dump().await;
    assert!(dump.contains(EMAIL), "the dump holds the rows");
    for secret in [PASSWORD, token.secret(), cookie] {
        assert!(!dump.contains(secret));
    }
}
