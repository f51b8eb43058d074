use panda_test_support::panda::TestPanda;
use serde_json::json;

#[tokio::test]
async fn what_isnt_there_is_a_problem_too() {
    let (panda, ann) = TestPanda::claimed().await;
    let missing = panda.anonymous().get("/api/v1/nothing").await;
    assert_eq!((missing.status, missing.code()), (404, "not-found"));
    let wrong = ann.post("/api/v1/whoami", json!({})).await;
    assert_eq!(wrong.status, 405);
    assert!(wrong.header("allow").contains("GET"));
    for answer in [missing, wrong] {
        assert_eq!(answer.header("content-type"), "application/problem+json");
        assert_eq!(answer.json["instance"].as_str(), Some(answer.header("x-request-id")));
    }
}

#[tokio::test]
async fn only_our_edge_chooses_a_requests_id() {
    let (panda, _) = TestPanda::claimed().await;
    let forged = panda.anonymous().header("x-request-id", "made-up-by-me").get("/healthz").await;
    assert!(forged.header("x-request-id").starts_with("req_"));
    let edge = panda.anonymous().from_edge("203.0.113.50").header("x-request-id", "edge-0001-abc");
    assert_eq!(edge.get("/healthz").await.header("x-request-id"), "edge-0001-abc");
    let odd = panda.anonymous().from_edge("203.0.113.50").header("x-request-id", "a\"b<script>");
    assert!(odd.get("/healthz").await.header("x-request-id").starts_with("req_"));
}

#[tokio::test]
async fn figures_are_for_the_operator_alone() {
    let (panda, ann) = TestPanda::claimed().await;
    ann.get("/api/v1/apps/does-not-exist").await;
    assert_eq!(ann.get("/metrics").await.status, 404);
    let operator = panda.operator();
    let figures = operator.get("/metrics").await;
    assert_eq!(figures.status, 200);
    assert!(figures.text.contains("panda_http_requests_total"), "{}", figures.text);
    assert!(figures.text.contains("/api/v1/apps/{app}"), "the template, not the path: {}", figures.text);
    assert!(!figures.text.contains("does-not-exist"));
    assert_eq!(operator.from_ip("203.0.113.9").get("/metrics").await.status, 404);
    assert_eq!(operator.header("x-forwarded-for", "127.0.0.1").get("/metrics").await.status, 404);
}

#[tokio::test]
async fn the_document_is_openapi_3_1_and_knows_every_schema() {
    let (panda, _) = TestPanda::claimed().await;
    let document = panda.anonymous().get("/api/openapi.json").await.json;
    assert!(document["openapi"].as_str().is_some_and(|v| v.starts_with("3.1")));
    let text = document.to_string();
    let schemas = document["components"]["schemas"].as_object().expect("there are schemas");
    for reference in text.split("#/components/schemas/").skip(1) {
        let name = reference.split('"').next().expect("a reference ends");
        assert!(schemas.contains_key(name), "{name} is named but not described");
    }
}
