use panda_test_support::panda::TestPanda;
use serde_json::json;

#[tokio::test]
async fn a_new_app_has_a_host_of_its_own() {
    let (_panda, ann) = TestPanda::claimed().await;
    let made = ann.post("/api/v1/apps", json!({ "name": "shop" })).await;
    assert_eq!(made.status, 201, "{}", made.text);
    assert_eq!(made.header("location"), "/api/v1/apps/shop");
    assert_eq!(made.json["url"], "https://shop.apps.example.net");
    assert_eq!((&made.json["state"], &made.json["project"]), (&json!("idle"), &json!("default")));
    assert_eq!(ann.get("/api/v1/apps/shop").await.json, made.json);
    assert_eq!(ann.get("/api/v1/apps").await.json["items"][0], made.json);

    let again = ann.post("/api/v1/apps", json!({ "name": "shop" })).await;
    assert_eq!((again.status, again.code()), (409, "name-taken"));
}

#[tokio::test]
async fn two_teams_may_use_one_name_and_get_two_hosts() {
    let (panda, ann) = TestPanda::claimed().await;
    let bob = panda.other_team("bob@example.org").await;
    ann.post("/api/v1/apps", json!({ "name": "shop" })).await;
    let theirs = bob.post("/api/v1/apps", json!({ "name": "shop" })).await;
    assert_eq!(theirs.status, 201, "{}", theirs.text);
    let url = theirs.json["url"].as_str().expect("an url is text");
    let label = url.strip_prefix("https://shop-").and_then(|rest| rest.strip_suffix(".apps.example.net"));
    assert!(label.is_some_and(|hex| hex.len() == 4 && hex.bytes().all(|b| b.is_ascii_hexdigit())), "{url}");
}

#[tokio::test]
async fn names_that_could_reach_anything_else_are_refused() {
    let (_panda, ann) = TestPanda::claimed().await;
    for name in ["a;id", "../x", "A", "xn--x", "kube-system", "constructor", "<script>", "а"] {
        let refused = ann.post("/api/v1/apps", json!({ "name": name })).await;
        assert_eq!(
            (refused.status, refused.json["errors"][0]["field"].as_str()),
            (422, Some("name")),
            "{name}"
        );
    }
    let long = ann.post("/api/v1/apps", json!({ "name": "a".repeat(64) })).await;
    assert_eq!(long.status, 422);
}

#[tokio::test]
async fn apps_are_listed_by_project_and_page() {
    let (panda, ann) = TestPanda::claimed().await;
    for (name, project) in [("one", "default"), ("two", "default"), ("three", "side")] {
        ann.post("/api/v1/apps", json!({ "name": name, "project": project })).await;
        panda.clock.advance(std::time::Duration::from_millis(1));
    }
    let side = ann.get("/api/v1/apps?project=side").await;
    assert_eq!(side.json["items"].as_array().map(Vec::len), Some(1));
    assert_eq!(ann.get("/api/v1/apps?project=none").await.status, 404);

    let first = ann.get("/api/v1/apps?limit=2").await;
    let cursor = first.json["next_cursor"].as_str().expect("there is a second page");
    let second = ann.get(&format!("/api/v1/apps?limit=2&cursor={cursor}")).await;
    let names: Vec<_> = [&first, &second]
        .iter()
        .flat_map(|page| page.json["items"].as_array().expect("a page has items"))
        .map(|app| app["name"].as_str().expect("a name is text"))
        .collect();
    assert_eq!(names, ["three", "two", "one"]);
    for bad in ["limit=0", "limit=201", "limit=x", "cursor=%27"] {
        assert_eq!(ann.get(&format!("/api/v1/apps?{bad}")).await.status, 422, "{bad}");
    }
}

#[tokio::test]
async fn an_app_goes_only_when_its_name_is_said_twice() {
    let (panda, ann) = TestPanda::claimed().await;
    ann.post("/api/v1/apps", json!({ "name": "shop" })).await;
    for path in ["/api/v1/apps/shop", "/api/v1/apps/shop?confirm=other"] {
        assert_eq!(ann.delete(path).await.status, 422);
    }
    assert_eq!(ann.get("/api/v1/apps/shop").await.json["state"], "idle");
    assert_eq!(ann.delete("/api/v1/apps/shop?confirm=shop").await.status, 202);
    assert_eq!(ann.get("/api/v1/apps/shop").await.json["state"], "deleting");
    let change = json!({ "changes": { "A": { "value": "1" } }, "deploy": false });
    assert_eq!(ann.patch("/api/v1/apps/shop/env", change).await.code(), "conflict");
    assert_eq!(panda.jobs("destroy_app").await, 1);
    // Once more is the same wish; it also starts anew what a failed job left undone.
    assert_eq!(ann.delete("/api/v1/apps/shop?confirm=shop").await.status, 202);
}
