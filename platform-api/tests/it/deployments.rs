use panda_domain::ids::DeploymentId;
use panda_test_support::panda::{Client, TestPanda};
use serde_json::json;

/// Asks for a deployment of an image; nobody works on it here. Returns its path.
async fn queued(ann: &Client) -> String {
    ann.post("/api/v1/apps", json!({ "name": "shop" })).await;
    let asked =
        ann.post("/api/v1/apps/shop/deployments", json!({ "image": "registry.example/shop:1" })).await;
    assert_eq!(asked.status, 202, "{}", asked.text);
    assert_eq!(asked.json["deployment"]["step"], json!(null));
    format!("/api/v1/apps/shop/deployments/{}", asked.json["deployment"]["id"].as_str().expect("an id"))
}

#[tokio::test]
async fn what_a_deployment_waits_for_is_shown_while_it_waits() {
    let (panda, ann) = TestPanda::claimed().await;
    let path = queued(&ann).await;
    let id: DeploymentId = path.rsplit('/').next().expect("a path").parse().expect("an id");
    let mut tx = panda.platform.store.begin().await.expect("begin");
    let detail = "`registry.example` wasn't reached: connection refused";
    let step = json!({ "key": "image", "title": "find the image", "state": "running", "elapsed_ms": 500, "detail": detail });
    tx.add_progress(&id, "step", &step).await.expect("write");
    tx.commit().await.expect("commit");
    panda.clock.advance(std::time::Duration::from_mins(1));

    let shown = ann.get(&path).await.json["step"].clone();
    assert_eq!((&shown["detail"], &shown["elapsed_ms"]), (&json!(detail), &json!(60_500)));
    let status = ann.get("/api/v1/apps/shop/status").await;
    assert_eq!(status.json["deployment"]["step"], shown);
    let canceled = ann.post(&format!("{path}/cancel"), json!({})).await;
    assert_eq!((canceled.status, &canceled.json["step"]), (202, &json!(null)), "{}", canceled.text);
}

#[tokio::test]
async fn an_app_that_is_being_destroyed_is_still_seen_and_takes_no_deployment() {
    let (_panda, ann) = TestPanda::claimed().await;
    let path = queued(&ann).await;
    assert_eq!(ann.delete("/api/v1/apps/shop?confirm=shop").await.status, 202);
    assert_eq!(ann.get(&path).await.status, 200);
    for (refused, body) in [
        ("/api/v1/apps/shop/deployments", json!({ "image": "registry.example/shop:2" })),
        ("/api/v1/apps/shop/rollback", json!({})),
        ("/api/v1/apps/shop/restart", json!({})),
        ("/api/v1/apps/shop/tasks", json!({ "command": ["true"] })),
    ] {
        let answer = ann.post(refused, body).await;
        assert_eq!(answer.status, 409, "{refused}: {}", answer.text);
        assert!(answer.text.contains("being destroyed"), "{refused}: {}", answer.text);
    }
}
