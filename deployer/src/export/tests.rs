use std::collections::BTreeMap;

use panda_domain::app::Placement;
use panda_domain::env::EnvValue;
use panda_domain::ids::Id;
use panda_domain::manifest::{DetectedProcesses, Manifest, Overrides};
use panda_domain::names::{EnvironmentName, ProcessName};
use panda_domain::release::{ReleaseConfig, ReleaseImage};

use super::*;
use crate::plan::Attempt;

fn placement() -> Placement {
    Placement {
        id: Id::from_bits(1),
        team: Id::from_bits(2),
        app: Id::from_bits(3),
        app_name: "shop".parse().unwrap(),
        environment: Id::from_bits(4),
        environment_name: EnvironmentName::production(),
        host: "shop.apps.example.net".to_owned(),
        generation: 1,
        converged_generation: 1,
        desired_release: None,
        last_good_release: None,
        deleting_at: None,
        created_at: "2026-11-25T00:00:00Z".parse().unwrap(),
    }
}

fn config() -> ReleaseConfig {
    let mut config = Manifest::default()
        .to_release_config(&DetectedProcesses::of_image(Some(8080)), &Overrides::default());
    let worker = ProcessName::web();
    let worker = panda_domain::release::ProcessSpec { port: None, ..config.processes[&worker].clone() };
    config.processes.insert("worker".parse().unwrap(), worker);
    config.files = BTreeMap::from([
        ("/etc/text".to_owned(), FileContent::Text("a = 1".to_owned())),
        ("/etc/level".to_owned(), FileContent::Secret("LOG_LEVEL".to_owned())),
        ("/etc/key".to_owned(), FileContent::Secret("API_TOKEN".to_owned())),
    ]);
    config
}

fn env() -> Env {
    let value = |text: &str, secret| EnvValue { value: Secret::new(text), secret };
    [("API_TOKEN", value("very secret", true)), ("LOG_LEVEL", value("debug", false))]
        .map(|(key, value)| (key.parse().unwrap(), value))
        .into()
}

fn exported(env: &Env, domains: Vec<(String, String)>) -> Result<ExportedApp, MissingVariable> {
    let neighbours = BTreeMap::from([("PANDA_CART_URL".to_owned(), "http://cart:8080".to_owned())]);
    let (placement, config) = (placement(), config());
    let running = Running {
        placement: &placement,
        attempt: &Attempt { release: Id::from_bits(5), revision: 0 },
        number: 12,
        image: &ReleaseImage {
            repository: "acme/shop".to_owned(),
            digest: format!("sha256:{:064x}", 7).parse().unwrap(),
            own_registry: true,
            built_here: true,
        },
        config: &config,
        env,
        git_sha: None,
        url: "https://shop.apps.example.net",
        neighbours: &neighbours,
        restricted: false,
        pull_url: "127.0.0.1:7050",
        login: None,
    };
    ExportedApp::of(
        &running,
        Surroundings { formation: &Formation::new(), domains, runs_as_root: None, ports: Vec::new() },
    )
}

#[test]
fn secrets_are_holes_wherever_they_are_used_and_everything_else_is_as_it_ran() {
    let app = exported(&env(), Vec::new()).unwrap();
    let text = |text: &str| Some(Filling::Text(text.to_owned()));
    let token = Some(Filling::Hole("API_TOKEN".to_owned()));
    assert_eq!(app.variables.get("API_TOKEN").cloned(), token);
    assert_eq!(app.variables.get("LOG_LEVEL").cloned(), text("debug"));
    assert_eq!(app.files.get("/etc/key").cloned(), token);
    assert_eq!(app.holes().into_iter().collect::<Vec<_>>(), ["API_TOKEN"]);
    assert_eq!(app.files.get("/etc/level").cloned(), text("debug"));
    assert_eq!(app.files.get("/etc/text").cloned(), text("a = 1"));
    assert!(!format!("{app:?}").contains("very secret"));
    assert_eq!(app.neighbours().collect::<Vec<_>>(), [("PANDA_CART_URL", "http://cart:8080")]);
    assert_eq!(app.image.repository, "127.0.0.1:7050/acme/shop");
}

#[test]
fn own_domains_take_the_place_of_the_host_that_the_platform_gave() {
    let given = exported(&env(), Vec::new()).unwrap();
    assert_eq!(given.hosts, [("shop.apps.example.net".to_owned(), "/".to_owned())]);
    let own = vec![("shop.example".to_owned(), "/api".to_owned())];
    assert_eq!(exported(&env(), own.clone()).unwrap().hosts, own);
}

#[test]
fn a_file_of_a_variable_that_is_not_set_is_named() {
    let missing = exported(&Env::new(), Vec::new()).unwrap_err();
    assert_eq!(missing.to_string(), "the file `/etc/key` wants the variable `API_TOKEN`, which isn't set");
}
