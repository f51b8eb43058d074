//! An app as files that any cluster takes.

use std::collections::BTreeMap;

use panda_deployer::export::{ExportedApp, ExportedProcess, PlainFile};
use panda_deployer::runtime::{ImageUser, PullImage};
use panda_domain::autoscale::Autoscale;
use panda_kubernetes::export::{kustomize, yaml};
use panda_test_support::exported::{fillings, process, shop, text};

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
        ports: Vec::new(),
        release_command: None,
        ..shop()
    }
}

fn shown(files: &[PlainFile]) -> String {
    files.iter().map(|file| format!("===== {}\n{}", file.path, file.text)).collect::<Vec<_>>().concat()
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
    for file in objects.iter().filter(|file| !file.path.contains("README")) {
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

#[test]
fn a_process_that_scales_by_load_has_its_autoscaler_and_no_number_beside_it() {
    let bounds = Autoscale { min: 2, max: 10, cpu_percent: Some(70), memory_percent: None };
    let web = ExportedProcess { replicas: 2, autoscale: Some(bounds), ..process("web", Some(8080)) };
    let files = yaml(&ExportedApp { processes: vec![web], ..plain() }).expect("it can be written");
    let text = |wanted: &str| {
        let found = files.iter().find(|file| file.path.ends_with(wanted));
        found.map(|file| file.text.clone()).expect("the file is there")
    };
    let autoscaler = text("horizontalpodautoscaler-web.yaml");
    assert!(autoscaler.contains("minReplicas: 2") && autoscaler.contains("maxReplicas: 10"), "{autoscaler}");
    assert!(!text("deployment-web.yaml").contains("replicas:"));
}
