//! An app as it is taken away, for the tests of those who write it as files.

use std::collections::BTreeMap;

use panda_deployer::export::{ExportedApp, ExportedPort, ExportedProcess, Filling};
use panda_deployer::runtime::{ImageUser, PullImage};
use panda_domain::formation::Size;
use panda_domain::names::ProcessName;
use panda_domain::release::{HealthCheck, HttpConfig, Shutdown};

/// Makes a set of variables or files.
pub fn fillings(all: &[(&str, Filling)]) -> BTreeMap<String, Filling> {
    all.iter().map(|(key, filling)| ((*key).to_owned(), filling.clone())).collect()
}

/// A filling that is known.
pub fn text(text: &str) -> Filling {
    Filling::Text(text.to_owned())
}

/// A filling that is a secret's.
pub fn hole(name: &str) -> Filling {
    Filling::Hole(name.to_owned())
}

/// A process that runs `node NAME`.
pub fn process(name: &str, port: Option<u16>) -> ExportedProcess {
    let own = [("PANDA_PROCESS", text(name)), ("PORT", text("8080"))];
    ExportedProcess {
        name: name.parse().expect("it is one"),
        command: Some(["node", name].map(str::to_owned).to_vec()),
        port,
        health: HealthCheck::default(),
        shutdown: Shutdown::default(),
        replicas: 1,
        autoscale: None,
        size: Size { cpu_millis: 500, memory_bytes: 256 << 20 },
        variables: fillings(if port.is_some() { &own } else { &own[..1] }),
    }
}

/// An app with two processes, secrets, files, domains and a release command.
pub fn shop() -> ExportedApp {
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
        ports: vec![
            ExportedPort { process: ProcessName::web(), port: 9000, published: 20_000 },
            ExportedPort { process: "worker".parse().expect("it is one"), port: 9001, published: 20_010 },
        ],
        http: HttpConfig::default(),
        release_command: Some(["npm", "run", "migrate"].map(str::to_owned).to_vec()),
    }
}
