use panda_test_support::panda::TestPanda;
use serde_json::json;

#[tokio::test]
async fn what_happened_is_told_newest_first_with_who_did_it() {
    let (_panda, ann) = TestPanda::claimed().await;
    let ci = ann.token("ci", "full").await;
    ci.post("/api/v1/apps", json!({ "name": "shop" })).await;
    let events = ann.get("/api/v1/events").await;
    let newest = &events.json["items"][0];
    assert_eq!(
        (&newest["kind"], &newest["by"], &newest["app"]),
        (&json!("app.created"), &json!("ci"), &json!("shop"))
    );
    let ids: Vec<_> =
        events.json["items"].as_array().expect("items").iter().map(|e| e["id"].as_i64()).collect();
    assert!(ids.is_sorted_by(|a, b| a > b), "{ids:?}");

    let page = ann.get("/api/v1/events?limit=1").await;
    let cursor = page.json["next_cursor"].as_str().expect("there is more");
    let next = ann.get(&format!("/api/v1/events?limit=1&cursor={cursor}")).await;
    assert_eq!(next.json["items"][0]["id"], events.json["items"][1]["id"]);
}

#[tokio::test]
async fn a_stream_tells_new_events_and_resumes_after_the_last_one_seen() {
    let (_panda, ann) = TestPanda::claimed().await;
    let mut stream = ann.open_stream("/api/v1/events?follow=true").await;
    ann.post("/api/v1/apps", json!({ "name": "one" })).await;
    let first = stream.next_event().await;
    assert!(first.data.contains("app `one` was made"), "{first:?}");
    drop(stream);
    ann.post("/api/v1/apps", json!({ "name": "two" })).await;
    let mut resumed = ann.header("last-event-id", &first.id).open_stream("/api/v1/events?follow=true").await;
    assert!(resumed.next_event().await.data.contains("app `two` was made"));
}

#[tokio::test]
async fn a_stream_ends_soon_after_its_login() {
    let (_panda, ann) = TestPanda::claimed().await;
    let token = ann.token("watch", "read").await;
    let mut stream = token.open_stream("/api/v1/events?follow=true").await;
    let id =
        ann.get("/api/v1/tokens").await.json["items"][0]["id"].as_str().expect("an id is text").to_owned();
    assert_eq!(ann.delete(&format!("/api/v1/tokens/{id}")).await.status, 204);
    let ended = tokio::time::timeout(std::time::Duration::from_secs(5), stream.to_end()).await;
    assert!(ended.is_ok(), "the stream outlives its login");
}
