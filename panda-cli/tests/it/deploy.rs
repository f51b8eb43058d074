//! `deploy` and what follows a deployment: uploads, streams, exit codes, Ctrl-C.

use std::collections::BTreeSet;
use std::io::Read;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post, put};
use futures_util::StreamExt;
use panda_domain::source_tree::{ContentHash, SourceManifest};
use serde_json::{Value, json};

use crate::fake::{Fake, Seen, User, app, deployment, problem, sse};

type Kept = Arc<Mutex<BTreeSet<String>>>;

/// The upload routes, as the server has them: what arrived whole and with the right hash is kept.
fn uploads(kept: &Kept, failures: usize) -> Router {
    let (for_trees, for_blobs) = (Arc::clone(kept), Arc::clone(kept));
    let left = Arc::new(AtomicUsize::new(failures));
    let announce = move |Json(body): Json<Value>| async move {
        let listing: SourceManifest = serde_json::from_str(body["listing"].as_str().unwrap()).unwrap();
        let kept = for_trees.lock().unwrap();
        let missing: BTreeSet<String> = listing
            .files()
            .map(|(_, _, hash)| hash.to_string())
            .filter(|hash| !kept.contains(hash))
            .collect();
        Json(json!({ "tree": listing.tree_hash(), "complete": missing.is_empty(), "missing": missing }))
    };
    let receive = move |body: Bytes| async move {
        let cut = left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
        let frames = frames(&body);
        let wanted = if cut { 1 } else { frames.len() };
        for (hash, content) in frames.into_iter().take(wanted) {
            assert_eq!(ContentHash::of(&content), hash);
            for_blobs.lock().unwrap().insert(hash.to_string());
        }
        if cut {
            problem(503, "unavailable", "the stream was cut")
        } else {
            Json(json!({ "missing": [] })).into_response()
        }
    };
    Router::new().route("/uploads/trees", put(announce)).route("/uploads/blobs", post(receive))
}

fn frames(body: &[u8]) -> Vec<(ContentHash, Vec<u8>)> {
    let plain = zstd::decode_all(body).unwrap();
    let mut rest = plain.as_slice();
    let mut frames = Vec::new();
    while !rest.is_empty() {
        let (mut hash, mut length) = ([0; 32], [0; 8]);
        rest.read_exact(&mut hash).unwrap();
        rest.read_exact(&mut length).unwrap();
        let (content, after) = rest.split_at(usize::try_from(u64::from_be_bytes(length)).unwrap());
        frames.push((ContentHash::from_bytes(hash), content.to_vec()));
        rest = after;
    }
    frames
}

fn accepted(state: &str) -> Value {
    json!({ "deployment": deployment(state), "unchanged": false, "app": app("shop"), "notices": ["keys wait: none"] })
}

fn shop() -> Router {
    Router::new().route("/apps/shop", get(|| async { Json(app("shop")) })).route(
        "/apps/shop/deployments",
        post(|| async { (axum::http::StatusCode::ACCEPTED, Json(accepted("queued"))) }),
    )
}

fn step(key: &str, title: &str, state: &str, detail: Option<&str>) -> (&'static str, Value) {
    let step = json!({ "key": key, "title": title, "state": state, "elapsed_ms": 1500, "detail": detail });
    ("step", json!({ "kind": "step", "step": step }))
}

fn state(word: &str) -> (&'static str, Value) {
    ("state", json!({ "kind": "state", "deployment": deployment(word) }))
}

fn end(deployment: &Value) -> (&'static str, Value) {
    ("end", json!({ "kind": "end", "deployment": deployment }))
}

fn story() -> Vec<(&'static str, Value)> {
    vec![
        state("building"),
        step("build", "build with node 22", "running", None),
        step("build/1", "npm ci", "running", None),
        ("log", json!({ "kind": "log", "step": "build/1", "line": "added 3 packages\u{1b}]0;evil\u{7}" })),
        step("build/1", "npm ci", "cached", None),
        step("build", "build with node 22", "done", None),
        state("rolling"),
        step("rollout/web", "web", "running", Some("1 of 2 ready")),
        step("rollout/web", "web", "done", Some("2 of 2 ready")),
        end(&deployment("live")),
    ]
}

fn telling(events: Vec<(&'static str, Value)>) -> Router {
    shop().route("/apps/shop/deployments/dep_1/events", get(move || async move { sse(&events, 1) }))
}

fn user_with_files(fake: &Fake) -> User {
    let user = User::of(fake);
    user.write("index.html", "<h1>hello</h1>");
    user.write("src/a.js", "let a = 1;");
    user.write("copy.js", "let a = 1;");
    user.write("node_modules/x/big.js", "left out");
    user
}

#[test]
fn a_directory_is_sent_deployed_and_told_line_by_line() {
    let kept = Kept::default();
    let fake = Fake::start(telling(story()).merge(uploads(&kept, 0)));
    let user = user_with_files(&fake);
    let ran = user.panda("deploy -a shop --replicas 3 --env A=b=c --port 3000");
    ran.ends(0);
    assert_eq!(ran.out, "https://shop.localhost\n");
    let shown = ran.err.replace(fake.url.as_str(), "SERVER");
    let took = shown.lines().last().unwrap().to_owned();
    assert!(took.starts_with("live v4 in "), "{took}");
    insta::assert_snapshot!(shown.replace(&took, "live v4 in TIME"));
    let request = fake.seen_at("POST", "/apps/shop/deployments").remove(0);
    assert_eq!(request.authorization.as_deref(), Some("Bearer panda_test"));
    assert_eq!(request.query, "environment=production");
    let body = request.json();
    assert_eq!(body["overrides"], json!({ "replicas": 3, "env": { "A": "b=c" }, "port": 3000 }));
    assert!(body["tree"].as_str().unwrap().starts_with("sha256:"));
    assert!(body["idempotency_key"].as_str().unwrap().len() > 20);
    assert_eq!(kept.lock().unwrap().len(), 2, "equal files are sent once, ignored ones never");
}

#[test]
fn the_first_deploy_links_the_directory_and_the_second_sends_nothing() {
    let kept = Kept::default();
    let fake = Fake::start(telling(story()).merge(uploads(&kept, 0)));
    let user = user_with_files(&fake);
    user.panda("deploy -a shop").ends(0);
    assert!(user.directory.path().join(".panda/link.toml").exists());
    let sent = fake.seen_at("POST", "/uploads/blobs").len();
    user.panda("deploy").ends(0);
    assert_eq!(fake.seen_at("POST", "/uploads/blobs").len(), sent);
}

#[test]
fn a_cut_upload_goes_on_with_what_is_missing() {
    let kept = Kept::default();
    let fake = Fake::start(telling(story()).merge(uploads(&kept, 1)));
    let user = user_with_files(&fake);
    let ran = user.panda("up -a shop");
    ran.ends(0);
    assert!(ran.err.contains("the connection broke"), "{}", ran.err);
    let sent: Vec<usize> =
        fake.seen_at("POST", "/uploads/blobs").iter().map(|seen| frames(&seen.body).len()).collect();
    assert_eq!(sent, [2, 1], "what arrived isn't sent twice");
}

#[test]
fn json_ends_with_url_release_and_state() {
    let fake = Fake::start(telling(story()));
    let user = User::of(&fake);
    let ran = user.panda("deploy -a shop --image nginx:1.29 --json");
    ran.ends(0);
    let last = ran.last_json();
    assert_eq!(
        (&last["url"], &last["release"], &last["state"]),
        (&json!("https://shop.localhost"), &json!(4), &json!("live"))
    );
    assert!(ran.out.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()), "{}", ran.out);
    assert_eq!(fake.seen_at("POST", "/deployments")[0].json()["image"], "nginx:1.29");
}

#[test]
fn each_end_has_its_exit_code_and_says_what_to_do() {
    for (word, code) in [
        ("build_failed", 10),
        ("unhealthy", 11),
        ("release_failed", 11),
        ("timed_out", 11),
        ("canceled", 12),
        ("superseded", 12),
    ] {
        let mut ended = deployment(word);
        ended["failure_code"] = json!("P202");
        ended["cause"] = json!("it listens on 127.0.0.1:3000 only");
        ended["fix"] = json!("listen on 0.0.0.0:8080");
        ended["log"] = json!(["listening on 3000"]);
        ended["serving_release"] = json!(3);
        let fake = Fake::start(telling(vec![end(&ended)]));
        let user = User::of(&fake);
        let ran = user.panda("deploy -a shop --image x");
        ran.ends(code);
        assert_eq!(ran.out, "", "no URL on stdout after a failure");
        let told = format!(
            "error: {}: it listens on 127.0.0.1:3000 only [P202]\n    | listening on 3000\n  v3 serves\n\nhint: listen on 0.0.0.0:8080\nmore: {}/docs/errors/P202\n",
            word.replace('_', " "),
            fake.url
        );
        assert!(ran.err.ends_with(&told), "{}", ran.err);
        let ran = user.panda("deploy -a shop --image x --json");
        ran.ends(code);
        let last = ran.last_json();
        assert_eq!(
            (&last["state"], &last["code"], &last["serving_release"]),
            (&json!(word), &json!("P202"), &json!(3))
        );
        assert_eq!(last["docs"], format!("{}/docs/errors/P202", fake.url));
    }
}

#[test]
fn after_routes_that_nobody_confirmed_no_release_is_said_to_serve() {
    let mut ended = deployment("timed_out");
    ended["failure_code"] = json!("P503");
    ended["cause"] = json!("the ingress didn't confirm the new routes");
    let events = [end(&ended)];
    let fake = Fake::start(
        shop().route("/apps/shop/deployments/dep_1/events", get(move || async move { sse(&events, 1) })),
    );
    let ran = User::of(&fake).panda("deploy -a shop --image x");
    ran.ends(11);
    assert!(ran.err.contains("didn't confirm the new routes [P503]"), "{}", ran.err);
    assert!(!ran.err.contains("serves"), "{}", ran.err);
}

#[test]
fn a_step_that_ends_more_than_once_is_told_once_with_its_last_time() {
    let told = |elapsed: u64, state: &str| {
        let step = json!({ "key": "build/1", "title": "FROM node", "state": state, "elapsed_ms": elapsed, "detail": null });
        ("step", json!({ "kind": "step", "step": step }))
    };
    let fake = Fake::start(telling(vec![
        told(0, "running"),
        told(100, "done"),
        told(1200, "done"),
        told(9000, "done"),
        state("rolling"),
        end(&deployment("live")),
    ]));
    let ran = User::of(&fake).panda("deploy -a shop --image x");
    ran.ends(0);
    let lines: Vec<&str> = ran.err.lines().skip(1).collect();
    assert_eq!(
        lines[..4],
        ["queued", "    FROM node", "    done FROM node in 9.0s", "rolling"],
        "{}",
        ran.err
    );
}

#[test]
fn nothing_changed_doesnt_say_that_a_stopped_app_serves() {
    let mut stopped = app("shop");
    stopped["state"] = json!("stopped");
    let answer = json!({ "unchanged": true, "app": stopped });
    let routes = Router::new()
        .route("/apps/shop", get(|| async { Json(app("shop")) }))
        .route("/apps/shop/deployments", post(move || async move { Json(answer) }));
    let fake = Fake::start(routes);
    let user = User::of(&fake);
    assert_eq!(user.panda("deploy -a shop --image x").ends(0).err, "nothing changed: v3 is scaled to 0\n");
    let last = user.panda("deploy -a shop --image x --json").ends(0).last_json();
    assert_eq!((&last["release"], last.get("serving_release")), (&json!(3), None));
}

#[test]
fn a_cut_stream_goes_on_after_the_last_event_that_was_seen() {
    let story = story();
    let events = move |headers: HeaderMap| async move {
        match headers.get("last-event-id").map(|id| id.to_str().unwrap().parse::<usize>().unwrap()) {
            None => sse(&story[..4], 1),
            Some(4) => sse(&story[4..7], 5),
            Some(seen) => sse(&story[seen..], seen + 1),
        }
    };
    let fake = Fake::start(shop().route("/apps/shop/deployments/dep_1/events", get(events)));
    let ran = User::of(&fake).panda("deploy -a shop --image x --json");
    ran.ends(0);
    let ids: Vec<_> =
        fake.seen_at("GET", "/events").into_iter().map(|seen: Seen| seen.last_event_id).collect();
    assert_eq!(ids, [None, Some("4".to_owned()), Some("7".to_owned())]);
    assert_eq!(ran.out.lines().count(), self::story().len() + 1, "each event once, and the summary");
}

#[test]
fn a_server_that_restarts_while_it_is_followed_is_waited_for() {
    let tries = Arc::new(AtomicUsize::new(0));
    let events = move || {
        let tries = Arc::clone(&tries);
        async move {
            match tries.fetch_add(1, Ordering::SeqCst) {
                0..=3 => problem(503, "unavailable", "starting"),
                _ => sse(&story(), 1),
            }
        }
    };
    let fake = Fake::start(shop().route("/apps/shop/deployments/dep_1/events", get(events)));
    let ran = User::of(&fake).panda("deploy -a shop --image x");
    assert_eq!(ran.ends(0).err.matches("connection lost (starting)").count(), 1, "{}", ran.err);
}

#[test]
fn nothing_changed_is_well_and_detach_returns_at_once() {
    let unchanged = json!({ "unchanged": true, "app": app("shop") });
    let routes = Router::new()
        .route("/apps/shop", get(|| async { Json(app("shop")) }))
        .route("/apps/shop/deployments", post(move || async move { Json(unchanged) }));
    let fake = Fake::start(routes);
    let ran = User::of(&fake).panda("deploy -a shop --image x");
    ran.ends(0);
    assert_eq!(
        (ran.out.as_str(), ran.err.as_str()),
        ("https://shop.localhost\n", "nothing changed: v3 serves\n")
    );
    let ran = User::of(&fake).panda("deploy -a shop --image x --json");
    assert_eq!(ran.last_json()["unchanged"], true);

    let fake = Fake::start(shop());
    let ran = User::of(&fake).panda("deploy -a shop --image x --detach --json");
    ran.ends(0);
    assert_eq!(ran.last_json()["deployment"], "dep_1");
}

#[test]
fn an_app_is_made_by_a_flag_only_and_a_slip_is_noticed() {
    let routes = || {
        Router::new()
            .route("/apps", get(|| async { Json(json!({ "items": [app("shop")] })) }))
            .route("/apps", post(|| async { (axum::http::StatusCode::CREATED, Json(app("shap"))) }))
            .route(
                "/apps/shap/deployments",
                post(|| async { Json(json!({ "unchanged": true, "app": app("shap") })) }),
            )
    };
    let fake = Fake::start(routes());
    let ran = User::of(&fake).panda("deploy -a shap --image x");
    ran.ends(3);
    assert!(
        ran.err.contains("there is no app `shap`") && ran.err.contains("did you mean `shop`?"),
        "{}",
        ran.err
    );
    assert!(fake.seen_at("POST", "/apps").is_empty());
    User::of(&fake).panda("deploy -a shap --image x --create").ends(0);
    assert_eq!(fake.seen_at("POST", "/apps")[0].json()["name"], "shap");
}

#[test]
fn a_first_deploy_without_any_flag_makes_the_app_that_the_directory_names() {
    let kept = Kept::default();
    let routes = Router::new()
        .route("/apps", get(|| async { Json(json!({ "items": [app("shop")] })) }))
        .route("/apps", post(|| async { (axum::http::StatusCode::CREATED, Json(app("wishes"))) }))
        .route(
            "/apps/wishes/deployments",
            post(|| async { Json(json!({ "unchanged": true, "app": app("wishes") })) }),
        )
        .merge(uploads(&kept, 0));
    let fake = Fake::start(routes);
    let made =
        || fake.seen_at("POST", "/apps").iter().map(|seen| seen.json()["name"].clone()).collect::<Vec<_>>();
    let user = user_with_files(&fake);
    // A name that is close to another app's may be a slip.
    user.write("panda.toml", "app = \"shpo\"\n");
    assert!(user.panda("deploy").ends(3).err.contains("did you mean `shop`? If not, pass --create"));
    assert_eq!(made(), Vec::<Value>::new());
    user.write("panda.toml", "app = \"wishes\"\n");
    let ran = user.panda("deploy");
    ran.ends(0);
    assert!(ran.err.contains("made app `wishes`"), "{}", ran.err);
    assert_eq!(made(), [json!("wishes")]);
    assert!(ran.err.starts_with("deploying to `wishes` in production\n"), "{}", ran.err);
    // From now on the link names it: if it is gone, a person has to say so.
    assert!(user.panda("deploy").ends(3).err.contains("pass --create to make it"));
}

#[test]
fn a_file_of_variables_that_would_be_sent_is_said() {
    let fake = Fake::start(telling(story()).merge(uploads(&Kept::default(), 0)));
    let user = user_with_files(&fake);
    user.write(".env", "TOKEN=1\n");
    let sent = user.panda("deploy -a shop");
    assert!(sent.ends(0).err.contains("note: `.env` is sent too"), "{}", sent.err);
    user.write(".pandaignore", ".env\n");
    let left_out = user.panda("deploy -a shop");
    assert!(!left_out.ends(0).err.contains(".env"), "{}", left_out.err);
}

#[test]
fn a_directory_with_nothing_in_it_makes_no_app() {
    let fake = Fake::start(Router::new());
    let user = User::of(&fake);
    assert!(user.panda("deploy --create").ends(6).err.contains("no files to deploy"));
    assert!(fake.seen().is_empty(), "{:?}", fake.seen());
}

#[test]
fn nobody_sends_their_home_directory_by_mistake() {
    let fake = Fake::start(shop());
    let user = user_with_files(&fake);
    let home = user.directory.path().to_string_lossy().into_owned();
    let ran = user.run_with(&["deploy", "-a", "shop"], &[("HOME", &home)]);
    ran.ends(2);
    assert!(ran.err.contains("your home directory") && ran.err.contains("panda deploy PATH"), "{}", ran.err);
    assert!(fake.seen().is_empty());
}

#[test]
fn bad_input_is_refused_before_anything_is_sent() {
    let fake = Fake::start(shop());
    let user = User::of(&fake);
    user.write("file.txt", "");
    for (line, code, told) in [
        ("deploy -a shop --image a/../b@x", 6, "image"),
        ("deploy -a SHOP --image x", 6, "app name `SHOP`"),
        ("deploy -a shop --env A-B=1", 6, "`A_B` would do"),
        ("deploy -a My_App --image x", 6, "`my-app` would do"),
        ("deploy -a shop --image x -e Prod", 6, "`prod` would do"),
        ("deploy -a shop --env A", 2, "KEY=VALUE"),
        ("deploy -a shop ./absent", 3, "absent"),
        ("deploy -a shop ./file.txt", 6, "is a file, not a directory"),
        ("deploy -a shop --replicas x", 2, "`x`"),
    ] {
        let ran = user.panda(line);
        ran.ends(code);
        assert!(ran.err.contains(told), "{line}: {}", ran.err);
    }
    user.write("panda.toml", "[processes.web]\nreplcas = 3\nport = 0\n");
    let ran = user.panda("deploy -a shop");
    ran.ends(6);
    insta::assert_snapshot!(ran.err);
    user.write("panda.toml", "app = \"wiki\"\n");
    assert!(user.panda("deploy -a shop").ends(6).err.contains("deploy with `-a wiki`"));
    assert!(fake.seen().iter().all(|seen| seen.method == "GET"), "{:?}", fake.seen());
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a signal needs a child that goes on")]
fn ctrl_c_leaves_the_deployment_running_and_says_so() {
    let endless = || async {
        let first = futures_util::stream::iter([Ok::<_, std::io::Error>(Bytes::from(
            "id: 1\nevent: state\ndata: {\"kind\":\"unknown\"}\n\n",
        ))]);
        let body = Body::from_stream(first.chain(futures_util::stream::pending()));
        Response::builder().header(header::CONTENT_TYPE, "text/event-stream").body(body).unwrap()
    };
    let fake = Fake::start(shop().route("/apps/shop/deployments/dep_1/events", get(endless)));
    let user = User::of(&fake);
    let child = std::process::Command::new(env!("CARGO_BIN_EXE_panda"))
        .args(["deploy", "-a", "shop", "--image", "x"])
        .env_clear()
        .envs(user.variables())
        .current_dir(user.directory.path())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    fake.wait_for("GET", "/events");
    std::thread::sleep(Duration::from_millis(100));
    let process = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(process, rustix::process::Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(130), "{told}");
    assert!(told.contains("goes on without you (dep_1)") && told.contains("panda cancel dep_1"), "{told}");
    assert!(fake.seen_at("POST", "/cancel").is_empty());
    fake.stop();
}

#[test]
fn rollback_restart_status_and_cancel_find_their_deployment() {
    let list = || async { Json(json!({ "items": [deployment("rolling")] })) };
    let routes = telling(story())
        .route("/apps/shop/deployments", get(list))
        .route("/apps/shop/rollback", post(|| async { Json(accepted("queued")) }))
        .route("/apps/shop/restart", post(|| async { Json(accepted("queued")) }))
        .route("/apps/shop/deployments/dep_1/cancel", post(|| async { Json(deployment("canceled")) }));
    let fake = Fake::start(routes);
    let user = User::of(&fake);
    user.panda("rollback v2 -a shop").ends(0);
    assert_eq!(fake.seen_at("POST", "/rollback")[0].json(), json!({ "release": 2 }));
    user.panda("rollback two -a shop").ends(2);
    user.panda("restart -a shop --json").ends(0);
    assert_eq!(user.panda("status --wait -a shop").ends(0).out, "https://shop.localhost\n");
    user.panda("cancel -a shop").ends(0);
    assert_eq!(fake.seen_at("POST", "/cancel").len(), 1);
}
