use panda_test_support::panda::{Client, TestPanda};
use serde_json::{Value, json};

async fn with_app() -> (TestPanda, Client) {
    let (panda, ann) = TestPanda::claimed().await;
    ann.post("/api/v1/apps", json!({ "name": "shop" })).await;
    (panda, ann)
}

fn set(key: &str, value: &str) -> Value {
    json!({ "changes": { key: { "value": value } }, "deploy": false })
}

#[tokio::test]
async fn values_survive_byte_by_byte_and_are_shown_on_request_alone() {
    let (_panda, ann) = with_app().await;
    let value = "a\nb\"c'd$(id)`x`\t\\ ü 🐼 ";
    let changed = ann.patch("/api/v1/apps/shop/env", set("ODD", value)).await;
    assert_eq!((changed.status, &changed.json["version"]), (200, &json!(1)), "{}", changed.text);

    let hidden = ann.get("/api/v1/apps/shop/env").await;
    assert_eq!(hidden.json["items"][0]["key"], "ODD");
    assert!(hidden.json["items"][0].get("value").is_none());
    let shown = ann.get("/api/v1/apps/shop/env?reveal=true").await;
    assert_eq!(shown.json["items"][0]["value"], value);

    let events = ann.get("/api/v1/apps/shop/events").await;
    let kinds: Vec<_> = events.json["items"].as_array().expect("items").iter().map(|e| &e["kind"]).collect();
    assert_eq!(kinds, ["env.revealed", "env.changed", "app.created"]);
    assert!(!events.text.contains("$(id)"), "events never hold values");
}

#[tokio::test]
async fn a_secret_never_comes_back() {
    let (panda, ann) = with_app().await;
    let secret = "s3cr3t-value-nobody-reads";
    let body = json!({ "changes": { "KEY": { "value": secret, "secret": true } }, "deploy": false });
    assert_eq!(ann.patch("/api/v1/apps/shop/env", body).await.status, 200);
    for path in ["env", "env?reveal=true", "env/history", "events"] {
        let answer = ann.get(&format!("/api/v1/apps/shop/{path}")).await;
        assert_eq!(answer.status, 200);
        assert!(!answer.text.contains(secret), "{path}");
    }
    // A secret stays one, even when somebody sets it as plain.
    ann.patch("/api/v1/apps/shop/env", set("KEY", secret)).await;
    let shown = ann.get("/api/v1/apps/shop/env?reveal=true").await;
    assert_eq!(shown.json["items"][0]["secret"], true);
    assert!(!shown.text.contains(secret));
    assert!(!panda.dump().await.unwrap_or_default().contains(secret));
}

#[tokio::test]
async fn the_same_value_makes_no_version_and_removal_makes_one() {
    let (_panda, ann) = with_app().await;
    let version = async |body: Value| ann.patch("/api/v1/apps/shop/env", body).await.json["version"].clone();
    assert_eq!(version(set("A", "1")).await, 1);
    assert_eq!(version(set("A", "1")).await, 1);
    assert_eq!(version(json!({ "changes": { "A": { "value": null } }, "deploy": false })).await, 2);
    assert_eq!(ann.get("/api/v1/apps/shop/env").await.json["items"], json!([]));
    let history = ann.get("/api/v1/apps/shop/env/history").await;
    let changes: Vec<_> =
        history.json["items"].as_array().expect("items").iter().map(|e| &e["change"]).collect();
    assert_eq!(changes, ["unset", "set"]);
}

#[tokio::test]
async fn what_no_environment_can_carry_is_refused_with_its_field() {
    let (_panda, ann) = with_app().await;
    for key in ["A=B", "LD_PRELOAD", "PATH", "", "1A", "A\u{0}", "PORT", "PANDA_X"] {
        assert_eq!(ann.patch("/api/v1/apps/shop/env", set(key, "x")).await.status, 422, "{key:?}");
    }
    let nul = ann.patch("/api/v1/apps/shop/env", set("A", "a\u{0}b")).await;
    assert_eq!((nul.status, nul.json["errors"][0]["field"].as_str()), (422, Some("changes.A.value")));
    let long = ann.patch("/api/v1/apps/shop/env", set("A", &"x".repeat((64 << 10) + 1))).await;
    assert_eq!((long.status, long.json["errors"][0]["field"].as_str()), (422, Some("changes.A.value")));
    assert_eq!(ann.patch("/api/v1/apps/shop/env", set("A", &"x".repeat(64 << 10))).await.status, 200);
}

#[tokio::test]
async fn there_is_an_end_to_the_number_of_variables() {
    let (_panda, ann) = with_app().await;
    let many = |from: u32, to: u32| {
        let changes: serde_json::Map<_, _> =
            (from..to).map(|n| (format!("K{n}"), json!({ "value": "x" }))).collect();
        json!({ "changes": changes, "deploy": false })
    };
    assert_eq!(ann.patch("/api/v1/apps/shop/env", many(0, 1000)).await.status, 200);
    assert_eq!(ann.patch("/api/v1/apps/shop/env", many(1000, 1001)).await.status, 422);
    assert_eq!(ann.get("/api/v1/apps/shop/env").await.json["items"].as_array().map(Vec::len), Some(1000));
}
