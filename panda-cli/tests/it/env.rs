//! Variables and secrets: from the command line, stdin and files, and never onto the screen by accident.

use axum::Router;
use axum::response::Json;
use axum::routing::{get, patch};
use serde_json::{Value, json};

use crate::fake::{Fake, User};

fn routes() -> Router {
    let variable = |key: &str, value: Option<&str>| {
        json!({ "key": key, "value": value, "secret": value.is_none(), "fingerprint": "12345678", "version": 1,
            "set_by": "ada", "set_at": "2020-01-01T00:00:00Z", "deployed": true })
    };
    let list = json!({ "items": [variable("LOG", Some("a \"b\"\n$c")), variable("KEY", None)] });
    Router::new()
        .route("/apps/shop/env", get(move || async move { Json(list) }))
        .route("/apps/shop/env", patch(|| async { Json(json!({ "version": 7 })) }))
}

fn changes(fake: &Fake) -> Value {
    fake.seen_at("PATCH", "/env").pop().unwrap().json()
}

#[test]
fn values_come_from_arguments_stdin_and_files() {
    let fake = Fake::start(routes());
    let user = User::of(&fake);
    let ran = user.panda("env set A=1 B=x=y --no-deploy -a shop");
    ran.ends(0);
    assert_eq!(ran.err, "2 changed, version 7; the next deploy takes it\n");
    let expected =
        json!({ "A": { "value": "1", "secret": false }, "B": { "value": "x=y", "secret": false } });
    assert_eq!(changes(&fake), json!({ "changes": expected, "deploy": false }));

    user.run(&["env", "set", "--secret", "TOKEN", "-", "-a", "shop"], "s3cret\n").ends(0);
    assert_eq!(changes(&fake)["changes"]["TOKEN"], json!({ "value": "s3cret", "secret": true }));

    user.write(".env.production", "export A=1\nB=\"two\\nlines\"\n");
    user.panda("env import -f .env.production -a shop").ends(0);
    assert_eq!(changes(&fake)["changes"]["B"]["value"], "two\nlines");

    user.panda("env unset A -a shop").ends(0);
    assert_eq!(changes(&fake)["changes"]["A"]["value"], Value::Null);
}

#[test]
fn odd_names_and_missing_values_are_refused_here() {
    let fake = Fake::start(routes());
    let user = User::of(&fake);
    for (line, code) in [
        ("env set PATH=x -a shop", 6),
        ("env set 1A=x -a shop", 6),
        ("env set LD_PRELOAD=x -a shop", 6),
        ("env set A -a shop", 2),
        ("env set - -a shop", 2),
        ("env import -f absent -a shop", 3),
    ] {
        user.panda(line).ends(code);
    }
    assert!(fake.seen_at("PATCH", "/env").is_empty());
}

#[test]
fn plain_values_are_read_and_secrets_are_not() {
    let fake = Fake::start(routes());
    let user = User::of(&fake);
    assert_eq!(user.panda("env get LOG -a shop").ends(0).out, "a \"b\"\n$c\n");
    assert!(user.panda("env get KEY -a shop").ends(4).err.contains("never shown"));
    assert!(user.panda("env get LOGG -a shop").ends(3).err.contains("did you mean `LOG`?"));
    user.panda("env pull -a shop").ends(0);
    let path = user.directory.path().join(".env");
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(text, "LOG=\"a \\\"b\\\"\\n\\$c\"\n# KEY is a secret: it can't be read back\n");
    user.panda("env pull -a shop").ends(5);
    insta::assert_snapshot!(user.panda("env -a shop").ends(0).out);
}
