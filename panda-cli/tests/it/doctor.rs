//! `doctor`: each look once, and an app that isn't there is an error of its own.

use axum::Router;
use axum::response::Json;
use axum::routing::get;
use serde_json::{Value, json};

use crate::fake::{Fake, User, app, problem};

fn check(name: &str, state: &str, seen: &str) -> Value {
    json!({ "name": name, "state": state, "seen": seen, "fix": "" })
}

fn routes() -> Router {
    let info = json!({ "version": "0.0.1", "claimed": true, "url": "https://panda.localhost", "apps_domain": "localhost" });
    let who = json!({ "user": "usr_1", "email": "ada@example.com", "team": "tea_1", "team_name": "default",
        "role": "owner", "via": "token", "scope": "full" });
    let engine = json!({ "items": [check("Docker engine", "ok", "27.0")] });
    let stopped = json!({ "items": [check("process web", "ok", "scaled to 0: nothing has to run")] });
    Router::new()
        .route("/server", get(move || async move { Json(info) }))
        .route("/whoami", get(move || async move { Json(who) }))
        .route("/doctor", get(move || async move { Json(engine) }))
        .route("/apps", get(|| async { Json(json!({ "items": [app("shop")] })) }))
        .route("/apps/shop/doctor", get(move || async move { Json(stopped) }))
        .route("/apps/shpo/doctor", get(|| async { problem(404, "not-found", "there is no such app") }))
}

#[test]
fn a_stopped_app_is_well_and_nothing_is_looked_at_twice() {
    let fake = Fake::start(routes());
    let ran = User::of(&fake).panda("doctor shop");
    ran.ends(0);
    let shown = ran.out.replace(&fake.url, "SERVER").replace(env!("CARGO_PKG_VERSION"), "VERSION");
    insta::assert_snapshot!(shown);
    let ran = User::of(&fake).panda("doctor shop --json");
    let checks: Vec<Value> = serde_json::from_str(&ran.ends(0).out).unwrap();
    let mut names: Vec<&str> = checks.iter().map(|check| check["name"].as_str().unwrap()).collect();
    names.sort_unstable();
    let all = names.len();
    names.dedup();
    assert_eq!(names.len(), all);
}

#[test]
fn an_app_that_isnt_there_is_told_by_name() {
    let fake = Fake::start(routes());
    let user = User::of(&fake);
    for line in ["doctor shpo", "doctor -a shpo"] {
        let ran = user.panda(line);
        ran.ends(3);
        assert!(
            ran.err.contains("there is no app `shpo`") && ran.err.contains("did you mean `shop`?"),
            "{}",
            ran.err
        );
    }
    // A directory that wasn't deployed yet is no failure.
    user.write("panda.toml", "app = \"shpo\"\n");
    let ran = user.panda("doctor");
    ran.ends(0);
    assert!(ran.out.contains("warning  app: there is no app `shpo`"), "{}", ran.out);
}
