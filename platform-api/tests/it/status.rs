//! What an app says of itself: at a glance, scaled to 0, to doctor, in its log.

use panda_test_support::panda::{Answer, Client, TestPanda};
use serde_json::{Value, json};

async fn with_release() -> (TestPanda, Client) {
    let (panda, ann) = TestPanda::claimed().await;
    ann.post("/api/v1/apps", json!({ "name": "shop" })).await;
    panda.give_release("shop").await;
    (panda, ann)
}

fn checks(answer: &Answer) -> Vec<(String, String, String)> {
    let text = |check: &Value, key: &str| check[key].as_str().unwrap_or_default().to_owned();
    let items = answer.json["items"].as_array().expect("a list");
    items.iter().map(|check| (text(check, "name"), text(check, "state"), text(check, "seen"))).collect()
}

#[tokio::test]
async fn an_app_that_is_scaled_to_0_still_says_its_release() {
    let (_panda, ann) = with_release().await;
    let scaled = ann.patch("/api/v1/apps/shop/scale", json!({ "replicas": { "web": 0 } })).await;
    assert_eq!((&scaled.json["state"], &scaled.json["release"]), (&json!("stopped"), &json!(1)));
    let status = ann.get("/api/v1/apps/shop/status").await;
    assert_eq!(status.json["app"]["release"], 1, "{}", status.text);
    assert_eq!(ann.get("/api/v1/apps").await.json["items"][0]["release"], 1);
    // Wanted again, and not seen yet: nothing is claimed.
    ann.patch("/api/v1/apps/shop/scale", json!({ "replicas": { "web": 1 } })).await;
    assert!(ann.get("/api/v1/apps/shop").await.json.get("release").is_none());
}

#[tokio::test]
async fn doctor_finds_nothing_wrong_with_an_app_that_is_scaled_to_0() {
    let (_panda, ann) = with_release().await;
    let down = checks(&ann.get("/api/v1/apps/shop/doctor").await);
    assert_eq!(down[0], ("process web".into(), "failed".into(), "0 of 1 ready".into()));
    ann.patch("/api/v1/apps/shop/scale", json!({ "replicas": { "web": 0 } })).await;
    let stopped = checks(&ann.get("/api/v1/apps/shop/doctor").await);
    let first = ("process web".into(), "ok".into(), "scaled to 0: nothing has to run".into());
    let address = ("address".into(), "ok".into(), "https://shop.apps.example.net".into());
    assert_eq!(stopped, [first, address], "the runtime's own checks are /doctor's");
}

#[tokio::test]
async fn doctor_of_an_app_that_was_never_deployed_says_what_to_do() {
    let (_panda, ann) = TestPanda::claimed().await;
    ann.post("/api/v1/apps", json!({ "name": "shop" })).await;
    let answer = ann.get("/api/v1/apps/shop/doctor").await;
    assert_eq!(answer.json["items"][0]["fix"], "panda deploy", "{}", answer.text);
    assert_eq!(ann.get("/api/v1/apps/nobody/doctor").await.status, 404);
}

#[tokio::test]
async fn the_log_of_an_unknown_process_is_refused_by_naming_those_that_exist() {
    let (_panda, ann) = with_release().await;
    let refused = ann.get("/api/v1/apps/shop/logs?process=wbe").await;
    assert_eq!((refused.status, refused.code()), (404, "not-found"), "{}", refused.text);
    assert_eq!(refused.json["detail"], "`shop` has no process `wbe`");
    assert_eq!(refused.json["hint"], "did you mean `web`?");
    assert_eq!(refused.json["errors"][0], json!({ "field": "process", "message": "it has `web`" }));
    let odd = ann.get("/api/v1/apps/shop/logs?process=Web").await;
    assert_eq!((odd.status, odd.json["errors"][0]["field"].as_str()), (422, Some("process")));
    assert_eq!(ann.get("/api/v1/apps/shop/logs?process=web&follow=false").await.status, 200);
}

#[tokio::test]
async fn a_wrong_parameter_is_named() {
    let (_panda, ann) = with_release().await;
    for (path, field) in [
        ("/api/v1/apps?limit=x", "limit"),
        ("/api/v1/apps/shop/logs?tail=-1", "tail"),
        ("/api/v1/apps/shop/logs?follow=perhaps", "follow"),
        ("/api/v1/apps/shop/logs?since=yesterday", "since"),
        ("/api/v1/apps/shop?environment=Prod", "environment"),
    ] {
        let refused = ann.get(path).await;
        assert_eq!(
            (refused.status, refused.json["errors"][0]["field"].as_str()),
            (422, Some(field)),
            "{path}: {}",
            refused.text
        );
    }
}
