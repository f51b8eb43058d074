//! Sent directories: those that say two things, somebody else's, and those that are gone.

use std::time::Duration;

use async_compression::tokio::write::ZstdEncoder;
use panda_domain::source_tree::ContentHash;
use panda_test_support::panda::{Answer, Client, TestPanda};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

fn file(path: &str, content: &str, size: usize) -> Value {
    json!({ "path": path, "type": "file", "executable": false, "size": size, "sha256": ContentHash::of(content.as_bytes()) })
}

async fn announce(client: &Client, entries: &[Value]) -> Answer {
    let body = json!({ "listing": Value::from(entries.to_vec()).to_string() }).to_string();
    client.send("PUT", "/api/v1/uploads/trees", Some("application/json"), body.into_bytes()).await
}

async fn send(client: &Client, contents: &[&str]) -> Answer {
    let mut frames = ZstdEncoder::new(Vec::new());
    for content in contents {
        frames.write_all(ContentHash::of(content.as_bytes()).as_bytes()).await.expect("write");
        frames.write_all(&(content.len() as u64).to_be_bytes()).await.expect("write");
        frames.write_all(content.as_bytes()).await.expect("write");
    }
    frames.shutdown().await.expect("finish");
    let kind = Some("application/vnd.panda.blobs+zstd");
    client.send("POST", "/api/v1/uploads/blobs", kind, frames.into_inner()).await
}

async fn plan(client: &Client, entries: &[Value]) -> Answer {
    let tree = announce(client, entries).await.json["tree"].clone();
    client.post("/api/v1/uploads/plan", json!({ "tree": tree, "manifest": null })).await
}

#[tokio::test]
async fn a_file_that_is_longer_than_listed_is_refused_and_not_read_to_its_end() {
    let (_panda, ann) = TestPanda::claimed().await;
    let long = "#".repeat(600 << 10);
    assert_eq!(send(&ann, &["<h1>hi</h1>", &long]).await.status, 200);
    let index = file("index.html", "<h1>hi</h1>", 11);
    for size in [10, 200_000] {
        let refused = plan(&ann, &[index.clone(), file("panda.toml", &long, size)]).await;
        assert_eq!((refused.status, refused.code()), (422, "invalid-source"), "{}", refused.text);
        assert!(refused.text.contains("panda.toml") && refused.json["hint"].is_string(), "{}", refused.text);
    }
    for size in [1, 4000] {
        let refused = plan(&ann, &[file("index.html", "<h1>hi</h1>", size)]).await;
        assert_eq!((refused.status, refused.code()), (422, "invalid-source"), "{}", refused.text);
    }
    let honest = plan(&ann, std::slice::from_ref(&index)).await;
    assert_eq!(honest.status, 200, "{}", honest.text);
}

#[tokio::test]
async fn a_listing_with_too_much_in_it_names_the_limit_and_the_file() {
    let (_panda, ann) = TestPanda::claimed().await;
    let many: Vec<Value> =
        (0..=100_000).map(|n| json!({ "path": format!("d{n}"), "type": "directory" })).collect();
    let refused = announce(&ann, &many).await;
    assert_eq!((refused.status, refused.code()), (413, "too-large"), "{}", refused.text);
    assert!(
        refused.text.contains("100001 entries") && refused.text.contains(".dockerignore"),
        "{}",
        refused.text
    );
    let refused = announce(&ann, &[file("big.iso", "", 2 << 30)]).await;
    assert_eq!((refused.status, refused.code()), (413, "too-large"), "{}", refused.text);
    assert!(refused.text.contains("`big.iso` has 2048 MiB, at most 1024"), "{}", refused.text);
}

#[tokio::test]
async fn what_another_team_sent_has_to_be_sent_again() {
    let (panda, ann) = TestPanda::claimed().await;
    let bob = panda.other_team("bob@example.org").await;
    let entries = [file("index.html", "secret plans", 12)];
    assert_eq!(send(&ann, &["secret plans"]).await.status, 200);
    assert_eq!(announce(&ann, &entries).await.json["complete"], true);
    let theirs = announce(&bob, &entries).await;
    assert_eq!(
        (&theirs.json["complete"], theirs.json["missing"].as_array().map(Vec::len)),
        (&json!(false), Some(1))
    );
    let refused =
        bob.post("/api/v1/uploads/plan", json!({ "tree": theirs.json["tree"], "manifest": null })).await;
    assert_eq!((refused.status, refused.code()), (422, "invalid-source"), "{}", refused.text);
}

#[tokio::test]
async fn a_deploy_of_a_source_that_is_gone_is_refused_instead_of_failing_later() {
    let (panda, ann) = TestPanda::claimed().await;
    ann.post("/api/v1/apps", json!({ "name": "shop" })).await;
    let body = json!({ "listing": "[]" }).to_string().into_bytes();
    let announced = ann.send("PUT", "/api/v1/uploads/trees", Some("application/json"), body).await;
    assert_eq!(announced.status, 200, "{}", announced.text);
    let tree = announced.json["tree"].as_str().expect("a tree has a name").to_owned();
    // With its manifest in the request, nothing of the source itself is read before the build.
    let wish = json!({ "tree": tree, "manifest": "", "no_cache": true });
    let accepted = ann.post("/api/v1/apps/shop/deployments", wish.clone()).await;
    assert_eq!(accepted.status, 202, "{}", accepted.text);

    panda.clock.advance(Duration::from_secs(1));
    let mut tx = panda.platform.store.begin().await.expect("begin");
    for team in tx.teams().await.expect("teams") {
        assert!(tx.delete_tree(&team.id, &tree, panda.clock.now()).await.expect("delete"));
    }
    tx.commit().await.expect("commit");
    let refused = ann.post("/api/v1/apps/shop/deployments", wish).await;
    assert_eq!((refused.status, refused.code()), (422, "invalid-source"), "{}", refused.text);
}
