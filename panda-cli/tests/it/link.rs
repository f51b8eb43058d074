//! `link`: what a directory stands for, looked up before it is written down.

use axum::Router;
use axum::response::Json;
use axum::routing::get;
use serde_json::json;

use crate::fake::{Fake, User, app};

fn routes() -> Router {
    Router::new()
        .route("/apps", get(|| async { Json(json!({ "items": [app("shop"), app("wiki")] })) }))
        .route("/apps/shop", get(|| async { Json(app("shop")) }))
}

#[test]
fn a_directory_cant_stand_for_an_app_that_isnt_there() {
    let fake = Fake::start(routes());
    let user = User::of(&fake);
    let ran = user.panda("link shpo");
    ran.ends(3);
    assert!(
        ran.err.contains("there is no app `shpo`") && ran.err.contains("did you mean `shop`?"),
        "{}",
        ran.err
    );
    assert!(user.panda("link zzzzzz").ends(3).err.contains("panda apps list"));
    assert!(!user.directory.path().join(".panda").exists());
}

#[test]
fn a_link_keeps_the_server_that_has_the_app() {
    let fake = Fake::start(routes());
    let user = User::of(&fake);
    user.panda("link shop").ends(0);
    let text = std::fs::read_to_string(user.directory.path().join(".panda/link.toml")).unwrap();
    assert_eq!(text, format!("app = \"shop\"\nserver = \"{}\"\n", fake.url));
}

#[test]
fn a_server_that_is_away_or_unknown_is_no_obstacle_and_is_said() {
    let user = User::stranger();
    let ran =
        user.run_with(&["link", "shop", "--server", "http://127.0.0.1:1"], &[("PANDA_TOKEN", "panda_test")]);
    ran.ends(0);
    assert!(ran.err.contains("nobody looked whether `shop` is there: can't reach"), "{}", ran.err);
    let ran = User::stranger().panda("link shop");
    ran.ends(0);
    assert!(ran.err.contains("you aren't signed in"), "{}", ran.err);
}
