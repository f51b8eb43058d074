//! Verbs that touch only this directory.

use axum::Router;

use crate::fake::{Fake, User};

#[test]
fn init_writes_a_file_that_is_right_and_never_overwrites() {
    let user = User::stranger();
    user.panda("init --name shop").ends(0);
    let text = std::fs::read_to_string(user.directory.path().join("panda.toml")).unwrap();
    assert_eq!(panda_domain::manifest::parse(&text).unwrap().app.unwrap().as_str(), "shop");
    let ran = user.panda("init --name other");
    ran.ends(5);
    assert!(ran.err.contains("already here"), "{}", ran.err);
}

#[test]
fn a_link_holds_below_its_directory_until_it_is_undone() {
    let user = User::stranger();
    user.panda("link shop -e staging --server https://panda.example.com").ends(0);
    assert_eq!(
        std::fs::read_to_string(user.directory.path().join(".panda/link.toml")).unwrap(),
        "app = \"shop\"\nenvironment = \"staging\"\nserver = \"https://panda.example.com\"\n"
    );
    assert_eq!(std::fs::read_to_string(user.directory.path().join(".panda/.gitignore")).unwrap(), "*\n");
    user.panda("link Sh;op").ends(6);
    user.panda("unlink").ends(0);
    assert!(!user.directory.path().join(".panda").exists());
    assert!(user.panda("unlink").ends(0).err.contains("nothing is linked"));
}

#[test]
fn a_broken_file_of_ours_is_named_with_the_way_out() {
    let user = User::stranger();
    user.write(".panda/link.toml", "app = ");
    let ran = user.panda("ps");
    ran.ends(6);
    assert!(ran.err.contains("link.toml") && ran.err.contains("panda link APP"), "{}", ran.err);
}

#[test]
fn a_link_that_came_with_the_files_gets_no_token() {
    let fake = Fake::start(Router::new());
    let user = User::stranger();
    user.write(".panda/link.toml", &format!("app = \"shop\"\nserver = \"{}\"\n", fake.url));
    let ran = user.run_with(&["env", "set", "A=1"], &[("PANDA_TOKEN", "panda_ci")]);
    ran.ends(4);
    assert!(ran.err.contains("you aren't signed in there"), "{}", ran.err);
    assert!(fake.seen().is_empty());
}
