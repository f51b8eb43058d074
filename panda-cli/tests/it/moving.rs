//! `move`: what is carried between two servers, and what neither learns of the other.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use serde_json::{Value, json};

use crate::fake::{Fake, User, app, problem};

fn digest(n: u8) -> String {
    format!("sha256:{n:064}")
}

/// An index of one image with a configuration and a layer.
fn old_server() -> Router {
    let out = json!({
        "bundle": { "from_installation": "old", "encapsulated": "AA==", "sealed": "BB==" },
        "project": "web", "release": 7, "image": format!("team/shop@{}", digest(1)), "digest": digest(1),
        "carried": true, "env": ["COLOR"], "secrets": ["KEY", "KEY_2"], "replicas": { "web": 2 },
    });
    let manifest = async |Path((_, digest_asked)): Path<(String, String)>| -> Response {
        let body = if digest_asked == digest(1) {
            json!({ "manifests": [{ "digest": digest(2), "size": 9 }] })
        } else {
            json!({ "config": { "digest": digest(3), "size": 6 }, "layers": [{ "digest": digest(4), "size": 6 }] })
        };
        ([("content-type", "application/vnd.oci.image.index.v1+json")], body.to_string()).into_response()
    };
    let domains = json!({ "items": [
        { "host": "shop.old.net", "path": "/", "kind": "given", "verified": true, "certificate": "issued", "url": "x" },
        { "host": "shop.example.com", "path": "/", "kind": "domain", "verified": true, "certificate": "issued", "url": "x" },
    ] });
    Router::new()
        .route("/apps/shop/moves/out", post(async move || Json(out)))
        .route("/apps/{app}/image/manifests/{digest}", get(manifest))
        .route(
            "/apps/shop/image/blobs/{digest}",
            get(async |Path(digest): Path<String>| format!("blob {}", &digest[70..])),
        )
        .route("/apps/shop/domains", get(async move || Json(domains)))
}

/// Keeps what it is given; the first layer breaks off once.
fn new_server() -> Router {
    let kept = Arc::new(Mutex::new((BTreeSet::new(), false)));
    let look = {
        let kept = kept.clone();
        async move |Path((_, digest)): Path<(String, String)>| {
            if kept.lock().unwrap().0.contains(&digest) { StatusCode::OK } else { StatusCode::NOT_FOUND }
        }
    };
    let keep = async move |Path((_, wanted)): Path<(String, String)>| -> Response {
        let mut kept = kept.lock().unwrap();
        if wanted == digest(4) && !kept.1 {
            kept.1 = true;
            return problem(503, "unavailable", "the registry can't be reached");
        }
        kept.0.insert(wanted);
        StatusCode::NO_CONTENT.into_response()
    };
    let key = json!({ "installation": "new", "public_key": "AA==", "fingerprint": "1234-5678" });
    let taken = json!({ "unchanged": true, "app": app("shop") });
    let domain = json!({
        "host": "shop.example.com", "path": "/", "kind": "domain", "verified": false, "certificate": "pending", "url": "x",
        "records": [
            { "kind": "A", "name": "shop.example.com", "expected": "203.0.113.1", "seen": [], "ok": false },
            { "kind": "TXT", "name": "_panda-challenge.shop.example.com", "expected": "panda-proof-1", "seen": [], "ok": false },
        ],
    });
    Router::new()
        .route("/moves/key", post(async move || Json(key)))
        .route("/apps", post(async || (StatusCode::CREATED, Json(app("shop")))))
        .route("/apps/shop", get(async || problem(404, "not-found", "there is no such app")))
        .route("/apps/shop/image/{kind}/{digest}", get(look).put(keep))
        .route("/apps/shop/moves/in", post(async move || (StatusCode::ACCEPTED, Json(taken))))
        .route("/apps/shop/domains", post(async move || (StatusCode::CREATED, Json(domain))))
}

/// Signed in to the first by the environment, to the second by an earlier login.
fn user_of(old: &Fake, new: &Fake) -> User {
    let user = User::of(old);
    let logins = format!("[servers.\"{}\"]\ntoken = \"panda_new\"\n", new.url);
    std::fs::write(user.home().join("logins.toml"), logins).expect("write the logins");
    user
}

#[test]
fn an_image_goes_children_first_and_what_broke_off_once_is_tried_again() {
    let (old, new) = (Fake::start(old_server()), Fake::start(new_server()));
    let user = user_of(&old, &new);
    let ran = user.panda(&format!("move -a shop --to-server {}", new.url));
    ran.ends(0);
    let put: Vec<String> = new
        .seen()
        .into_iter()
        .filter(|seen| seen.method == "PUT")
        .map(|seen| {
            format!("{} {}", seen.path.split('/').rev().nth(1).unwrap(), &seen.path[seen.path.len() - 1..])
        })
        .collect();
    assert_eq!(put, ["blobs 3", "blobs 4", "blobs 4", "manifests 2", "manifests 1"]);
    let layer = new.seen_at("PUT", &digest(4)).pop().unwrap();
    assert_eq!(layer.body, b"blob 4");
    let brought: Value = new.seen_at("POST", "/moves/in")[0].json();
    assert_eq!((&brought["bundle"]["sealed"], &brought["from_server"]), (&json!("BB=="), &json!(old.url)));
    assert_eq!(old.seen_at("POST", "/moves/out")[0].json()["to"]["installation"], "new");
    assert_eq!(new.seen_at("POST", "/apps")[0].json(), json!({ "name": "shop", "project": "web" }));
    assert_eq!(new.seen_at("POST", "/domains")[0].json()["host"], "shop.example.com");
    for said in [
        "1234-5678",
        "2 secrets (sealed)",
        "broke off",
        "_panda-challenge.shop.example.com",
        "panda destroy shop",
    ] {
        assert!(ran.err.contains(said), "{said}: {}", ran.err);
    }
    for (server, token) in [(&old, "Bearer panda_test"), (&new, "Bearer panda_new")] {
        assert!(server.seen().iter().all(|seen| seen.authorization.as_deref() == Some(token)));
    }
    assert!(
        old.seen().iter().all(|seen| seen.method == "GET" || seen.path.ends_with("/moves/out")),
        "it only reads there"
    );
}

#[test]
fn a_server_without_a_login_is_not_asked_and_gets_no_token_of_the_other() {
    let (old, new) = (Fake::start(old_server()), Fake::start(new_server()));
    let user = User::of(&old);
    let ran = user.panda(&format!("move -a shop --to-server {}", new.url));
    ran.ends(4);
    assert!(ran.err.contains("panda login --server"), "{}", ran.err);
    assert!(new.seen().is_empty() && old.seen().is_empty());
    let user = user_of(&old, &old);
    user.panda(&format!("move -a shop --to-server {}", old.url)).ends(2);
}
