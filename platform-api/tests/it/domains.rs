use panda_test_support::panda::{Client, TestPanda};
use serde_json::json;

const DOMAINS: &str = "/api/v1/apps/shop/domains";

async fn with_app() -> (TestPanda, Client) {
    let (panda, ann) = TestPanda::claimed().await;
    ann.post("/api/v1/apps", json!({ "name": "shop" })).await;
    (panda, ann)
}

fn txt_of(domain: &serde_json::Value) -> String {
    let records = domain["records"].as_array().expect("a new domain says its records");
    let txt = records.iter().find(|r| r["kind"] == "TXT").expect("one is the proof");
    txt["expected"].as_str().expect("a proof is text").to_owned()
}

#[tokio::test]
async fn a_domain_is_routed_once_the_dns_proves_it() {
    let (panda, ann) = with_app().await;
    let added = ann.post(DOMAINS, json!({ "host": "www.ann.example" })).await;
    assert_eq!(added.status, 201, "{}", added.text);
    assert_eq!(added.json["verified"], false);
    let proof = txt_of(&added.json);

    let verify = format!("{DOMAINS}/www.ann.example/verify");
    let early = ann.post(&verify, json!({})).await;
    assert_eq!((early.status, &early.json["verified"]), (200, &json!(false)), "{}", early.text);
    panda.dns.set_a("www.ann.example", "198.51.100.77");
    let elsewhere = ann.post(&verify, json!({})).await;
    let a = elsewhere.json["records"].as_array().expect("records").iter().find(|r| r["kind"] == "A").cloned();
    let a = a.expect("an address is expected");
    assert_eq!((&a["seen"], &a["ok"]), (&json!(["198.51.100.77"]), &json!(false)));

    panda.dns.set_txt("_panda-challenge.www.ann.example", &proof);
    let before = panda.generation("shop").await;
    let proven = ann.post(&verify, json!({})).await;
    assert_eq!((&proven.json["verified"], &proven.json["certificate"]), (&json!(true), &json!("pending")));
    assert_eq!(panda.generation("shop").await, before + 1);

    let list = ann.get(DOMAINS).await;
    let kinds: Vec<_> = list.json["items"].as_array().expect("items").iter().map(|d| &d["kind"]).collect();
    assert_eq!(kinds, ["given", "domain"]);
    assert_eq!(ann.delete(&format!("{DOMAINS}/www.ann.example")).await.status, 204);
    assert_eq!(ann.delete(&format!("{DOMAINS}/www.ann.example")).await.status, 404);
}

#[tokio::test]
async fn an_address_record_proves_a_domain_while_there_is_one_team() {
    let (panda, ann) = with_app().await;
    ann.post(DOMAINS, json!({ "host": "www.ann.example" })).await;
    panda.dns.set_a("www.ann.example", "203.0.113.1");
    let proven = ann.post(&format!("{DOMAINS}/www.ann.example/verify"), json!({})).await;
    assert_eq!(proven.json["verified"], true, "{}", proven.text);
}

#[tokio::test]
async fn a_record_that_somebody_left_behind_gives_their_domain_to_nobody() {
    let (panda, ann) = with_app().await;
    let bob = panda.other_team("bob@example.org").await;
    ann.post(DOMAINS, json!({ "host": "www.ann.example" })).await;
    panda.dns.set_a("www.ann.example", "203.0.113.1");
    let added = ann.get(DOMAINS).await;
    assert_eq!(added.json["items"].as_array().map(Vec::len), Some(2));
    assert_eq!(ann.delete(&format!("{DOMAINS}/www.ann.example")).await.status, 204);

    bob.post("/api/v1/apps", json!({ "name": "trap" })).await;
    let claimed = bob.post("/api/v1/apps/trap/domains", json!({ "host": "www.ann.example" })).await;
    assert_eq!(claimed.status, 201);
    let verify = bob.post("/api/v1/apps/trap/domains/www.ann.example/verify", json!({})).await;
    assert_eq!(verify.json["verified"], false, "{}", verify.text);
}

#[tokio::test]
async fn the_team_that_proves_a_domain_first_has_it() {
    let (panda, ann) = with_app().await;
    let bob = panda.other_team("bob@example.org").await;
    bob.post("/api/v1/apps", json!({ "name": "trap" })).await;
    // Naming a domain doesn't keep its owner out.
    assert_eq!(bob.post("/api/v1/apps/trap/domains", json!({ "host": "www.ann.example" })).await.status, 201);
    let added = ann.post(DOMAINS, json!({ "host": "www.ann.example" })).await;
    panda.dns.set_txt("_panda-challenge.www.ann.example", &txt_of(&added.json));
    let theirs = bob.post("/api/v1/apps/trap/domains/www.ann.example/verify", json!({})).await;
    assert_eq!(theirs.json["verified"], false, "another team's proof proves nothing: {}", theirs.text);
    let proven = ann.post(&format!("{DOMAINS}/www.ann.example/verify"), json!({})).await;
    assert_eq!(proven.json["verified"], true, "{}", proven.text);

    bob.delete("/api/v1/apps/trap/domains/www.ann.example").await;
    let refused = bob.post("/api/v1/apps/trap/domains", json!({ "host": "www.ann.example" })).await;
    assert_eq!((refused.status, refused.code()), (409, "name-taken"));
    let twice = ann.post(DOMAINS, json!({ "host": "www.ann.example" })).await;
    assert_eq!((twice.status, twice.code()), (409, "name-taken"));
}

#[tokio::test]
async fn the_platforms_own_hosts_and_impossible_ones_are_refused() {
    let (_panda, ann) = with_app().await;
    for host in [
        "panda.example.com",
        "x.panda.example.com",
        "apps.example.net",
        "other.apps.example.net",
        "app.localhost",
        "localhost",
        "*.example.org",
        "10.0.0.1",
        "Example.org",
        "a;b.example.org",
    ] {
        let refused = ann.post(DOMAINS, json!({ "host": host })).await;
        assert_eq!(
            (refused.status, refused.json["errors"][0]["field"].as_str()),
            (422, Some("host")),
            "{host}"
        );
    }
    for path in ["api", "/a b", "/a;b", "/../x", "/a}", "/\u{2028}"] {
        let refused = ann.post(DOMAINS, json!({ "host": "www.ann.example", "path": path })).await;
        assert_eq!(
            (refused.status, refused.json["errors"][0]["field"].as_str()),
            (422, Some("path")),
            "{path}"
        );
    }
}

#[tokio::test]
async fn a_silent_dns_is_told_as_such() {
    let (panda, ann) = with_app().await;
    ann.post(DOMAINS, json!({ "host": "www.ann.example" })).await;
    panda.dns.fail(true);
    let answer = ann.post(&format!("{DOMAINS}/www.ann.example/verify"), json!({})).await;
    assert_eq!((answer.status, answer.code()), (503, "unavailable"), "{}", answer.text);
}
