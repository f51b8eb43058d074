//! The other verbs: what they ask for and what they show.

use axum::Router;
use axum::http::StatusCode;
use axum::response::Json;
use axum::routing::{delete, get, patch, post};
use serde_json::json;

use crate::fake::{Fake, User, app, deployment, problem};

fn routes() -> Router {
    let instance = json!({ "id": "i1", "process": "web", "release": 3, "state": "oom", "reason": "limit 512Mi", "restarts": 2,
        "started_at": "2020-01-01T00:00:00Z", "memory_bytes": 536_870_912, "runs_as_root": false });
    let domain = json!({ "host": "a.example.com", "path": "/", "kind": "domain", "verified": false, "certificate": "pending",
        "records": [{ "kind": "A", "name": "a.example.com", "expected": "192.0.2.1", "seen": [], "ok": false }],
        "url": "https://a.example.com" });
    let status = json!({ "app": app("shop"), "instances": [instance], "deployment": deployment("live"),
        "domains": [domain], "notices": ["runs as root"] });
    let release = |number: u32| {
        json!({ "number": number, "image": "r@sha256:1", "source": "abc1234", "env_version": 2,
            "processes": { "web": "node server.js" }, "by": "ada", "created_at": "2020-01-01T00:00:00Z", "serving": number == 3,
            "outcome": "live" })
    };
    let (instances, releases, info) =
        (json!({ "items": [instance] }), json!({ "items": [release(3), release(2)] }), release(2));
    let changes =
        json!({ "from": 2, "to": 3, "changes": [{ "what": "env.A", "before": "1", "after": "2" }] });
    let ports = json!({ "items": [
        { "process": "web", "port": 9000, "protocol": "tcp", "published": 20_000, "address": "tcp://shop.example.com:20000",
            "state": "open" },
        { "process": "worker", "port": 9001, "protocol": "tcp", "published": 20_001, "state": "failed",
            "detail": "port 20001 is held by nginx (pid 812)" }] });
    let verified = domain.clone();
    Router::new()
        .route("/apps", get(|| async { Json(json!({ "items": [app("shop")] })) }))
        .route("/apps/shop", get(|| async { Json(app("shop")) }))
        .route("/apps/shop", delete(|| async { StatusCode::ACCEPTED }))
        .route("/apps/shop/status", get(move || async move { Json(status) }))
        .route("/apps/shop/instances", get(move || async move { Json(instances) }))
        .route("/apps/shop/scale", patch(|| async { Json(app("shop")) }))
        .route("/apps/shop/releases", get(move || async move { Json(releases) }))
        .route("/apps/shop/releases/2", get(move || async move { Json(info) }))
        .route("/apps/shop/releases/diff", get(move || async move { Json(changes) }))
        .route("/apps/shop/domains", post(move || async move { (StatusCode::CREATED, Json(domain)) }))
        .route("/apps/shop/domains/a.example.com/verify", post(move || async move { Json(verified) }))
        .route("/apps/shop/domains/a.example.com", delete(|| async { StatusCode::NO_CONTENT }))
        .route("/apps/shop/ports", get(move || async move { Json(ports) }))
        .route("/apps/shop/manifest", get(|| async { "kind: container\n" }))
}

#[test]
fn tables_and_overviews_read_well() {
    let fake = Fake::start(routes());
    let user = User::of(&fake);
    let mut all = String::new();
    for line in [
        "ps",
        "status",
        "scale",
        "releases",
        "releases info v2",
        "releases diff v2 v3",
        "domains add a.example.com",
        "apps",
        "manifest",
        "ports",
        "open",
    ] {
        let ran = user.panda(&format!("{line} -a shop"));
        ran.ends(0);
        all = format!("{all}$ panda {line}\n{}\n", ran.out);
        if line != "manifest" {
            let ran = user.panda(&format!("{line} -a shop --json"));
            ran.ends(0);
            serde_json::from_str::<serde_json::Value>(&ran.out)
                .unwrap_or_else(|error| panic!("{line}: {error}"));
        }
    }
    insta::assert_snapshot!(all);
}

#[test]
fn status_tells_what_a_deployment_waits_for() {
    let mut waiting = deployment("queued");
    waiting["step"] = json!({ "key": "image", "title": "find the image", "state": "running", "elapsed_ms": 61_000,
        "detail": "`shop:1` can't be had from `docker.io` yet" });
    let status =
        json!({ "app": app("shop"), "instances": [], "deployment": waiting, "domains": [], "notices": [] });
    let fake =
        Fake::start(Router::new().route("/apps/shop/status", get(move || async move { Json(status) })));
    let ran = User::of(&fake).panda("status -a shop");
    let line = "step        running find the image: `shop:1` can't be had from `docker.io` yet\n";
    assert!(ran.ends(0).out.contains(line), "{}", ran.out);
}

#[test]
fn scale_takes_numbers_names_and_sizes() {
    let fake = Fake::start(routes());
    let user = User::of(&fake);
    let asked = || fake.seen_at("PATCH", "/scale").pop().unwrap().json();
    user.panda("scale 3 -a shop").ends(0);
    assert_eq!(asked()["replicas"], json!({ "web": 3 }));
    user.panda("ps:scale web=0 worker=2 -a shop").ends(0);
    assert_eq!(asked()["replicas"], json!({ "web": 0, "worker": 2 }));
    user.panda("scale worker --cpu 250m --memory 1Gi -a shop").ends(0);
    assert_eq!(
        asked(),
        json!({ "replicas": {}, "cpu_millis": { "worker": 250 }, "memory_bytes": { "worker": 1 << 30 } })
    );
    for (line, code) in [
        ("scale web=-1", 2),
        ("scale -1", 2),
        ("scale web=99999", 2),
        ("scale web=1e9", 2),
        ("scale 99999", 2),
        ("scale --cpu 1e99", 2),
        ("scale --memory 5", 2),
        ("scale wbe=1", 3),
    ] {
        user.panda(&format!("{line} -a shop")).ends(code);
    }
    assert!(user.panda("scale wbe=1 -a shop").err.contains("did you mean `web`?"));
}

fn autoscaled() -> serde_json::Value {
    let mut app = app("shop");
    let bounds = json!({ "min": 2, "max": 10, "cpu_percent": 70, "memory_percent": 80 });
    app["processes"]["web"] = json!({ "replicas": 4, "ready": 3, "cpu_millis": 500, "memory_bytes": 536_870_912,
        "autoscale": bounds });
    app
}

fn autoscale_routes() -> Router {
    let bounds = json!({ "min": 2, "max": 10, "cpu_percent": 70, "memory_percent": 80 });
    let web = json!({ "process": "web", "bounds": bounds, "replicas": 4, "ready": 3, "cpu_percent": 91,
        "memory_percent": 35 });
    let blind = json!({ "process": "worker", "bounds": { "min": 1, "max": 3, "cpu_percent": 70 }, "replicas": 1,
        "ready": 1, "reason": "this cluster tells no loads" });
    let status = json!({ "app": autoscaled(), "instances": [], "domains": [], "notices": [] });
    let on = get(move || async move { Json(json!({ "items": [web, blind] })) })
        .put(|| async { Json(autoscaled()) })
        .delete(|| async { Json(app("shop")) });
    let refused = || async {
        problem(
            422,
            "unsupported",
            "this server runs apps on one Docker host: it doesn't change their number by load",
        )
    };
    Router::new()
        .route("/apps/shop", get(|| async { Json(autoscaled()) }))
        .route("/apps/shop/status", get(move || async move { Json(status) }))
        .route("/apps/shop/autoscale", on)
        .route("/apps/plain", get(|| async { Json(app("plain")) }))
        .route("/apps/plain/autoscale", get(|| async { Json(json!({ "items": [] })) }).put(refused))
}

#[test]
fn bounds_of_load_read_well_and_are_asked_for_by_process() {
    let fake = Fake::start(autoscale_routes());
    let user = User::of(&fake);
    let mut all = String::new();
    for (line, code) in [
        ("autoscale -a shop", 0),
        ("autoscale -a shop -p worker", 0),
        ("autoscale set --min 2 --max 10 --cpu 70% --memory 80 -a shop", 0),
        ("status -a shop", 0),
        ("scale -a shop", 0),
        ("autoscale off -a shop -p worker", 0),
        ("autoscale -a plain", 0),
        ("autoscale set --min 2 --max 10 -a plain", 6),
        ("autoscale off -a shop -p wbe", 3),
    ] {
        let ran = user.panda(line);
        ran.ends(code);
        all = format!("{all}$ panda {line}\n{}{}\n", ran.out, ran.err);
    }
    insta::assert_snapshot!(all);
    let asked = fake.seen_at("PUT", "/apps/shop/autoscale")[0].json();
    let wished = json!({ "process": "web", "min": 2, "max": 10, "cpu_percent": 70, "memory_percent": 80 });
    assert_eq!(asked, wished);
    let bare = fake.seen_at("PUT", "/apps/plain/autoscale")[0].json();
    assert_eq!(bare, json!({ "process": "web", "min": 2, "max": 10 }), "the server knows the default");
    let off = fake.seen_at("DELETE", "/apps/shop/autoscale");
    assert_eq!(off[0].query, "environment=production&process=worker");
    let ran = user.panda("autoscale -a shop --json");
    let shown: serde_json::Value = serde_json::from_str(&ran.ends(0).out).unwrap();
    assert_eq!(
        (&shown[0]["cpu_percent"], &shown[1]["reason"]),
        (&json!(91), &json!("this cluster tells no loads"))
    );
}

#[test]
fn destroy_wants_the_name_twice() {
    let fake = Fake::start(routes());
    let user = User::of(&fake);
    user.panda("destroy shop").ends(2);
    user.panda("destroy shop -y").ends(2);
    user.panda("destroy shop --confirm shopp").ends(2);
    assert!(user.panda("destroy shpo --confirm shpo").ends(3).err.contains("did you mean `shop`?"));
    assert!(fake.seen_at("DELETE", "/apps/shop").is_empty());
    user.panda("destroy shop --confirm shop").ends(0);
    assert_eq!(fake.seen_at("DELETE", "/apps/shop")[0].query, "confirm=shop");
}

#[test]
fn a_domain_that_isnt_ready_exits_with_a_code() {
    let fake = Fake::start(routes());
    let user = User::of(&fake);
    let ran = user.panda("domains verify A.example.com -a shop");
    ran.ends(6);
    assert!(ran.out.contains("192.0.2.1") && ran.out.contains("to fix"), "{}", ran.out);
    user.panda("domains remove a.example.com -a shop").ends(0);
    user.panda("domains add *.example.com -a shop").ends(6);
}

#[test]
fn a_certificate_is_sent_with_its_key_and_only_the_certificate_is_shown() {
    let given = json!({ "host": "*.example.com", "domains": ["a.example.com"], "names": ["*.example.com"], "issuer": "CN=Ours",
        "not_before": "2020-01-01T00:00:00Z", "not_after": "2021-01-01T00:00:00Z", "key_kind": "P-256", "fingerprint": "ab12",
        "chain_length": 2 });
    let (list, one) = (json!({ "items": [given] }), given.clone());
    let fake = Fake::start(
        Router::new()
            .route("/apps/shop/certificates", get(move || async move { Json(list) }))
            .route("/apps/shop/certificates", post(move || async move { (StatusCode::CREATED, Json(given)) }))
            .route("/apps/shop/certificates/{host}", get(move || async move { Json(one) }))
            .route("/apps/shop/certificates/{host}", delete(|| async { StatusCode::NO_CONTENT })),
    );
    let user = User::of(&fake);
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let (cert, key) = (file("cert.pem", "the chain"), file("key.pem", "the very secret key"));
    let mut said = String::new();
    for line in [
        format!("certs add *.Example.com --cert {cert} --key {key}"),
        "certs".to_owned(),
        "certs show *.example.com".to_owned(),
        "certs remove *.example.com --confirm".to_owned(),
    ] {
        for json in ["", " --json"] {
            let ran = user.panda(&format!("{line} -a shop{json}"));
            ran.ends(0);
            said = format!("{said}{}{}", ran.out, ran.err);
        }
    }
    assert!(
        said.contains("a.example.com") && said.contains("P-256") && !said.contains("very secret"),
        "{said}"
    );
    let asked = fake.seen_at("POST", "/certificates")[0].json();
    assert_eq!(
        asked,
        json!({ "host": "*.example.com", "chain_pem": "the chain", "key_pem": "the very secret key" })
    );
    assert_eq!(fake.seen_at("DELETE", "example.com").len(), 2);

    user.panda("certs remove *.example.com -a shop").ends(2);
    let large = file("large.pem", &"x".repeat(17 << 10));
    for (path, why) in [(large, "16 KiB"), ("nowhere.pem".to_owned(), "can't be opened")] {
        let ran = user.panda(&format!("certs add a.example.com --cert {cert} --key {path} -a shop"));
        assert!(ran.ends(6).err.contains(why), "{}", ran.err);
    }
    assert_eq!(fake.seen_at("POST", "/certificates").len(), 2, "nothing was sent");
    assert_eq!(fake.seen_at("DELETE", "example.com").len(), 2);
}

#[test]
fn lists_go_on_over_their_pages() {
    use axum::extract::Query;
    use std::collections::HashMap;
    let pages = |Query(query): Query<HashMap<String, String>>| async move {
        match query.get("cursor").map(String::as_str) {
            None => Json(json!({ "items": [app("one")], "next_cursor": "c1" })),
            Some("c1") => Json(json!({ "items": [app("two")] })),
            Some(other) => panic!("{other}"),
        }
    };
    let fake = Fake::start(Router::new().route("/apps", get(pages)));
    let ran = User::of(&fake).panda("apps list --json");
    assert_eq!(serde_json::from_str::<Vec<serde_json::Value>>(&ran.ends(0).out).unwrap().len(), 2);
}

#[test]
fn the_linked_directory_is_what_verbs_mean() {
    let fake = Fake::start(routes());
    let user = User::of(&fake);
    assert!(user.panda("ps").ends(3).err.contains("panda link APP"));
    user.panda("link shop").ends(0);
    user.panda("ps").ends(0);
    let fake_only = fake.seen_at("GET", "/apps/shop/instances");
    assert_eq!(fake_only[0].query, "environment=production&limit=200");
}

#[test]
fn what_is_removed_is_told_to_programs_too() {
    let fake = Fake::start(routes());
    let user = User::of(&fake);
    let told = |line: &str| user.panda(&format!("{line} --json")).ends(0).last_json();
    assert_eq!(told("domains remove a.example.com -a shop"), json!({ "removed": "a.example.com" }));
    assert_eq!(told("destroy shop --confirm shop"), json!({ "app": "shop", "state": "deleting" }));
    assert_eq!(told("unlink"), json!({ "unlinked": null }));
    assert_eq!(told("logout"), json!({ "signed_out": null }));
}
