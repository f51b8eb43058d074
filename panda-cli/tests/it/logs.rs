//! Logs and events: shown, followed, cleaned.

use axum::Router;
use axum::extract::Query;
use axum::http::HeaderMap;
use axum::response::Json;
use axum::routing::get;
use serde_json::{Value, json};
use std::collections::HashMap;

use crate::fake::{Fake, User, app, deployment, problem, sse};

fn line(text: &str) -> (&'static str, Value) {
    let line = json!({ "at": "2026-01-02T03:04:05.678901234Z", "process": "web", "instance": "i1", "stream": "out", "line": text });
    ("line", line)
}

#[test]
fn hostile_lines_reach_the_terminal_as_text() {
    let lines = || async {
        sse(
            &[
                line("hello \u{1b}[31mred\u{1b}[0m"),
                line("a\u{1b}]52;c;ZXZpbA==\u{7}b\u{202e}\rc"),
                ("end", json!({})),
            ],
            1,
        )
    };
    let fake = Fake::start(Router::new().route("/apps/shop/logs", get(lines)));
    let user = User::of(&fake);
    let ran = user.panda("logs -a shop --since 10m -p web");
    ran.ends(0);
    assert_eq!(ran.out, "2026-01-02T03:04:05 web.i1 | hello red\n2026-01-02T03:04:05 web.i1 | abc\n");
    assert_eq!(fake.seen()[0].query, "environment=production&process=web&since=600&follow=false");
    let ran = user.panda("logs -a shop --json -n 5");
    assert_eq!(ran.out.lines().count(), 2);
    assert!(!ran.out.contains('\u{1b}'));
    user.panda("logs -a shop --since yesterday").ends(2);
}

#[test]
fn a_process_that_isnt_there_is_told_with_those_that_are() {
    let refuse = || async {
        let mut refused = problem(404, "not-found", "`shop` has no process `nope`");
        let body = json!({ "type": "x", "title": "x", "status": 404, "code": "not-found",
            "detail": "`shop` has no process `nope`", "errors": [{ "field": "process", "message": "it has `web`, `worker`" }] });
        *refused.body_mut() = body.to_string().into();
        refused
    };
    let routes = Router::new()
        .route("/apps/shop/logs", get(refuse))
        .route("/apps", get(|| async { Json(json!({ "items": [app("shop")] })) }));
    let ran = User::of(&Fake::start(routes)).panda("logs -p nope -a shop");
    ran.ends(3);
    insta::assert_snapshot!(ran.err);
}

#[test]
fn a_log_without_lines_says_so() {
    let routes = Router::new().route("/apps/shop/logs", get(|| async { sse(&[("end", json!({}))], 1) }));
    let ran = User::of(&Fake::start(routes)).panda("logs -a shop");
    ran.ends(0);
    assert_eq!((ran.out.as_str(), ran.err.as_str()), ("", "no lines of `shop`\n"));
}

#[test]
fn followed_logs_go_on_after_a_cut() {
    let lines = |headers: HeaderMap, Query(query): Query<HashMap<String, String>>| async move {
        assert_eq!(query["follow"], "true");
        match headers.get("last-event-id") {
            None => sse(&[line("one"), line("two")], 1),
            Some(_) => sse(&[line("three"), ("end", json!({}))], 3),
        }
    };
    let fake = Fake::start(Router::new().route("/apps/shop/logs", get(lines)));
    let ran = User::of(&fake).panda("tail -a shop");
    ran.ends(0);
    let texts: Vec<&str> = ran.out.lines().filter_map(|line| line.split("| ").nth(1)).collect();
    assert_eq!(texts, ["one", "two", "three"]);
}

#[test]
fn the_build_log_of_the_newest_deployment_is_kept() {
    let mut built = deployment("live");
    built["build"] = json!("bld_1");
    let list = json!({ "items": [built] });
    let routes = Router::new()
        .route("/apps/shop/deployments", get(move || async move { Json(list) }))
        .route("/apps/shop/deployments/dep_1/log", get(|| async { "step 1\nstep 2\n" }));
    let fake = Fake::start(routes);
    assert_eq!(User::of(&fake).panda("logs --build -a shop").ends(0).out, "step 1\nstep 2\n");
}

#[test]
fn events_are_listed_oldest_first() {
    let event = |id: i64| json!({ "id": id, "at": "2020-01-01T00:00:00Z", "kind": "app.created", "by": "ada", "app": "shop", "text": format!("n{id}") });
    let page = json!({ "items": [event(2), event(1)] });
    let fake = Fake::start(Router::new().route("/events", get(move || async move { Json(page) })));
    let ran = User::of(&fake).panda("events");
    ran.ends(0);
    assert_eq!(ran.out, "2020-01-01  app.created shop: n1 (ada)\n2020-01-01  app.created shop: n2 (ada)\n");
}
