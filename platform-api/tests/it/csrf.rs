use panda_test_support::panda::TestPanda;
use serde_json::json;

#[tokio::test]
async fn another_sites_page_changes_nothing_by_our_cookie() {
    let (_panda, ann) = TestPanda::claimed().await;
    let body = json!({ "name": "shop" });
    let bare = ann.without_origin();
    for (name, value) in [
        ("origin", "https://evil.example"),
        ("origin", "null"),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
    ] {
        let refused = bare.header(name, value).post("/api/v1/apps", body.clone()).await;
        assert_eq!((refused.status, refused.code()), (403, "forbidden"), "{name}: {value}");
    }
    // A cookie without any origin can't be judged, so it is refused.
    assert_eq!(bare.post("/api/v1/apps", body.clone()).await.status, 403);
    assert_eq!(ann.get("/api/v1/apps/shop").await.status, 404);

    assert_eq!(bare.header("sec-fetch-site", "same-origin").post("/api/v1/apps", body).await.status, 201);
}

#[tokio::test]
async fn a_client_with_a_token_needs_no_origin() {
    let (_panda, ann) = TestPanda::claimed().await;
    let cli = ann.token("cli", "full").await.without_origin();
    assert_eq!(cli.post("/api/v1/apps", json!({ "name": "shop" })).await.status, 201);
}

#[tokio::test]
async fn json_dressed_as_a_form_is_refused() {
    let (_panda, ann) = TestPanda::claimed().await;
    for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"] {
        let refused = ann.send("POST", "/api/v1/apps", Some(kind), br#"{"name":"shop"}"#.to_vec()).await;
        assert_eq!((refused.status, refused.code()), (422, "invalid-request"), "{kind}");
    }
    assert_eq!(ann.get("/api/v1/apps/shop").await.status, 404);
}

#[tokio::test]
async fn every_answer_carries_the_headers_that_keep_a_browser_safe() {
    let (panda, ann) = TestPanda::claimed().await;
    for answer in [
        ann.get("/api/v1/whoami").await,
        panda.anonymous().get("/api/v1/whoami").await,
        panda.anonymous().get("/nothing-here").await,
        panda.anonymous().get("/login").await,
        panda.anonymous().post("/api/v1/login", json!({ "odd": 1 })).await,
    ] {
        let csp = answer.header("content-security-policy");
        assert!(csp.contains("frame-ancestors 'none'") && !csp.contains("unsafe"), "{csp}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert_eq!(answer.header("referrer-policy"), "no-referrer");
        assert_eq!(answer.header("cross-origin-opener-policy"), "same-origin");
        assert_eq!(answer.header("cache-control"), "no-store");
        assert!(answer.header("strict-transport-security").contains("max-age="));
        assert!(answer.header("x-request-id").starts_with("req_"));
    }
}

#[tokio::test]
async fn a_websocket_opens_for_our_own_pages_alone() {
    const EXEC: &str = "/api/v1/apps/shop/exec";
    let (_panda, ann) = TestPanda::claimed().await;
    ann.post("/api/v1/apps", json!({ "name": "shop" })).await;
    let bare = ann.without_origin();
    for origin in ["https://evil.example", "null", "https://panda.example.com.evil.example", "https://"] {
        assert_eq!(bare.header("origin", origin).get(EXEC).await.status, 403, "{origin}");
    }
    assert_eq!(bare.get(EXEC).await.status, 403, "a cookie without an origin");
    let token = ann.token("cli", "full").await.without_origin();
    assert_eq!(token.get(&format!("{EXEC}?token={}", token.secret())).await.status, 403);
    // What may talk gets as far as being told that this isn't a WebSocket.
    for fine in [&ann, &token] {
        assert_eq!(fine.get(EXEC).await.code(), "invalid-request");
    }
}
