use std::time::Duration;

use panda_domain::team::Role;
use panda_test_support::panda::{EMAIL, TestPanda};
use serde_json::json;

#[tokio::test]
async fn a_token_is_shown_once_and_works_until_it_is_revoked() {
    let (_panda, ann) = TestPanda::claimed().await;
    let made = ann.post("/api/v1/tokens", json!({ "name": "ci", "scope": "full" })).await;
    assert_eq!(made.status, 201, "{}", made.text);
    let secret = made.json["secret"].as_str().expect("the secret is text");
    assert!(secret.starts_with("panda_"));
    let ci = ann.with_token(secret);
    let who = ci.get("/api/v1/whoami").await;
    assert_eq!((&who.json["via"], &who.json["scope"]), (&json!("token"), &json!("full")));

    let list = ann.get("/api/v1/tokens").await;
    assert!(!list.text.contains(secret));
    assert_eq!(list.json["items"][0]["name"], "ci");
    assert!(list.json["items"][0]["last_used_at"].is_string(), "{}", list.text);

    let id = made.json["token"]["id"].as_str().expect("an id is text");
    assert_eq!(ann.delete(&format!("/api/v1/tokens/{id}")).await.status, 204);
    assert_eq!(ci.get("/api/v1/whoami").await.status, 401);
}

#[tokio::test]
async fn a_token_ends_by_itself() {
    let (panda, ann) = TestPanda::claimed().await;
    let made = ann.post("/api/v1/tokens", json!({ "name": "ci", "scope": "read", "ttl_days": 1 })).await;
    let ci = ann.with_token(made.json["secret"].as_str().expect("the secret is text"));
    assert_eq!(ci.get("/api/v1/whoami").await.status, 200);
    panda.clock.advance(Duration::from_hours(24) - Duration::from_millis(200));
    assert_eq!(ci.get("/api/v1/whoami").await.status, 200);
    // That it was looked up a moment ago makes it last no longer.
    panda.clock.advance(Duration::from_millis(300));
    assert_eq!(ci.get("/api/v1/whoami").await.status, 401);
}

#[tokio::test]
async fn a_member_who_loses_a_role_or_the_team_loses_it_for_tokens_in_use_too() {
    let (panda, ann) = TestPanda::claimed().await;
    let ci = ann.token("ci", "full").await;
    assert_eq!(ci.post("/api/v1/apps", json!({ "name": "one" })).await.status, 201);
    let mut tx = panda.platform.store.begin().await.unwrap();
    let user = tx.user_by_email(&EMAIL.parse().unwrap()).await.unwrap().unwrap();
    let (team, _) = tx.first_team_of(&user.id).await.unwrap().unwrap();
    tx.add_member(&team.id, &user.id, Role::Viewer).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(ci.get("/api/v1/apps/one").await.status, 200);
    assert_eq!(ci.post("/api/v1/apps", json!({ "name": "two" })).await.status, 403);
    let mut tx = panda.platform.store.begin().await.unwrap();
    assert!(tx.remove_member(&team.id, &user.id).await.unwrap());
    tx.commit().await.unwrap();
    assert_eq!(ci.get("/api/v1/apps/one").await.status, 401);
}

#[tokio::test]
async fn wishes_out_of_bounds_are_refused_with_their_field() {
    let (_panda, ann) = TestPanda::claimed().await;
    for (body, field) in [
        (json!({ "name": "", "scope": "full" }), "name"),
        (json!({ "name": "a\u{202e}b", "scope": "full" }), "name"),
        (json!({ "name": "ci", "scope": "root" }), "scope"),
        (json!({ "name": "ci", "scope": "deploy:../x" }), "scope"),
        (json!({ "name": "ci", "scope": "full", "ttl_days": 0 }), "ttl_days"),
        (json!({ "name": "ci", "scope": "full", "ttl_days": 366 }), "ttl_days"),
    ] {
        let refused = ann.post("/api/v1/tokens", body).await;
        assert_eq!((refused.status, refused.json["errors"][0]["field"].as_str()), (422, Some(field)));
    }
}

#[tokio::test]
async fn a_deploy_token_touches_its_app_alone() {
    let (_panda, ann) = TestPanda::claimed().await;
    let ci = ann.token("ci", "deploy:shop").await;
    assert_eq!(ci.post("/api/v1/apps", json!({ "name": "shop" })).await.status, 201);
    assert_eq!(ci.post("/api/v1/apps", json!({ "name": "other" })).await.status, 403);
    assert_eq!(ci.get("/api/v1/apps/shop").await.status, 200);
    assert_eq!(ci.get("/api/v1/apps/shop/env?reveal=true").await.status, 403);
    assert_eq!(ci.delete("/api/v1/apps/shop?confirm=shop").await.status, 403);
    assert_eq!(ci.post("/api/v1/tokens", json!({ "name": "more", "scope": "full" })).await.status, 403);
}

#[tokio::test]
async fn a_flood_of_wrong_tokens_from_one_address_is_stopped() {
    let (panda, ann) = TestPanda::claimed().await;
    let guesser = panda.anonymous().from_ip("198.51.100.9");
    for n in 0..60 {
        let guess = format!("panda_{n:043}");
        assert_eq!(guesser.with_token(&guess).get("/api/v1/whoami").await.status, 401);
    }
    assert_eq!(guesser.with_token("panda_x").get("/api/v1/whoami").await.status, 429);
    assert_eq!(ann.get("/api/v1/whoami").await.status, 200);
    panda.clock.advance(Duration::from_secs(61));
    assert_eq!(guesser.with_token("panda_x").get("/api/v1/whoami").await.status, 401);
}

#[tokio::test]
async fn a_token_never_comes_by_the_address() {
    let (panda, ann) = TestPanda::claimed().await;
    let token = ann.token("ci", "full").await;
    let secret = token.secret();
    for query in ["token", "access_token"] {
        let answer = panda.anonymous().get(&format!("/api/v1/whoami?{query}={secret}")).await;
        assert_eq!(answer.status, 401);
    }
}

#[tokio::test]
async fn a_list_of_tokens_names_their_owners_by_address() {
    let (_panda, ann) = TestPanda::claimed().await;
    let made = ann.post("/api/v1/tokens", json!({ "name": "ci", "scope": "read" })).await;
    assert_eq!(made.json["token"]["owner"], EMAIL, "{}", made.text);
    assert_eq!(ann.get("/api/v1/tokens").await.json["items"][0]["owner"], EMAIL);
}
