//! Every route of the document × every kind of asker. A route that isn't listed here fails the test.

use std::collections::BTreeSet;

use panda_test_support::panda::{Answer, Client, TestPanda};
use serde_json::{Value, json};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Needs {
    /// Anybody may ask.
    Nothing,
    /// A login, and about the asker alone.
    Login,
    /// Reading.
    Read,
    /// More than a read-only token has.
    Write,
}
use Needs::{Login, Nothing, Read, Write};

/// Method, path below `/api/v1`, what it needs, a body that would be fine.
fn table() -> Vec<(&'static str, &'static str, Needs, Value)> {
    let none = Value::Null;
    let env = json!({ "changes": { "A": { "value": "1" } }, "deploy": false });
    let key = json!({ "installation": "x", "public_key": "x", "fingerprint": "x" });
    let out = json!({ "to": key, "to_server": "https://new.example" });
    let bundle = json!({ "from_installation": "x", "encapsulated": "x", "sealed": "x" });
    let brought = json!({ "bundle": bundle, "from_server": "https://old.example" });
    let approval = json!({ "user_code": "BCDF-GHJK", "approve": true });
    vec![
        ("GET", "/server", Nothing, none.clone()),
        (
            "POST",
            "/claim",
            Nothing,
            json!({ "claim_token": "x", "email": "a@b.cd", "password": "a decent one" }),
        ),
        ("POST", "/login", Nothing, json!({ "email": "a@b.cd", "password": "x" })),
        ("POST", "/device/code", Nothing, json!({ "client_name": "x" })),
        ("POST", "/device/token", Nothing, json!({ "device_code": "x" })),
        ("POST", "/device/approve", Write, approval),
        ("POST", "/logout", Login, none.clone()),
        ("GET", "/whoami", Login, none.clone()),
        ("POST", "/password", Write, json!({ "current": "x", "new": "another decent one" })),
        ("GET", "/sessions", Write, none.clone()),
        ("DELETE", "/sessions/{id}", Write, none.clone()),
        ("GET", "/tokens", Read, none.clone()),
        ("POST", "/tokens", Write, json!({ "name": "x", "scope": "read" })),
        ("DELETE", "/tokens/{id}", Write, none.clone()),
        ("GET", "/members", Read, none.clone()),
        ("GET", "/projects", Read, none.clone()),
        ("GET", "/events", Read, none.clone()),
        ("GET", "/apps", Read, none.clone()),
        ("POST", "/apps", Write, json!({ "name": "made-by-walk" })),
        ("GET", "/apps/{app}", Read, none.clone()),
        ("DELETE", "/apps/{app}", Write, none.clone()),
        ("PATCH", "/apps/{app}/scale", Write, json!({ "replicas": { "web": 1 } })),
        ("GET", "/apps/{app}/autoscale", Read, none.clone()),
        ("PUT", "/apps/{app}/autoscale", Write, json!({ "process": "web", "min": 1, "max": 2 })),
        ("DELETE", "/apps/{app}/autoscale?process=web", Write, none.clone()),
        ("GET", "/apps/{app}/env", Read, none.clone()),
        ("PATCH", "/apps/{app}/env", Write, env),
        ("GET", "/apps/{app}/env/history", Read, none.clone()),
        ("GET", "/apps/{app}/domains", Read, none.clone()),
        ("POST", "/apps/{app}/domains", Write, json!({ "host": "walk.example" })),
        ("POST", "/apps/{app}/domains/{host}/verify", Write, none.clone()),
        ("DELETE", "/apps/{app}/domains/{host}", Write, none.clone()),
        ("GET", "/apps/{app}/ports", Read, none.clone()),
        ("GET", "/apps/{app}/certificates", Read, none.clone()),
        (
            "POST",
            "/apps/{app}/certificates",
            Write,
            json!({ "host": "www.ann.example", "chain_pem": "x", "key_pem": "x" }),
        ),
        ("GET", "/apps/{app}/certificates/{host}", Read, none.clone()),
        ("DELETE", "/apps/{app}/certificates/{host}", Write, none.clone()),
        ("GET", "/apps/{app}/events", Read, none.clone()),
        ("GET", "/apps/{app}/deployments", Read, none.clone()),
        ("POST", "/apps/{app}/deployments", Write, json!({ "image": "docker.io/library/nginx:1" })),
        ("GET", "/apps/{app}/deployments/{id}", Read, none.clone()),
        ("GET", "/apps/{app}/deployments/{id}/events", Read, none.clone()),
        ("GET", "/apps/{app}/deployments/{id}/log", Read, none.clone()),
        ("POST", "/apps/{app}/deployments/{id}/cancel", Write, none.clone()),
        ("POST", "/apps/{app}/rollback", Write, json!({})),
        ("POST", "/apps/{app}/restart", Write, none.clone()),
        ("GET", "/apps/{app}/releases", Read, none.clone()),
        ("GET", "/apps/{app}/releases/{number}", Read, none.clone()),
        ("GET", "/apps/{app}/releases/diff?from=1&to=2", Write, none.clone()),
        ("GET", "/apps/{app}/status", Read, none.clone()),
        ("GET", "/apps/{app}/instances", Read, none.clone()),
        ("GET", "/apps/{app}/manifest", Read, none.clone()),
        ("GET", "/apps/{app}/export?format=yaml", Write, none.clone()),
        ("GET", "/apps/{app}/doctor", Read, none.clone()),
        ("GET", "/apps/{app}/logs", Read, none.clone()),
        ("GET", "/apps/{app}/exec", Write, none.clone()),
        ("GET", "/apps/{app}/tasks", Read, none.clone()),
        ("POST", "/apps/{app}/tasks", Write, json!({ "command": ["true"] })),
        ("GET", "/apps/{app}/tasks/{id}", Read, none.clone()),
        ("GET", "/apps/{app}/tasks/{id}/logs", Read, none.clone()),
        ("GET", "/apps/{app}/tasks/{id}/attach", Write, none.clone()),
        ("POST", "/apps/{app}/tasks/{id}/cancel", Write, none.clone()),
        ("PUT", "/uploads/trees", Write, json!({ "listing": "" })),
        ("POST", "/uploads/blobs", Write, none.clone()),
        ("POST", "/uploads/plan", Read, json!({ "tree": "sha256:none" })),
        ("POST", "/moves/key", Write, none.clone()),
        ("POST", "/apps/{app}/moves/out", Write, out),
        ("POST", "/apps/{app}/moves/in", Write, brought),
        ("GET", "/apps/{app}/image/manifests/{digest}", Write, none.clone()),
        ("PUT", "/apps/{app}/image/manifests/{digest}", Write, none.clone()),
        ("GET", "/apps/{app}/image/blobs/{digest}", Write, none.clone()),
        ("PUT", "/apps/{app}/image/blobs/{digest}", Write, none.clone()),
        ("GET", "/doctor", Write, none),
    ]
}

fn without_query(path: &str) -> &str {
    path.split('?').next().unwrap_or(path)
}

/// An id of the kind that a path wants, of something that never was.
fn absent(path: &str) -> String {
    let prefix = match path.split('/').rev().find(|part| !part.starts_with('{')) {
        _ if path.contains("/deployments/") => "dep",
        _ if path.contains("/tasks/") => "task",
        Some("sessions") => "ses",
        _ => "tok",
    };
    format!("{prefix}_{:026}", 0)
}

async fn ask(client: &Client, method: &str, path: &str, body: &Value, app: &str, id: &str) -> Answer {
    let filled = path.replace("{app}", app).replace("{host}", "www.ann.example").replace("{id}", id);
    let filled = filled.replace("{number}", "1").replace("{digest}", &format!("sha256:{:064}", 0));
    let kind = (!body.is_null()).then_some("application/json");
    let bytes = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
    let answer = client.send(method, &format!("/api/v1{filled}"), kind, bytes).await;
    if answer.status >= 400 {
        assert_eq!(answer.header("content-type"), "application/problem+json", "{method} {path}");
        assert_eq!(answer.json["instance"].as_str(), Some(answer.header("x-request-id")), "{method} {path}");
    }
    answer
}

#[tokio::test]
async fn the_table_lists_every_route_of_the_document() {
    let (panda, _) = TestPanda::claimed().await;
    let document = panda.anonymous().get("/api/openapi.json").await.json;
    let mut documented = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().expect("there are paths") {
        for (method, spec) in methods.as_object().expect("a path has methods") {
            if spec["responses"].is_object() {
                documented.insert(format!("{} {path}", method.to_uppercase()));
            }
        }
    }
    let listed: BTreeSet<_> =
        table().iter().map(|(method, path, ..)| format!("{method} /api/v1{}", without_query(path))).collect();
    assert_eq!(documented, listed);
}

#[tokio::test]
async fn nobody_and_ended_logins_get_nowhere() {
    let (panda, ann) = TestPanda::claimed().await;
    ann.post("/api/v1/apps", json!({ "name": "shop" })).await;
    let revoked = ann.token("revoked", "full").await;
    let id = ann.get("/api/v1/tokens").await.json["items"][0]["id"].as_str().expect("an id").to_owned();
    ann.delete(&format!("/api/v1/tokens/{id}")).await;
    let expired = ann.token("expired", "full").await;
    panda.clock.advance(std::time::Duration::from_hours(91 * 24));
    let askers =
        [("nobody", panda.anonymous()), ("revoked", revoked), ("expired", expired), ("stale cookie", ann)];
    for (host, (who, asker)) in askers.into_iter().enumerate() {
        for (number, (method, path, needs, body)) in table().into_iter().enumerate() {
            if needs == Nothing {
                continue;
            }
            // Who shows many wrong secrets from one address is told to wait.
            let asker = asker.from_ip(&format!("198.51.{}.{}", number / 25, host + 1));
            let answer = ask(&asker, method, path, &body, "shop", "x").await;
            assert_eq!((answer.status, answer.code()), (401, "unauthenticated"), "{who}: {method} {path}");
        }
    }
    let untouched = panda.generation("shop").await;
    assert_eq!(untouched, 0);
}

#[tokio::test]
async fn another_teams_things_look_like_nothing() {
    let (panda, ann) = TestPanda::claimed().await;
    ann.post("/api/v1/apps", json!({ "name": "shop" })).await;
    ann.post("/api/v1/apps/shop/domains", json!({ "host": "www.ann.example" })).await;
    let session =
        ann.get("/api/v1/sessions").await.json["items"][0]["id"].as_str().expect("an id").to_owned();
    let token =
        ann.post("/api/v1/tokens", json!({ "name": "ci", "scope": "full" })).await.json["token"]["id"]
            .as_str()
            .expect("an id")
            .to_owned();
    let bob = panda.other_team("bob@example.org").await;
    for (method, path, needs, body) in table() {
        if needs == Nothing || !path.contains('{') {
            continue;
        }
        let id = match path {
            "/sessions/{id}" => session.clone(),
            "/tokens/{id}" => token.clone(),
            _ => absent(path),
        };
        let theirs = ask(&bob, method, path, &body, "shop", &id).await;
        assert_eq!((theirs.status, theirs.code()), (404, "not-found"), "{method} {path}: {}", theirs.text);
        let nothing = ask(&bob, method, path, &body, "never-was", &absent(path)).await;
        assert_eq!(theirs.without_instance(), nothing.without_instance(), "{method} {path}");
    }
    assert_eq!(ann.get("/api/v1/apps/shop").await.json["state"], "idle");
}

#[tokio::test]
async fn a_read_only_token_changes_nothing() {
    let (panda, ann) = TestPanda::claimed().await;
    ann.post("/api/v1/apps", json!({ "name": "shop" })).await;
    ann.post("/api/v1/apps/shop/domains", json!({ "host": "www.ann.example" })).await;
    let reader = ann.token("reader", "read").await;
    // `/logout` ends the token itself, so it comes last.
    let (last, walk): (Vec<_>, Vec<_>) = table().into_iter().partition(|(_, path, ..)| *path == "/logout");
    for (method, path, needs, body) in walk.into_iter().chain(last) {
        let answer = ask(&reader, method, path, &body, "shop", &absent(path)).await;
        match needs {
            Write => assert_eq!((answer.status, answer.code()), (403, "forbidden"), "{method} {path}"),
            Read => {
                let absent = path.contains("{id}") || path.ends_with("/certificates/{host}");
                let fine = answer.status == 200 || (answer.status == 404 && absent);
                assert!(
                    fine || path.contains("{number}") || path == "/uploads/plan",
                    "{method} {path}: {}",
                    answer.text
                );
                assert!(![401, 403].contains(&answer.status), "{method} {path}: {}", answer.text);
            }
            Login | Nothing => assert_ne!(answer.status, 403, "{method} {path}"),
        }
    }
    assert_eq!(ann.get("/api/v1/apps/made-by-walk").await.status, 404);
    assert_eq!(panda.generation("shop").await, 0);
}
