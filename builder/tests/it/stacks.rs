//! Every sample app, planned and built for real.

use std::collections::HashMap;

use panda_builder::plan::plan;
use panda_builder::settings::BuildSettings;
use panda_builder::source::SourceView;

use crate::ground::{Ground, app, printed};

/// Plans and builds an app, then runs `probe` inside of its image, in a build on top of it.
async fn works(name: &str, probe: &str, expected: &str) {
    let Some(ground) = Ground::find() else { return };
    let plan = plan(&SourceView::open(&app(name)).unwrap(), &BuildSettings::default()).unwrap();
    let mut request = ground.request(&app(name), "");
    request.recipe = plan.recipe();
    let (result, events) = ground.build(request).await;
    let outcome = match result {
        Ok(outcome) => outcome,
        Err(error) => panic!("{name}: {error}\n{}", printed(&events).join("\n")),
    };
    let config = ground.image_config(&outcome).await;
    assert_eq!(config["config"]["User"], "10001:10001");
    let reference = format!("{}/{}@{}", ground.push, outcome.repository, outcome.digest);
    let command = config["config"]["Cmd"].as_array().unwrap().iter().map(|word| word.as_str().unwrap());
    let command = shell_words::join(command);
    let text = format!(
        "FROM {reference}\nRUN {} \n",
        serde_json::json!(["/bin/sh", "-c", format!("{command} & sleep 4; touch written; {probe}")])
    );
    let mut request = ground.request(&app(name), &text);
    // Of the same app: no other may build on its image.
    request.repository.clone_from(&outcome.repository);
    request.use_cache = false;
    request.secrets = HashMap::new();
    let (result, events) = ground.build(request).await;
    let lines = printed(&events);
    assert!(result.is_ok(), "{name}: {lines:?}");
    assert!(lines.iter().any(|line| line.contains(expected)), "{name}: {lines:?}");
}

fn node_get(port: u16) -> String {
    format!(
        r#"PORT={port}; node -e "fetch('http://127.0.0.1:{port}/').then(r => r.text()).then(t => {{ console.log(t, process.getuid()); process.exit() }})""#
    )
}

fn python_get() -> String {
    r#"python -c "import urllib.request as u; print(u.urlopen('http://127.0.0.1:8080/').read().decode())""#
        .to_owned()
}

// One after the other: in the builder's network all listen on the same port.
#[tokio::test]
async fn every_stack_builds_and_serves_as_the_numeric_user() {
    works("hello-node", &node_get(8080), "hello from v1").await;
    works("npm-express", &node_get(8080), "npm-express v1").await;
    works("pnpm-app", &node_get(8080), "pnpm-app 1m").await;
    works("yarn-app", &node_get(8080), "&lt;yarn-app&gt; 1m").await;
    works("pip-flask", &python_get(), "pip-flask v1").await;
    works("uv-fastapi", &python_get(), "uv-fastapi").await;
    works("poetry-app", &python_get(), "<h1>poetry-app v1</h1>").await;
    // Static files are not the server's to change.
    works("static-site", "ls /srv; id -u; nginx -t -c /tmp/nginx.conf 2>&1", "successful").await;
    works(
        "vite-spa",
        "ls /srv/assets; grep -c fallback /tmp/nginx.conf; grep index.html /tmp/nginx.conf",
        "index.html",
    )
    .await;
}
