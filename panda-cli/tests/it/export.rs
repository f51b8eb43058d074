//! Files of an app land in a folder, and nowhere else.

use axum::Router;
use axum::response::Json;
use axum::routing::get;
use serde_json::{Value, json};

use crate::fake::{Fake, User};

fn routes(files: &Value) -> Router {
    let export = json!({ "app": "shop", "environment": "production", "release": 3, "format": "kustomize", "files": files,
        "secrets": ["API_TOKEN"] });
    Router::new().route("/apps/shop/export", get(move || async move { Json(export) }))
}

fn file(path: &str) -> Value {
    json!({ "path": path, "text": format!("text of {path}\n") })
}

#[test]
fn the_files_are_written_and_the_secrets_named() {
    let fake = Fake::start(routes(&json!([file("README.md"), file("release/job.yaml")])));
    let user = User::of(&fake);
    let ran = user.panda("export -a shop -e staging --format kustomize out/deep");
    ran.ends(0);
    assert_eq!(ran.out, "out/deep/README.md\nout/deep/release/job.yaml\n");
    assert_eq!(
        ran.err,
        "exported `shop` v3 as kustomize\nsecrets to fill in: API_TOKEN\nread out/deep/README.md\n"
    );
    assert_eq!(user.read("out/deep/release/job.yaml"), "text of release/job.yaml\n");
    let asked = fake.seen_at("GET", "/export").pop().unwrap();
    assert_eq!(asked.query, "environment=staging&format=kustomize");

    let ran = user.panda("export -a shop --format yaml other --json");
    ran.ends(0);
    let told: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(
        (&told["files"], &told["secrets"]),
        (&json!(["README.md", "release/job.yaml"]), &json!(["API_TOKEN"]))
    );
}

#[test]
fn a_folder_that_is_not_empty_is_left_alone_unless_forced() {
    let fake = Fake::start(routes(&json!([file("README.md")])));
    let user = User::of(&fake);
    user.write("out/notes.txt", "mine");
    user.write("out/README.md", "mine");
    let ran = user.panda("export -a shop --format yaml out");
    ran.ends(5);
    assert!(ran.err.contains("`out` isn't empty") && ran.err.contains("--force"), "{}", ran.err);
    assert!(fake.seen_at("GET", "/export").is_empty(), "nothing was asked for");
    assert_eq!(user.read("out/README.md"), "mine");

    user.panda("export -a shop --format yaml out --force").ends(0);
    assert_eq!(user.read("out/README.md"), "text of README.md\n");
    assert_eq!(user.read("out/notes.txt"), "mine");
}

#[test]
fn a_server_can_not_write_beside_the_folder() {
    for path in ["../evil", "/tmp/evil", "a/../../evil", ""] {
        let fake = Fake::start(routes(&json!([file("README.md"), file(path)])));
        let user = User::of(&fake);
        let ran = user.panda("export -a shop --format yaml out");
        ran.ends(1);
        assert!(
            !user.directory.path().join("out/README.md").exists(),
            "nothing is written before all paths are known to be fine: {path}"
        );
    }
}

#[test]
fn an_unknown_format_is_refused_here() {
    let fake = Fake::start(routes(&json!([])));
    let ran = User::of(&fake).panda("export -a shop --format helm out");
    ran.ends(2);
    assert!(ran.err.contains("kustomize"), "{}", ran.err);
}
