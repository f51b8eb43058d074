//! Taking an app away: which values go, who may, what is written down.

use panda_test_support::panda::{Client, TestPanda};
use serde_json::json;

const SECRET: &str = "s3cr3t-value-nobody-reads";

async fn with_release() -> (TestPanda, Client) {
    let (panda, ann) = TestPanda::claimed().await;
    ann.post("/api/v1/apps", json!({ "name": "shop" })).await;
    let changes =
        json!({ "API_TOKEN": { "value": SECRET, "secret": true }, "LOG_LEVEL": { "value": "debug" } });
    ann.patch("/api/v1/apps/shop/env", json!({ "changes": changes, "deploy": false })).await;
    panda.give_release("shop").await;
    (panda, ann)
}

#[tokio::test]
async fn an_export_has_plain_values_and_holes_for_secrets_and_is_written_down() {
    let (_panda, ann) = with_release().await;
    for format in ["yaml", "kustomize", "compose"] {
        let answer = ann.get(&format!("/api/v1/apps/shop/export?format={format}")).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert_eq!(answer.json["secrets"], json!(["API_TOKEN"]));
        assert_eq!(
            (&answer.json["app"], &answer.json["release"], &answer.json["format"]),
            (&json!("shop"), &json!(1), &json!(format))
        );
        let text = answer.json["files"][0]["text"].as_str().expect("there is a file");
        for known in ["debug", "PANDA_RELEASE", "shop.apps.example.net", "library/web", "sha256:aaaa"] {
            assert!(text.contains(known), "{known}: {text}");
        }
        assert!(!answer.text.contains(SECRET));
    }
    let events = ann.get("/api/v1/apps/shop/events").await;
    assert_eq!(events.json["items"][0]["kind"], "app.exported");
    assert!(!events.text.contains("debug"), "events never hold values");
}

#[tokio::test]
async fn the_values_of_the_release_that_serves_are_exported_not_those_that_wait() {
    let (_panda, ann) = with_release().await;
    let later = json!({ "changes": { "LOG_LEVEL": { "value": "quieter-now" } }, "deploy": false });
    ann.patch("/api/v1/apps/shop/env", later).await;
    let answer = ann.get("/api/v1/apps/shop/export?format=compose").await;
    assert!(answer.text.contains("debug") && !answer.text.contains("quieter-now"), "{}", answer.text);
}

#[tokio::test]
async fn who_may_not_read_values_may_not_export() {
    let (panda, ann) = with_release().await;
    for scope in ["read", "deploy:shop"] {
        let answer = ann.token("t", scope).await.get("/api/v1/apps/shop/export?format=yaml").await;
        assert_eq!((answer.status, answer.code()), (403, "forbidden"), "{scope}");
    }
    let bob = panda.other_team("bob@example.com").await;
    let answer = bob.get("/api/v1/apps/shop/export?format=yaml").await;
    assert_eq!((answer.status, answer.code()), (404, "not-found"));
}

#[tokio::test]
async fn an_app_that_was_never_deployed_and_an_unknown_format_are_refused_with_a_reason() {
    let (_panda, ann) = TestPanda::claimed().await;
    ann.post("/api/v1/apps", json!({ "name": "shop" })).await;
    let answer = ann.get("/api/v1/apps/shop/export?format=yaml").await;
    assert_eq!((answer.status, answer.code()), (409, "conflict"), "{}", answer.text);
    assert!(answer.json["hint"].as_str().is_some_and(|hint| hint.contains("panda deploy")));
    for query in ["?format=helm", ""] {
        let answer = ann.get(&format!("/api/v1/apps/shop/export{query}")).await;
        assert_eq!((answer.status, answer.code()), (422, "invalid-request"), "{query}: {}", answer.text);
    }
}
