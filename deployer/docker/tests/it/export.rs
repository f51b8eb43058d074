//! An app as a compose file.

use std::collections::BTreeMap;

use panda_deployer::export::{ExportedApp, ExportedProcess, PlainFile};
use panda_deployer::runtime::ImageUser;
use panda_docker::export::compose;
use panda_domain::release::HttpConfig;
use panda_test_support::exported::{fillings, process, shop, text};

fn shown(app: &ExportedApp) -> String {
    let files: Vec<PlainFile> = compose(app).expect("it can be written");
    files.iter().map(|file| format!("===== {}\n{}", file.path, file.text)).collect::<Vec<_>>().concat()
}

#[test]
fn an_app_is_taken_away_as_a_compose_file_with_holes_for_its_secrets() {
    insta::assert_snapshot!("export-compose", shown(&shop()));
}

#[test]
fn an_app_of_one_instance_without_secrets_needs_nothing_to_be_filled_in() {
    let web = ExportedProcess { command: None, ..process("web", Some(80)) };
    let app = ExportedApp {
        own_registry: false,
        user: ImageUser::Foreign,
        runs_as_root: None,
        processes: vec![web],
        variables: fillings(&[("GREETING", text("hello"))]),
        files: BTreeMap::new(),
        ports: Vec::new(),
        release_command: None,
        http: HttpConfig { force_https: false, ..HttpConfig::default() },
        ..shop()
    };
    insta::assert_snapshot!("export-compose-of-image", shown(&app));
}

#[test]
fn nothing_of_panda_is_left_in_the_services() {
    let files = compose(&shop()).expect("it can be written");
    let written = files.iter().find(|file| file.path == "compose.yaml").expect("there is one");
    for own in ["dev.panda", "labels", "PANDA_INSTANCE"] {
        assert!(!written.text.contains(own), "{own}: {}", written.text);
    }
}
