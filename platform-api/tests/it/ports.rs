use panda_domain::manifest;
use panda_test_support::panda::{Answer, Client, TestPanda};
use serde_json::json;

const IMAGE: &str = "registry.example/shop:1";

async fn apps(names: &[&str]) -> (TestPanda, Client) {
    let (panda, ann) = TestPanda::claimed().await;
    for name in names {
        ann.post("/api/v1/apps", json!({ "name": name })).await;
    }
    (panda, ann)
}

async fn deploy(ann: &Client, app: &str, ports: &str) -> Answer {
    let body = json!({ "image": IMAGE, "manifest": ports });
    ann.post(&format!("/api/v1/apps/{app}/deployments"), body).await
}

async fn published(ann: &Client, app: &str) -> Vec<(u64, String)> {
    let ports = ann.get(&format!("/api/v1/apps/{app}/ports")).await.json;
    let ports = ports["items"].as_array().expect("a list").iter();
    ports
        .map(|p| (p["published"].as_u64().expect("a port"), p["state"].as_str().expect("a state").to_owned()))
        .collect()
}

#[tokio::test]
async fn a_port_is_given_when_a_deploy_is_accepted_and_has_no_address_before_it_was_seen_open() {
    let (panda, ann) = apps(&["shop"]).await;
    let accepted = deploy(&ann, "shop", "[[ports]]\nport = 9000").await;
    assert_eq!(accepted.status, 202, "{}", accepted.text);
    assert_eq!(published(&ann, "shop").await, [(20_000, "waiting".to_owned())]);

    panda.give_release_of("shop", &manifest::parse("[[ports]]\nport = 9000").expect("it is fine")).await;
    let shown = ann.get("/api/v1/apps/shop/ports").await.json["items"][0].clone();
    assert_eq!((&shown["state"], &shown["address"]), (&json!("waiting"), &json!(null)), "{shown}");
    let mut tx = panda.platform.store.begin().await.expect("begin");
    let open = panda_domain::port::PortState::Open { host: None };
    tx.note_port(20_000, &open).await.expect("note");
    tx.commit().await.expect("commit");
    let shown = ann.get("/api/v1/apps/shop/ports").await.json["items"][0].clone();
    let address = "tcp://shop.apps.example.net:20000";
    assert_eq!(
        shown,
        json!({ "process": "web", "port": 9000, "protocol": "tcp", "published": 20_000, "address": address, "state": "open" })
    );
    assert_eq!(ann.get("/api/v1/apps/shop/status").await.json["ports"][0], shown);
}

#[tokio::test]
async fn what_cannot_be_had_is_refused_with_its_cause_and_fix_and_takes_nothing() {
    let (panda, ann) = apps(&["shop"]).await;
    let eve = panda.other_team("eve@example.com").await;
    eve.post("/api/v1/apps", json!({ "name": "secret-name" })).await;
    assert_eq!(deploy(&eve, "secret-name", "[[ports]]\nport = 1\npublished = 20001").await.status, 202);
    let more = "[[ports]]\nport = 1\n[[ports]]\nport = 2\n[[ports]]\nport = 3";
    for (ports, status, code, told) in [
        ("[[ports]]\nport = 1\npublished = 20001", 409, "name-taken", "port 20001 is in use"),
        ("[[ports]]\nport = 1\npublished = 30000", 422, "invalid-request", "20000-20002"),
        (more, 403, "quota-exceeded", "20000-20002"),
        ("[[ports]]\nport = 1\nprotocol = \"udp\"", 422, "invalid-manifest", "only TCP"),
    ] {
        let refused = deploy(&ann, "shop", ports).await;
        assert_eq!((refused.status, refused.code()), (status, code), "{}", refused.text);
        assert!(refused.text.contains(told) && !refused.text.contains("secret-name"), "{}", refused.text);
        assert!(refused.json["hint"].as_str().is_some_and(|hint| !hint.is_empty()), "{}", refused.text);
        assert_eq!(published(&ann, "shop").await, []);
    }
}

#[tokio::test]
async fn a_server_that_publishes_no_ports_says_which_setting_allows_some() {
    let (panda, ann) =
        TestPanda::claimed_with(|settings| settings.tcp_ports = panda_domain::port::PortRange::default())
            .await;
    ann.post("/api/v1/apps", json!({ "name": "shop" })).await;
    let refused = deploy(&ann, "shop", "[[ports]]\nport = 9000").await;
    assert_eq!((refused.status, refused.code()), (422, "unsupported"), "{}", refused.text);
    assert!(
        refused.json["hint"].as_str().is_some_and(|hint| hint.contains("listen.tcp_ports")),
        "{}",
        refused.text
    );
    drop(panda);
}
