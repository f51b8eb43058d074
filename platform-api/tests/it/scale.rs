use panda_test_support::panda::TestPanda;
use serde_json::json;

#[tokio::test]
async fn an_app_without_processes_has_nothing_to_scale() {
    let (_panda, ann) = TestPanda::claimed().await;
    ann.post("/api/v1/apps", json!({ "name": "shop" })).await;
    let refused = ann.patch("/api/v1/apps/shop/scale", json!({ "replicas": { "web": 2 } })).await;
    assert_eq!((refused.status, refused.json["errors"][0]["field"].as_str()), (422, Some("replicas.web")));
}

#[tokio::test]
async fn a_known_process_is_scaled_and_the_wish_counts() {
    let (panda, ann) = TestPanda::claimed().await;
    ann.post("/api/v1/apps", json!({ "name": "shop" })).await;
    panda.give_process("shop", "web").await;
    let before = panda.generation("shop").await;
    let body = json!({ "replicas": { "web": 3 }, "memory_bytes": { "web": 268_435_456_u64 } });
    let scaled = ann.patch("/api/v1/apps/shop/scale", body.clone()).await;
    assert_eq!(scaled.status, 200, "{}", scaled.text);
    let web = &scaled.json["processes"]["web"];
    assert_eq!((&web["replicas"], &web["memory_bytes"]), (&json!(3), &json!(268_435_456_u64)));
    assert_eq!(panda.generation("shop").await, before + 1);
    assert_eq!(ann.get("/api/v1/apps/shop/events").await.json["items"][0]["kind"], "app.scaled");

    // The same wish again is no wish.
    ann.patch("/api/v1/apps/shop/scale", body).await;
    assert_eq!(panda.generation("shop").await, before + 1);

    let unknown = ann.patch("/api/v1/apps/shop/scale", json!({ "replicas": { "worker": 1 } })).await;
    assert!(unknown.status == 422 && unknown.text.contains("`web`"), "{}", unknown.text);
}

#[tokio::test]
async fn figures_out_of_bounds_are_refused() {
    let (panda, ann) = TestPanda::claimed().await;
    ann.post("/api/v1/apps", json!({ "name": "shop" })).await;
    panda.give_process("shop", "web").await;
    for (body, field) in [
        (json!({ "replicas": { "web": 1001 } }), "replicas.web"),
        (json!({ "cpu_millis": { "web": 9 } }), "cpu_millis.web"),
        (json!({ "cpu_millis": { "web": 256_001 } }), "cpu_millis.web"),
        (json!({ "memory_bytes": { "web": 1 } }), "memory_bytes.web"),
        (json!({ "memory_bytes": { "web": (1_u64 << 40) + 1 } }), "memory_bytes.web"),
    ] {
        let refused = ann.patch("/api/v1/apps/shop/scale", body).await;
        assert_eq!((refused.status, refused.json["errors"][0]["field"].as_str()), (422, Some(field)));
    }
    assert_eq!(ann.patch("/api/v1/apps/shop/scale", json!({ "replicas": { "web": 0 } })).await.status, 200);
}
