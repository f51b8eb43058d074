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
    for line in ["env import .env.production -a shop", "env import -f .env.production -a shop"] {
        user.panda(line).ends(0);
        assert_eq!(changes(&fake)["changes"]["B"]["value"], "two\nlines");
    }
    user.run(&["env", "import", "-", "--secret", "-a", "shop"], "C=3\n").ends(0);
    assert_eq!(changes(&fake)["changes"], json!({ "C": { "value": "3", "secret": true } }));

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
        ("env import absent -a shop", 3),
        ("env import a -f b -a shop", 2),
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

#[test]
fn what_came_of_each_name_is_said() {
    let answer = json!({ "version": 7, "changes": { "LGO": "absent", "A": "same" } });
    let routes = Router::new()
        .route("/apps/shop/env", get(|| async {
            Json(json!({ "items": [{ "key": "LOG", "secret": true, "fingerprint": "1", "version": 1, "set_by": "ada",
                "set_at": "2020-01-01T00:00:00Z", "deployed": true }] }))
        }))
        .route("/apps/shop/env", patch(move || async move { Json(answer) }));
    let fake = Fake::start(routes);
    let user = User::of(&fake);
    let ran = user.panda("env unset LGO A -a shop");
    ran.ends(0);
    assert_eq!(
        ran.err,
        "`A` has this value already\n`LGO` isn't set; did you mean `LOG`?\nnothing changed\n"
    );
    assert_eq!(user.panda("env unset LGO -a shop --json").ends(0).last_json()["changes"]["LGO"], "absent");
}

#[test]
fn an_import_can_be_tried_and_can_leave_what_is_there() {
    let answer = json!({ "version": 7, "changes": { "LOG": "replaced", "NEW": "added" } });
    let fake = Fake::start(routes().route("/apps/tried/env", patch(move || async move { Json(answer) })));
    let user = User::of(&fake);
    user.write(".env", "LOG=1\nNEW=2\n");
    let ran = user.panda("env import --dry-run -a tried");
    ran.ends(0);
    assert_eq!(ran.out, "NAME  WOULD BE\nLOG   replaced\nNEW   added\n");
    assert_eq!(ran.err, "nothing was changed\n");
    assert_eq!((&changes(&fake)["dry_run"], &changes(&fake)["deploy"]), (&json!(true), &json!(false)));
    user.panda("env import --keep -a shop").ends(0);
    assert_eq!(changes(&fake)["changes"], json!({ "NEW": { "value": "2", "secret": false } }));
}
