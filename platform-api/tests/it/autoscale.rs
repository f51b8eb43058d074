use panda_deployer::desired::environment_of;
use panda_deployer::runtime::{ObservedWorkload, WorkloadKey};
use panda_domain::names::{EnvironmentName, ProcessName};
use panda_test_support::panda::{Answer, Client, TestPanda};
use serde_json::{Value, json};

async fn with_release() -> (TestPanda, Client) {
    let (panda, ann) = TestPanda::claimed().await;
    ann.post("/api/v1/apps", json!({ "name": "shop" })).await;
    panda.give_release("shop").await;
    (panda, ann)
}

fn bounds(process: &str) -> Value {
    json!({ "process": process, "min": 2, "max": 10, "cpu_percent": 70, "memory_percent": 80 })
}

async fn set(ann: &Client, body: &Value) -> Answer {
    let bytes = body.to_string().into_bytes();
    ann.send("PUT", "/api/v1/apps/shop/autoscale", Some("application/json"), bytes).await
}

async fn kinds(ann: &Client) -> Vec<Value> {
    let events = ann.get("/api/v1/apps/shop/events").await;
    events.json["items"].as_array().expect("a list").iter().map(|event| event["kind"].clone()).collect()
}

#[tokio::test]
async fn bounds_are_set_shown_and_taken_away_and_each_is_an_event() {
    let (panda, ann) = with_release().await;
    let before = panda.generation("shop").await;
    let answer = set(&ann, &bounds("web")).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let web = &answer.json["processes"]["web"];
    let told = json!({ "min": 2, "max": 10, "cpu_percent": 70, "memory_percent": 80 });
    assert_eq!(
        (&web["autoscale"], &web["replicas"]),
        (&told, &json!(2)),
        "one was wished, two are the fewest"
    );
    assert_eq!(
        (panda.generation("shop").await, &kinds(&ann).await[0]),
        (before + 1, &json!("app.autoscale_set"))
    );
    // The same wish again is no wish.
    set(&ann, &bounds("web")).await;
    assert_eq!(panda.generation("shop").await, before + 1);

    let shown = ann.get("/api/v1/apps/shop/autoscale").await.json["items"][0].clone();
    assert_eq!((&shown["process"], &shown["bounds"], &shown["ready"]), (&json!("web"), &told, &json!(0)));
    assert_eq!(shown["reason"], "nothing runs yet", "nothing is invented");

    let off = ann.delete("/api/v1/apps/shop/autoscale?process=web").await;
    assert_eq!(off.status, 200, "{}", off.text);
    let web = &off.json["processes"]["web"];
    assert_eq!(
        (&web["autoscale"], &web["replicas"]),
        (&Value::Null, &json!(2)),
        "as many stay as were wanted"
    );
    assert_eq!(kinds(&ann).await[0], "app.autoscale_off");
    assert_eq!(ann.delete("/api/v1/apps/shop/autoscale?process=web").await.status, 200);
    assert_eq!(ann.get("/api/v1/apps/shop/autoscale").await.json["items"], json!([]));
    assert_eq!(panda.generation("shop").await, before + 2);
}

/// Writes down that the autoscaler of the release that serves was seen to want so many, as the rollout does.
async fn seen_to_want(panda: &TestPanda, wanted: u32) {
    let mut tx = panda.platform.store.begin().await.expect("begin");
    let team = tx.teams().await.expect("teams").remove(0).id;
    let app = "shop".parse().expect("a name");
    let found = tx.placement_by_names(&team, &app, &EnvironmentName::production()).await.expect("look");
    let row = found.expect("the app is there");
    let key = WorkloadKey {
        environment: environment_of(&row.placement),
        placement: row.placement.id.clone(),
        process: ProcessName::web(),
        release: row.placement.last_good_release.clone().expect("it serves"),
        revision: row.last_good_revision,
    };
    let seen = ObservedWorkload { key, release_number: 1, wanted: Some(wanted), instances: Vec::new() };
    let json = serde_json::to_string(&[seen]).expect("plain data");
    tx.set_observed(&row.placement.id, &json, panda.platform.store.clock().now()).await.expect("write");
    tx.commit().await.expect("commit");
}

#[tokio::test]
async fn the_number_that_the_load_says_is_shown_and_stays_when_it_is_turned_off() {
    let (panda, ann) = with_release().await;
    set(&ann, &bounds("web")).await;
    seen_to_want(&panda, 4).await;
    let status = ann.get("/api/v1/apps/shop/status").await;
    assert_eq!(status.json["app"]["processes"]["web"]["replicas"], 4, "{}", status.text);
    assert_eq!(ann.get("/api/v1/apps/shop/autoscale").await.json["items"][0]["replicas"], 4);
    let doctor = ann.get("/api/v1/apps/shop/doctor").await;
    assert_eq!(doctor.json["items"][0]["seen"], "0 of 4 ready", "{}", doctor.text);
    let off = ann.delete("/api/v1/apps/shop/autoscale?process=web").await;
    assert_eq!(off.json["processes"]["web"]["replicas"], 4, "{}", off.text);
}

#[tokio::test]
async fn a_runtime_that_cant_refuses_it_at_once_with_the_reason_and_the_way_out() {
    let (panda, ann) = with_release().await;
    panda.runtime.without_autoscale();
    let before = panda.generation("shop").await;
    let refused = set(&ann, &bounds("web")).await;
    assert_eq!((refused.status, refused.code()), (422, "unsupported"), "{}", refused.text);
    assert!(refused.json["hint"].as_str().expect("a hint").contains("panda scale"), "{}", refused.text);

    let manifest = "[processes.web.autoscale]\nmin = 2\nmax = 10\n";
    let deploy = json!({ "image": "registry.example/shop:1", "manifest": manifest });
    let refused = ann.post("/api/v1/apps/shop/deployments", deploy.clone()).await;
    assert_eq!((refused.status, refused.code()), (422, "unsupported"), "{}", refused.text);
    assert_eq!(refused.json["errors"][0]["field"], "processes.web.autoscale");
    assert!(refused.json["hint"].as_str().expect("a hint").contains("`replicas`"), "{}", refused.text);
    assert_eq!(panda.generation("shop").await, before);

    let elsewhere = format!("[environments.staging]\n{}", "processes.web.autoscale = { min = 2, max = 3 }");
    let fine = json!({ "image": "registry.example/shop:1", "manifest": elsewhere });
    assert_eq!(ann.post("/api/v1/apps/shop/deployments", fine).await.status, 202, "it isn't for production");
}

#[tokio::test]
async fn a_fixed_number_is_refused_while_the_number_follows_the_load() {
    let (_panda, ann) = with_release().await;
    set(&ann, &bounds("web")).await;
    let refused = ann.patch("/api/v1/apps/shop/scale", json!({ "replicas": { "web": 3 } })).await;
    assert_eq!((refused.status, refused.code()), (409, "conflict"), "{}", refused.text);
    let hint = refused.json["hint"].as_str().expect("a hint").to_owned();
    assert!(hint.contains("autoscale set -p web") && hint.contains("autoscale off -p web"), "{hint}");
    let deploy = json!({ "image": "registry.example/shop:1", "overrides": { "replicas": 3 } });
    let refused = ann.post("/api/v1/apps/shop/deployments", deploy).await;
    assert_eq!((refused.status, refused.code()), (409, "conflict"), "{}", refused.text);

    let size = ann.patch("/api/v1/apps/shop/scale", json!({ "cpu_millis": { "web": 250 } })).await;
    assert_eq!((size.status, &size.json["processes"]["web"]["autoscale"]["max"]), (200, &json!(10)));
    ann.delete("/api/v1/apps/shop/autoscale?process=web").await;
    assert_eq!(ann.patch("/api/v1/apps/shop/scale", json!({ "replicas": { "web": 3 } })).await.status, 200);
}

#[tokio::test]
async fn bounds_that_cant_be_and_processes_that_arent_there_are_named() {
    let (_panda, ann) = with_release().await;
    for (key, value, field) in [
        ("min", 0, "min"),
        ("max", 1001, "max"),
        ("max", 1, "max"),
        ("cpu_percent", 100, "cpu_percent"),
        ("memory_percent", 4, "memory_percent"),
    ] {
        let mut body = bounds("web");
        body[key] = json!(value);
        let refused = set(&ann, &body).await;
        assert_eq!((refused.status, refused.json["errors"][0]["field"].as_str()), (422, Some(field)));
    }
    let unknown = set(&ann, &bounds("wbe")).await;
    assert_eq!((unknown.status, &unknown.json["hint"]), (404, &json!("did you mean `web`?")));
    assert_eq!(ann.delete("/api/v1/apps/shop/autoscale").await.status, 422, "whose?");
}
