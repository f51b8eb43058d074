//! An app as files that any cluster takes.

use std::collections::BTreeMap;

use panda_deployer::export::{ExportedApp, ExportedProcess, Filling, PlainFile};
use panda_deployer::runtime::{ImageUser, PullImage};
use panda_domain::formation::Size;
use panda_domain::release::{HealthCheck, HttpConfig, Shutdown};
use panda_kubernetes::export::{kustomize, yaml};

fn fillings(all: &[(&str, Filling)]) -> BTreeMap<String, Filling> {
    all.iter().map(|(key, filling)| ((*key).to_owned(), filling.clone())).collect()
}

fn text(text: &str) -> Filling {
    Filling::Text(text.to_owned())
}

fn hole(name: &str) -> Filling {
    Filling::Hole(name.to_owned())
}

fn process(name: &str, port: Option<u16>) -> ExportedProcess {
    let own = [("PANDA_PROCESS", text(name)), ("PORT", text("8080"))];
    ExportedProcess {
        name: name.parse().expect("it is one"),
        command: Some(["node", name].map(str::to_owned).to_vec()),
        port,
        health: HealthCheck::default(),
        shutdown: Shutdown::default(),
        replicas: 1,
        size: Size { cpu_millis: 500, memory_bytes: 256 << 20 },
        variables: fillings(if port.is_some() { &own } else { &own[..1] }),
    }
}

fn shop() -> ExportedApp {
    let health = HealthCheck { path: Some("/healthz".into()), liveness: true, ..HealthCheck::default() };
    let web = ExportedProcess { replicas: 3, health, ..process("web", Some(8080)) };
    ExportedApp {
        name: "shop".parse().expect("it is one"),
        environment: "staging".parse().expect("it is one"),
        release: 12,
        image: PullImage {
            repository: "127.0.0.1:7050/acme/shop".to_owned(),
            digest: format!("sha256:{:064x}", 7).parse().expect("it is one"),
            login: None,
        },
        own_registry: true,
        user: ImageUser::Built,
        runs_as_root: Some(false),
        processes: vec![web, process("worker", None)],
        variables: fillings(&[
            ("API_TOKEN", hole("API_TOKEN")),
            ("GREETING", text("costs $(PORT) $5\nno more")),
            ("PANDA_CART_URL", text("http://cart:8080")),
        ]),
        files: fillings(&[("/etc/app/config.toml", text("a = 1\n")), ("/etc/app/key", hole("SIGNING_KEY"))]),
        hosts: vec![("shop.example".into(), "/".into()), ("example.com".into(), "/shop".into())],
        http: HttpConfig::default(),
        release_command: Some(["npm", "run", "migrate"].map(str::to_owned).to_vec()),
    }
}

fn plain() -> ExportedApp {
    let image = PullImage { repository: "docker.io/library/web".to_owned(), ..shop().image };
    let web = ExportedProcess { command: None, ..process("web", Some(8080)) };
    ExportedApp {
        image,
        own_registry: false,
        user: ImageUser::Foreign,
        runs_as_root: None,
        processes: vec![web],
        variables: fillings(&[("GREETING", text("hello"))]),
        files: BTreeMap::new(),
        release_command: None,
        ..shop()
    }
}

fn shown(files: &[PlainFile]) -> String {
    files.iter().map(|file| format!("===== {}\n{}", file.path, file.text)).collect()
}

#[test]
fn an_app_is_taken_away_as_objects_with_holes_for_its_secrets() {
    insta::assert_snapshot!("export-yaml", shown(&yaml(&shop()).expect("it can be written")));
}

#[test]
fn a_kustomization_is_the_same_objects_and_makes_the_secret_of_files() {
    let (plain, kustomized) = (yaml(&shop()).expect("written"), kustomize(&shop()).expect("written"));
    let objects = |files: &[PlainFile]| -> Vec<PlainFile> {
        let own = ["README.md", "kustomization.yaml", ".gitignore"];
        files.iter().filter(|file| !own.contains(&file.path.as_str())).cloned().collect()
    };
    assert_eq!(objects(&plain), objects(&kustomized));
    let rest: Vec<PlainFile> =
        kustomized.into_iter().filter(|file| !plain.iter().any(|one| one == file)).collect();
    insta::assert_snapshot!("export-kustomize", shown(&rest));
}

#[test]
fn an_app_without_secrets_and_files_has_no_holes_to_fill() {
    insta::assert_snapshot!("export-of-image", shown(&yaml(&plain()).expect("it can be written")));
    let kustomized = kustomize(&plain()).expect("it can be written");
    assert!(!shown(&kustomized).contains("secretGenerator"));
}

#[test]
fn nothing_of_panda_is_left_in_the_objects() {
    let objects = kustomize(&shop()).expect("it can be written");
    for file in objects.iter().filter(|file| file.path.ends_with(".yaml")) {
        for own in ["dev.panda/", "panda-app", "managed-by", "namespace:", "PANDA_INSTANCE"] {
            assert!(!file.text.contains(own), "{own} in {}:\n{}", file.path, file.text);
        }
    }
}

#[test]
fn a_file_at_a_path_that_none_can_have_is_refused() {
    let files = fillings(&[("/../etc/passwd", text("x"))]);
    assert!(yaml(&ExportedApp { files, ..shop() }).is_err());
}
