use std::time::{Duration, Instant};

use panda_test_support::panda::TestPanda;
use serde_json::json;

#[tokio::test]
async fn unknown_fields_are_refused_so_that_nobody_assigns_what_isnt_theirs() {
    let (panda, ann) = TestPanda::claimed().await;
    let answers = [
        ann.post("/api/v1/apps", json!({ "name": "shop", "team": "other" })).await,
        ann.post("/api/v1/tokens", json!({ "name": "x", "scope": "read", "role": "admin" })).await,
        ann.post("/api/v1/login", json!({ "email": "a@b.cd", "password": "x", "role": "admin" })).await,
        panda.anonymous().post("/api/v1/device/code", json!({ "client_name": "x", "user": "y" })).await,
    ];
    for answer in answers {
        assert_eq!((answer.status, answer.code()), (422, "invalid-request"), "{}", answer.text);
        assert!(answer.text.contains("unknown field"), "{}", answer.text);
    }
}

#[tokio::test]
async fn deep_nesting_is_refused_quickly() {
    let (_panda, ann) = TestPanda::claimed().await;
    for deep in ["[".repeat(400_000), format!("{{\"name\":{}", "{\"a\":".repeat(150_000))] {
        let began = Instant::now();
        let refused = ann.send("POST", "/api/v1/apps", Some("application/json"), deep.into_bytes()).await;
        assert_eq!(refused.status, 422, "{}", refused.text);
        assert!(began.elapsed() < Duration::from_millis(100), "{:?}", began.elapsed());
    }
}

#[tokio::test]
async fn a_body_over_the_limit_is_too_large() {
    let (_panda, ann) = TestPanda::claimed().await;
    let body = format!("{{\"name\":\"{}\"}}", "a".repeat(2 << 20)).into_bytes();
    let refused = ann.send("POST", "/api/v1/apps", Some("application/json"), body.clone()).await;
    assert_eq!((refused.status, refused.code()), (413, "too-large"));
    let streamed = ann.stream("POST", "/api/v1/apps", "application/json", body).await;
    assert_eq!((streamed.status, streamed.code()), (413, "too-large"));
}

#[tokio::test]
async fn wrong_kinds_name_their_field_and_repeat_no_value() {
    let (_panda, ann) = TestPanda::claimed().await;
    for (body, field) in [
        (json!({ "replicas": { "web": -1 } }), "replicas.web"),
        (json!({ "replicas": { "web": "3" } }), "replicas.web"),
        (json!({ "cpu_millis": { "web": 1e99 } }), "cpu_millis.web"),
        (json!({ "replicas": { "web": 1_000_000_000 } }), "replicas.web"),
    ] {
        let refused = ann.patch("/api/v1/apps/shop/scale", body.clone()).await;
        assert_eq!(refused.status, 422, "{body}");
        assert_eq!(refused.json["errors"][0]["field"], field, "{}", refused.text);
    }
    let secret = "correct horse battery";
    let odd = ann.post("/api/v1/login", json!({ "email": "a@b.cd", "password": [secret] })).await;
    assert!(odd.status == 422 && !odd.text.contains(secret), "{}", odd.text);
    let odd = ann.post("/api/v1/login", json!({ "email": "a@b.cd", "password": "x", "n": secret })).await;
    assert!(odd.status == 422 && !odd.text.contains(secret), "{}", odd.text);
}

#[tokio::test]
async fn broken_json_is_the_askers_mistake() {
    let (_panda, ann) = TestPanda::claimed().await;
    for body in ["", "{", "{}{}", "nul", "\u{0}", "{\"name\":\"a\",\"name\":\"b\"}"] {
        let refused =
            ann.send("POST", "/api/v1/apps", Some("application/json"), body.as_bytes().to_vec()).await;
        assert_eq!(refused.status, 422, "{body:?}");
    }
}
