//! Uploaded directories and the deploys that need them.

use std::time::Duration;

use panda_test_support::panda::TestPanda;
use serde_json::json;

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
