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
    assert!(!panda.dump().await.contains(secret));
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

#[tokio::test]
async fn a_change_says_what_came_of_each_name_and_a_dry_run_does_nothing() {
    let (_panda, ann) = with_app().await;
    ann.patch(
        "/api/v1/apps/shop/env",
        json!({ "changes": { "A": { "value": "1" }, "B": { "value": "2" } }, "deploy": false }),
    )
    .await;
    let wish = |dry_run: bool| {
        json!({ "deploy": false, "dry_run": dry_run, "changes": {
            "A": { "value": "1" }, "B": { "value": "3" }, "C": { "value": "4" }, "NONE": { "value": null },
        } })
    };
    let expected = json!({ "A": "same", "B": "replaced", "C": "added", "NONE": "absent" });
    let tried = ann.patch("/api/v1/apps/shop/env", wish(true)).await;
    assert_eq!((&tried.json["version"], &tried.json["changes"]), (&json!(1), &expected), "{}", tried.text);
    assert_eq!(
        ann.get("/api/v1/apps/shop/env/history").await.json["items"].as_array().map(Vec::len),
        Some(2)
    );
    let done = ann.patch("/api/v1/apps/shop/env", wish(false)).await;
    assert_eq!((&done.json["version"], &done.json["changes"]), (&json!(2), &expected), "{}", done.text);
    let gone = json!({ "changes": { "A": { "value": null }, "NONE": { "value": null } }, "deploy": false });
    let gone = ann.patch("/api/v1/apps/shop/env", gone).await;
    assert_eq!(gone.json["changes"], json!({ "A": "removed", "NONE": "absent" }));
}

#[tokio::test]
async fn removing_what_isnt_set_makes_no_version_and_no_deployment() {
    let (panda, ann) = with_app().await;
    panda.give_release("shop").await;
    let body = json!({ "changes": { "NOPE": { "value": null } }, "deploy": true });
    let nothing = ann.patch("/api/v1/apps/shop/env", body).await;
    assert_eq!(nothing.json, json!({ "version": 0, "changes": { "NOPE": "absent" } }), "{}", nothing.text);
    assert_eq!(ann.get("/api/v1/apps/shop/deployments").await.json["items"], json!([]));
    assert_eq!(ann.get("/api/v1/apps/shop/releases").await.json["items"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn refused_names_say_the_rule_and_one_that_would_do() {
    let (_panda, ann) = with_app().await;
    let refused = ann.patch("/api/v1/apps/shop/env", set("log-level", "x")).await;
    let error = &refused.json["errors"][0];
    assert_eq!(error["field"], "changes.log-level");
    let message = error["message"].as_str().expect("a message is text");
    assert!(message.contains("underscores") && message.contains("`log_level` would do"), "{message}");
    for (path, body, suggestion) in [
        ("/api/v1/apps", json!({ "name": "My App" }), "`my-app` would do"),
        ("/api/v1/apps", json!({ "name": "www" }), "`www-app` would do"),
        (
            "/api/v1/apps/shop/domains",
            json!({ "host": "https://Www.ann.example/x" }),
            "`www.ann.example` would do",
        ),
        ("/api/v1/apps/shop/domains", json!({ "host": "panda.example.com" }), "a domain that you own"),
        ("/api/v1/apps/shop/deployments", json!({ "image": "Upper/Case" }), "nginx"),
    ] {
        let refused = ann.post(path, body).await;
        let hint = refused.json["hint"].as_str().unwrap_or_default();
        assert!(refused.status == 422 && hint.contains(suggestion), "{}", refused.text);
        assert!(refused.json["errors"][0]["field"].is_string(), "{}", refused.text);
    }
}
