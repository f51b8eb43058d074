//! An app out of one server and into another, through both doors.

use futures_util::future::join_all;
use panda_test_support::panda::{Client, TestPanda};
use serde_json::{Value, json};

const SECRET: &str = "s3cr3t-on-its-way";

/// An app with a release that runs well, a variable and a secret.
async fn old_server() -> (TestPanda, Client) {
    let (panda, ann) = TestPanda::claimed().await;
    ann.post("/api/v1/apps", json!({ "name": "shop", "project": "web" })).await;
    let changes = json!({ "KEY": { "value": SECRET, "secret": true }, "COLOR": { "value": "red" } });
    let body = json!({ "changes": changes, "deploy": false });
    assert_eq!(ann.patch("/api/v1/apps/shop/env", body).await.status, 200);
    panda.give_release("shop").await;
    let scaled = ann.patch("/api/v1/apps/shop/scale", json!({ "replicas": { "web": 3 } })).await;
    assert_eq!(scaled.status, 200, "{}", scaled.text);
    (panda, ann)
}

async fn new_server() -> (TestPanda, Client) {
    let (panda, bob) = TestPanda::claimed().await;
    bob.post("/api/v1/apps", json!({ "name": "shop" })).await;
    (panda, bob)
}

/// What the old server seals for the new one.
async fn taken_out(ann: &Client, bob: &Client) -> Value {
    let key = bob.post("/api/v1/moves/key", json!(null)).await;
    assert_eq!(key.status, 200, "{}", key.text);
    let body = json!({ "to": key.json, "to_server": "https://new.example" });
    let out = ann.post("/api/v1/apps/shop/moves/out", body).await;
    assert_eq!(out.status, 200, "{}", out.text);
    assert!(!out.text.contains(SECRET) && !out.text.contains("red"), "{}", out.text);
    out.json
}

fn inward(out: &Value) -> Value {
    json!({ "bundle": out["bundle"], "from_server": "https://old.example" })
}

#[tokio::test]
async fn settings_arrive_sealed_and_a_second_time_changes_nothing() {
    let ((old, ann), (new, bob)) = (old_server().await, new_server().await);
    let before = old.generation("shop").await;
    let out = taken_out(&ann, &bob).await;
    assert_eq!(
        (&out["secrets"], &out["env"], &out["project"]),
        (&json!(["KEY"]), &json!(["COLOR"]), &json!("web"))
    );
    assert_eq!((&out["carried"], &out["replicas"]), (&json!(false), &json!({ "web": 3 })));

    let accepted = bob.post("/api/v1/apps/shop/moves/in", inward(&out)).await;
    assert_eq!(accepted.status, 202, "{}", accepted.text);
    assert_eq!(accepted.json["deployment"]["state"], "releasing", "{}", accepted.text);
    assert!(!accepted.text.contains(SECRET));
    let env = bob.get("/api/v1/apps/shop/env?reveal=true").await;
    assert_eq!(
        (&env.json["items"][0]["key"], &env.json["items"][0]["value"]),
        (&json!("COLOR"), &json!("red"))
    );
    assert_eq!(
        (&env.json["items"][1]["key"], &env.json["items"][1]["secret"]),
        (&json!("KEY"), &json!(true))
    );
    assert!(!env.text.contains(SECRET));
    let releases = bob.get("/api/v1/apps/shop/releases").await;
    assert_eq!(releases.json["items"].as_array().map(Vec::len), Some(1));
    let app = bob.get("/api/v1/apps/shop").await;
    assert_eq!(app.json["processes"]["web"]["replicas"], 3, "{}", app.text);

    let again = bob.post("/api/v1/apps/shop/moves/in", inward(&taken_out(&ann, &bob).await)).await;
    assert_eq!((again.status, &again.json["unchanged"]), (202, &json!(true)), "{}", again.text);
    assert_eq!(bob.get("/api/v1/apps/shop/releases").await.json["items"].as_array().map(Vec::len), Some(1));

    assert_eq!(old.generation("shop").await, before, "nothing changes where it was");
    for (server, kind) in [(&ann, "app.moved_out"), (&bob, "app.moved_in")] {
        let events = server.get("/api/v1/apps/shop/events").await;
        assert!(events.text.contains(kind) && !events.text.contains(SECRET), "{}", events.text);
    }
    for panda in [&old, &new] {
        assert!(!panda.dump().await.contains(SECRET), "it lies sealed");
    }
}

#[tokio::test]
async fn all_who_ask_for_the_key_at_once_are_told_the_one_that_opens() {
    let ((_old, ann), (_new, bob)) = (old_server().await, new_server().await);
    let asked = (0..8).map(|_| bob.post("/api/v1/moves/key", json!(null)));
    let keys: Vec<Value> = join_all(asked).await.into_iter().map(|answer| answer.json).collect();
    assert!(keys.iter().all(|key| *key == keys[0]), "{keys:?}");
    let body = json!({ "to": keys[0], "to_server": "https://new.example" });
    let out = ann.post("/api/v1/apps/shop/moves/out", body).await;
    let brought = bob.post("/api/v1/apps/shop/moves/in", inward(&out.json)).await;
    assert_eq!(brought.status, 202, "{}", brought.text);
}

#[tokio::test]
async fn a_bundle_for_another_server_or_a_key_that_is_none_is_refused() {
    let ((_old, ann), (_new, bob), (_third, eve)) =
        (old_server().await, new_server().await, new_server().await);
    let out = taken_out(&ann, &bob).await;
    let refused = eve.post("/api/v1/apps/shop/moves/in", inward(&out)).await;
    assert_eq!(refused.status, 409, "it never gave a key away: {}", refused.text);
    eve.post("/api/v1/moves/key", json!(null)).await;
    let refused = eve.post("/api/v1/apps/shop/moves/in", inward(&out)).await;
    assert_eq!((refused.status, refused.code()), (422, "invalid-request"), "{}", refused.text);
    assert_eq!(eve.get("/api/v1/apps/shop/env").await.json["items"], json!([]));

    let key = bob.post("/api/v1/moves/key", json!(null)).await.json;
    for (field, value) in
        [("public_key", json!("AAAA")), ("fingerprint", json!("0000")), ("installation", json!("a\nb"))]
    {
        let mut bent = key.clone();
        bent[field] = value;
        let body = json!({ "to": bent, "to_server": "https://new.example" });
        assert_eq!(ann.post("/api/v1/apps/shop/moves/out", body).await.status, 422, "{field}");
    }
}

#[tokio::test]
async fn an_app_that_never_ran_is_not_moved_and_a_server_without_registry_says_so() {
    let ((_old, ann), (_new, bob)) = (new_server().await, new_server().await);
    let key = bob.post("/api/v1/moves/key", json!(null)).await.json;
    let body = json!({ "to": key, "to_server": "https://new.example" });
    let refused = ann.post("/api/v1/apps/shop/moves/out", body).await;
    assert_eq!((refused.status, refused.code()), (409, "conflict"), "{}", refused.text);
    let part = format!("/api/v1/apps/shop/image/blobs/sha256:{:064}", 0);
    assert_eq!(ann.get(&part).await.code(), "unsupported");
}

#[tokio::test]
async fn where_nothing_scales_by_load_the_number_of_that_moment_arrives_without_its_bounds() {
    let ((_old, ann), (new, bob)) = (old_server().await, new_server().await);
    let bounds = json!({ "process": "web", "min": 2, "max": 10, "cpu_percent": 70 }).to_string();
    let json = Some("application/json");
    let set = ann.send("PUT", "/api/v1/apps/shop/autoscale", json, bounds.into_bytes()).await;
    assert_eq!(set.status, 200, "{}", set.text);
    let out = taken_out(&ann, &bob).await;
    new.runtime.without_autoscale();
    let accepted = bob.post("/api/v1/apps/shop/moves/in", inward(&out)).await;
    assert_eq!(accepted.status, 202, "{}", accepted.text);
    let web = bob.get("/api/v1/apps/shop").await.json["processes"]["web"].clone();
    assert_eq!((&web["replicas"], &web["autoscale"]), (&json!(3), &json!(null)), "{web}");
}

#[tokio::test]
async fn a_bundle_with_figures_that_nobody_could_have_set_is_refused_and_makes_nothing() {
    let ((old, ann), (_new, bob)) = (old_server().await, new_server().await);
    // Somebody who writes into their own server's tables, or seals a bundle by hand.
    old.tamper_scale("shop", "web", 4_000_000).await;
    let out = taken_out(&ann, &bob).await;
    let refused = bob.post("/api/v1/apps/shop/moves/in", inward(&out)).await;
    assert_eq!((refused.status, refused.code()), (422, "invalid-request"), "{}", refused.text);
    assert!(refused.text.contains("replicas.web"), "{}", refused.text);
    assert_eq!(bob.get("/api/v1/apps/shop/env").await.json["items"], json!([]));
    assert_eq!(bob.get("/api/v1/apps/shop/releases").await.json["items"], json!([]));
}

#[tokio::test]
async fn ports_arrive_under_the_same_number_or_a_free_one_and_else_it_is_said() {
    let (old, ann) = TestPanda::claimed().await;
    ann.post("/api/v1/apps", json!({ "name": "shop" })).await;
    let ports = "[[ports]]\nport = 1\npublished = 20002\n[[ports]]\nport = 2\npublished = 30000\n[[ports]]\nport = 3\n[[ports]]\nport = 4";
    old.give_release_of("shop", &panda_domain::manifest::parse(ports).expect("it is fine")).await;
    let (_new, bob) = new_server().await;
    let accepted = bob.post("/api/v1/apps/shop/moves/in", inward(&taken_out(&ann, &bob).await)).await;
    assert_eq!(accepted.status, 202, "{}", accepted.text);
    let notices = accepted.json["notices"].to_string();
    assert!(notices.contains("port 4 of `web` stays behind"), "{}", accepted.text);
    let there = bob.get("/api/v1/apps/shop/ports").await.json;
    let there: Vec<_> =
        there["items"].as_array().expect("a list").iter().map(|p| (&p["port"], &p["published"])).collect();
    let (one, two, three) = (json!(1), json!(2), json!(3));
    assert_eq!(there, [(&two, &json!(20_000)), (&three, &json!(20_001)), (&one, &json!(20_002))]);
    let again = bob.post("/api/v1/apps/shop/moves/in", inward(&taken_out(&ann, &bob).await)).await;
    assert_eq!((again.status, &again.json["unchanged"]), (202, &json!(true)), "{}", again.text);
}
