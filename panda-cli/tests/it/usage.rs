//! The command line itself: help, slips, words of other platforms, errors in both shapes.

use std::time::{Duration, Instant};

use axum::Router;
use axum::response::Json;
use axum::routing::get;
use serde_json::{Value, json};

use crate::fake::{Fake, User, app, problem};

const VERBS: [&str; 35] = [
    "login",
    "logout",
    "whoami",
    "init",
    "link",
    "unlink",
    "deploy",
    "build",
    "cancel",
    "ps",
    "status",
    "logs",
    "env",
    "scale",
    "autoscale",
    "autoscale set",
    "releases",
    "rollback",
    "restart",
    "exec",
    "run",
    "domains",
    "ports",
    "open",
    "events",
    "manifest",
    "export",
    "apps",
    "move",
    "destroy",
    "tokens",
    "doctor",
    "completion",
    "env set",
    "certs add",
];

#[test]
fn help_of_every_verb_reads_well() {
    let user = User::stranger();
    let mut all = user.panda("--help").ends(0).out.clone();
    for verb in VERBS {
        let ran = user.panda(&format!("{verb} --help"));
        ran.ends(0);
        all = format!("{all}\n======== panda {verb}\n{}", ran.out);
    }
    insta::assert_snapshot!(all);
}

#[test]
fn help_costs_nothing() {
    let user = User::stranger();
    let best = (0..10)
        .map(|_| {
            let start = Instant::now();
            user.panda("--help").ends(0);
            start.elapsed()
        })
        .min()
        .unwrap();
    // Generous, because the build is a debug one and the machine is shared; the bench has the real figure.
    assert!(best < Duration::from_millis(300), "{best:?}");
}

#[test]
fn slips_get_did_you_mean_and_exit_2() {
    let user = User::stranger();
    for (line, told) in [
        ("deplyo", "did you mean `deploy`?"),
        ("staus", "did you mean `status`?"),
        ("deploy --replica 3", "did you mean `--replicas`?"),
        ("env sett A=1", "did you mean `set`?"),
        ("completion bsh", "did you mean `bash`?"),
        ("zzzzzz", "--help"),
        ("nope", "--help"),
        ("exec -p", "needs a value"),
        ("run", "is missing"),
        ("login --token x --device", "exclude each other"),
        ("domains", "domains"),
    ] {
        let ran = user.panda(line);
        ran.ends(2);
        assert!(ran.err.contains(told), "{line}: {}", ran.err);
        assert_eq!(ran.out, "", "{line}");
    }
    let ran = user.panda("deplyo --json");
    ran.ends(2);
    assert_eq!(ran.last_json()["hint"], "did you mean `deploy`?");
}

#[test]
fn numbers_that_wont_do_are_told_with_what_would() {
    let user = User::stranger();
    let mut all = String::new();
    for line in [
        "deploy --replicas -1",
        "deploy --replicas three",
        "deploy --replicas 1000000",
        "deploy --replicas",
        "autoscale set --min 0 --max 3",
        "autoscale set --min 1 --max 3 --cpu 170%",
        "autoscale set --min 1",
        "deploy --port 0",
        "deploy --port 99999",
        "logs -n -5",
        "releases -n many",
        "tokens create ci --ttl 9999",
    ] {
        let ran = user.panda(line);
        ran.ends(2);
        all = format!("{all}$ panda {line}\n{}\n", ran.err);
    }
    insta::assert_snapshot!(all);
}

#[test]
fn names_that_cant_be_are_told_with_the_rule_and_one_that_would_do() {
    let fake = Fake::start(Router::new());
    let user = User::of(&fake);
    let mut all = String::new();
    for line in [
        "apps create My_Shop",
        "apps create api",
        "apps create 42",
        "link Shop;rm",
        "ps -a shop -e Prod_1",
        "env set log-level=debug PORT=1 -a shop",
        "env set 2FA=on -a shop",
        "domains add https://Www.Example.com/path -a shop",
        "domains add *.example.com -a shop",
        "domains add 10.0.0.1 -a shop",
    ] {
        let ran = user.panda(line);
        ran.ends(6);
        all = format!("{all}$ panda {line}\n{}\n", ran.err);
    }
    insta::assert_snapshot!(all);
    assert!(fake.seen().is_empty(), "{:?}", fake.seen());
}

#[test]
fn words_of_other_platforms_work_and_teach_ours() {
    let routes = Router::new().route("/apps/shop/env", get(|| async { Json(json!({ "items": [] })) }));
    let fake = Fake::start(routes);
    let ran = User::of(&fake).panda("config -a shop");
    ran.ends(0);
    assert_eq!(ran.err.lines().next(), Some("note: `panda config` is `panda env list`"));
}

#[test]
fn problems_are_told_to_people_and_given_to_programs() {
    let routes = Router::new()
        .route("/apps", get(|| async { Json(json!({ "items": [app("shop")] })) }))
        .route("/apps/shpo/instances", get(|| async { problem(404, "not-found", "there is no app `shpo`") }))
        .route("/apps/a/instances", get(|| async { problem(403, "quota-exceeded", "20 apps are the limit") }))
        .route(
            "/apps/b/instances",
            get(|| async { problem(500, "internal", "something went wrong on the server") }),
        )
        .route("/apps/c/instances", get(|| async { problem(418, "brand-new-code", "who knows") }))
        .route("/apps/d/instances", get(|| async { (axum::http::StatusCode::BAD_GATEWAY, "<html>") }));
    let fake = Fake::start(routes);
    let user = User::of(&fake);
    let ran = user.panda("ps -a shpo");
    ran.ends(3);
    assert_eq!(
        ran.err,
        "error: there is no app `shpo`\n\nhint: did you mean `shop`? `panda link shop` sets it for this directory\n"
    );
    let problem: Value = user.panda("ps -a shpo --json").ends(3).last_json();
    assert_eq!((&problem["code"], &problem["status"]), (&json!("not-found"), &json!(404)));
    user.panda("ps -a a").ends(8);
    let ran = user.panda("ps -a b");
    ran.ends(1);
    assert!(ran.err.contains("request: req_1"), "{}", ran.err);
    user.panda("ps -a c").ends(6);
    user.panda("ps -a d").ends(7);
}

#[test]
fn without_server_login_or_network_the_way_out_is_named() {
    let user = User::stranger();
    let ran = user.panda("ps -a shop");
    ran.ends(4);
    assert!(ran.err.contains("panda login"), "{}", ran.err);
    let ran = user.panda("ps -a shop --server http://127.0.0.1:1");
    ran.ends(7);
    assert!(ran.err.contains("can't reach") && ran.err.contains("refused"), "{}", ran.err);
    let ran = user.panda("ps -a shop --server http://panda.example.com");
    ran.ends(6);
    assert!(ran.err.contains("plain http"), "{}", ran.err);
    let routes = Router::new()
        .route("/apps/shop/instances", get(|| async { problem(401, "unauthenticated", "no valid login") }));
    let fake = Fake::start(routes);
    let ran = User::of(&fake).panda("ps -a shop");
    ran.ends(4);
    assert!(ran.err.contains("has ended or was revoked") && ran.err.contains("PANDA_TOKEN"), "{}", ran.err);
    let ran = user.panda(&format!("ps -a shop --server {}", fake.url));
    ran.ends(4);
    assert!(
        ran.err.contains("you aren't signed in") && ran.err.contains("panda login --server"),
        "{}",
        ran.err
    );
}

#[test]
fn completion_scripts_name_the_verbs() {
    let user = User::stranger();
    for shell in ["bash", "zsh", "fish"] {
        assert!(user.panda(&format!("completion {shell}")).ends(0).out.contains("rollback"), "{shell}");
    }
}
