//! What nobody should send: each gets a named field, a cause and a fix, and nothing is half done.

use std::time::{Duration, Instant};

use panda_api_types::{App as AppView, DeployRequest, ErrorCode, Page};
use panda_e2e::api::answer;
use panda_e2e::{App, Installation, Refusal, Source, image, story, tree};
use reqwest::Method;
use serde_json::{Value, json};

/// Demands a refusal that a person can act on: status 4xx, a code, words, and the field if one is to be named.
#[track_caller]
pub(crate) fn refused<T: std::fmt::Debug>(what: &str, answer: Result<T, Refusal>, field: Option<&str>) {
    let refusal = match answer {
        Ok(taken) => panic!("{what} was taken: {taken:?}"),
        Err(refusal) => refusal,
    };
    let Some(problem) = refusal.problem() else { panic!("{what}: {refusal}") };
    assert!((400..500).contains(&problem.status), "{what}: {refusal}");
    assert!(!problem.detail.is_empty(), "{what} without a cause: {refusal}");
    if let Some(field) = field {
        let named =
            problem.errors.iter().any(|error| error.field.contains(field)) || problem.detail.contains(field);
        assert!(named, "{what} without its field `{field}`: {refusal}");
    }
    let fix = problem.hint.is_some() || problem.errors.iter().any(|error| !error.message.is_empty());
    assert!(fix, "{what} without a fix: {refusal}");
}

async fn app_names(panda: &Installation) -> anyhow::Result<Vec<String>> {
    let page: Page<AppView> = panda.api().get("/apps").await?;
    Ok(page.items.into_iter().map(|app| app.name).collect())
}

#[test]
fn names_that_are_no_labels_are_refused_and_make_no_app() {
    story(async |panda| {
        let long = "a".repeat(64);
        for name in [
            "a;id",
            "../x",
            "A",
            &long,
            "xn--abc",
            "kube-system",
            "pаypal",
            "",
            "-a",
            "a-",
            "a b",
            "a\nb",
            "a\0b",
            "1a",
            "www.x",
        ] {
            let made: Result<AppView, _> = panda.api().post("/apps", &json!({ "name": name })).await;
            refused(&format!("app name {name:?}"), made, Some("name"));
        }
        assert_eq!(app_names(panda).await?, Vec::<String>::new());
        Ok(())
    });
}

#[test]
fn names_of_variables_that_no_process_should_have_are_refused_and_values_are_exact() {
    story(async |panda| {
        let app = App::create(panda, "web").await?;
        app.deploy_live(&image(panda, "v1")).await?;
        for key in ["A=B", "A\nB", "", "1A", "A\0", "A B", "PANDA_APP", "$(id)", &"A".repeat(300)] {
            let change = json!({ "changes": { key: { "value": "x" } }, "deploy": false });
            let changed: Result<Value, _> = panda.api().send(Method::PATCH, &app.path("/env"), &change).await;
            refused(&format!("variable {key:?}"), changed, None);
        }
        let huge = json!({ "changes": { "BIG": { "value": "x".repeat(1 << 20) } }, "deploy": false });
        let changed: Result<Value, _> = panda.api().send(Method::PATCH, &app.path("/env"), &huge).await;
        refused("a value of 1 MiB", changed, None);
        let large = json!({ "changes": { "BIG": { "value": "x".repeat(200 << 10) } }, "deploy": false });
        let changed: Result<Value, _> = panda.api().send(Method::PATCH, &app.path("/env"), &large).await;
        refused("a value of 200 KiB", changed, Some("BIG"));
        let exact = "line 1\nline \"2\" '$(id)' `id` \\ $HOME ünïcode\t";
        app.set_env("EXACT", exact, false).await?;
        assert_eq!(app.fetch("/env?name=EXACT").await?, (200, exact.to_owned()));
        Ok(())
    });
}

#[test]
fn image_references_that_are_none_are_refused() {
    story(async |panda| {
        let app = App::create(panda, "web").await?;
        for reference in [
            "-v/:/h alpine",
            "evil.com/x@sha256:bad",
            "a b",
            "$(id)",
            "Upper/Case",
            "",
            "a:b:c",
            "x@sha256:",
            "../x",
            "a\nb",
            "https://x/y",
            "169.254.169.254/latest",
            "localhost:2375/x",
            "10.0.0.1:5000/x",
            "127.0.0.1:1/x",
            "metadata.internal/x",
        ] {
            let request = DeployRequest { image: Some(reference.into()), ..DeployRequest::default() };
            refused(&format!("image {reference:?}"), app.ask(&request).await, Some("image"));
        }
        assert!(app.view().await?.release.is_none());
        Ok(())
    });
}

#[test]
fn numbers_beyond_reason_are_refused_with_their_path() {
    story(async |panda| {
        let app = App::create(panda, "web").await?;
        app.deploy_live(&image(panda, "v1")).await?;
        for (what, scale, field) in [
            ("-1 replicas", json!({ "replicas": { "web": -1 } }), "replicas"),
            ("1e9 replicas", json!({ "replicas": { "web": 1_000_000_000 } }), "replicas"),
            ("replicas as text", json!({ "replicas": { "web": "3" } }), "replicas"),
            ("NaN as text", json!({ "replicas": { "web": "NaN" } }), "replicas"),
            ("cpu 1e99", json!({ "cpu_millis": { "web": 1e99 } }), "cpu_millis"),
            ("no memory", json!({ "memory_bytes": { "web": 0 } }), "memory_bytes"),
            ("a process that isn't there", json!({ "replicas": { "nobody": 1 } }), "nobody"),
            ("an unknown field", json!({ "replicas": { "web": 1 }, "role": "admin" }), "role"),
        ] {
            let answer: Result<Value, _> = panda.api().send(Method::PATCH, &app.path("/scale"), &scale).await;
            refused(what, answer, Some(field));
        }
        for port in [json!(0), json!(70_000), json!(-1), json!("80")] {
            let image = image(panda, "v1").image;
            let request = json!({ "image": image, "overrides": { "port": port } });
            let answer: Result<Value, _> = panda.api().post(&app.path("/deployments"), &request).await;
            refused(&format!("port {port}"), answer, Some("port"));
        }
        app.settle(1).await
    });
}

#[test]
fn a_panda_toml_that_is_wrong_is_refused_at_once_with_every_mistake_named() {
    story(async |panda| {
        let app = App::create(panda, "web").await?;
        let deep = format!("a = {}1{}", "[".repeat(10_000), "]".repeat(10_000));
        let long = "a".repeat(600 << 10);
        for (what, text, field) in [
            ("an unknown key", "[deploy]\nrelaese = \"x\"\n", Some("relaese")),
            ("two mistakes", "[processes.web]\nreplicas = -1\nport = 70000\n", Some("port")),
            ("absurd replicas", "[processes.web]\nreplicas = 1000000000\n", Some("replicas")),
            ("NaN cpu", "[processes.web]\ncpu = nan\n", Some("cpu")),
            ("a duplicate key", "app = \"a\"\napp = \"b\"\n", Some("line 2")),
            ("no TOML", "<html>", None),
            ("deep nesting", deep.as_str(), None),
            ("600 kB", long.as_str(), None),
        ] {
            let begun = Instant::now();
            let request = DeployRequest { manifest: Some(text.into()), ..image(panda, "v1") };
            refused(what, app.ask(&request).await, field);
            assert!(begun.elapsed() < Duration::from_secs(2), "{what} took {:?}", begun.elapsed());
        }
        // As large as that it can only come as a file of the source.
        let source = Source::of(&[("panda.toml", &"a".repeat(10 << 20)), ("index.html", "hello")])?;
        let request = tree(&app.upload(&source).await?);
        refused("10 MB", app.ask(&request).await, Some("panda.toml"));
        assert!(app.view().await?.release.is_none());
        Ok(())
    });
}

#[test]
fn bodies_that_are_too_deep_too_large_or_no_json_are_refused() {
    story(async |panda| {
        let api = panda.api();
        let post = |text: String| {
            answer::<Value>(
                api.request(Method::POST, "/apps").header("content-type", "application/json").body(text),
            )
        };
        for (what, text, codes) in [
            (
                "deep nesting",
                format!("{}{}", "[".repeat(100_000), "]".repeat(100_000)),
                &[ErrorCode::InvalidRequest][..],
            ),
            ("half an object", "{\"name\":".to_owned(), &[ErrorCode::InvalidRequest]),
            (
                "an unknown field",
                json!({ "name": "web", "role": "admin" }).to_string(),
                &[ErrorCode::InvalidRequest],
            ),
            ("100 MB", format!("{{\"name\":\"{}\"}}", "a".repeat(100 << 20)), &[ErrorCode::TooLarge]),
        ] {
            match post(text).await {
                // The server may close before it has read all of it.
                Err(Refusal::Broken(_)) if what == "100 MB" => {}
                Err(refusal) => {
                    assert!(refusal.code().is_some_and(|code| codes.contains(&code)), "{what}: {refusal}");
                }
                Ok(taken) => panic!("{what} was taken: {taken}"),
            }
        }
        let stranger: Result<Value, _> = api.without_token().get("/apps").await;
        assert_eq!(stranger.expect_err("a stranger was let in").code(), Some(ErrorCode::Unauthenticated));
        let guess: Result<Value, _> =
            api.without_token().with_token("panda_0000000000000000000000000000").get("/apps").await;
        assert_eq!(guess.expect_err("a stranger was let in").code(), Some(ErrorCode::Unauthenticated));
        assert_eq!(app_names(panda).await?, Vec::<String>::new());
        Ok(())
    });
}
