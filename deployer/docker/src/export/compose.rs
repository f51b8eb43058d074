//! The compose file itself, as much of its format as an app needs.

use std::collections::BTreeMap;

use panda_deployer::export::{ExportedApp, ExportedPort, ExportedProcess, Filling};
use panda_deployer::runtime::ImageUser;
use panda_domain::formation::Size;
use serde::Serialize;

use super::published;
use crate::config::PIDS_LIMIT;
use crate::create::{ROOT_KEEPS, USER};

/// The service that runs the release command, when it is asked to. No process has an underscore in its name.
pub(super) const RELEASE: &str = "release_command";

/// A whole compose file.
#[derive(Debug, Serialize)]
pub(super) struct Compose {
    name: String,
    services: BTreeMap<String, Service>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    configs: BTreeMap<String, Config>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    secrets: BTreeMap<String, SecretSource>,
}

#[derive(Debug, Clone, Serialize)]
struct Service {
    image: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    profiles: Option<[&'static str; 1]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'static str>,
    /// Takes the place of the image's entrypoint and of its arguments.
    #[serde(skip_serializing_if = "Option::is_none")]
    entrypoint: Option<Vec<String>>,
    environment: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    configs: Vec<Mount>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    secrets: Vec<Mount>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ports: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    networks: Option<Networks>,
    init: bool,
    restart: &'static str,
    stop_signal: String,
    stop_grace_period: String,
    cap_drop: [&'static str; 1],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    cap_add: &'static [&'static str],
    security_opt: [&'static str; 1],
    memswap_limit: String,
    deploy: Deploy,
    logging: Logging,
}

/// A file over one path of a container.
#[derive(Debug, Clone, Serialize)]
struct Mount {
    source: String,
    target: String,
    mode: &'static str,
}

#[derive(Debug, Serialize)]
struct Config {
    content: String,
}

#[derive(Debug, Serialize)]
struct SecretSource {
    environment: String,
}

#[derive(Debug, Clone, Serialize)]
struct Networks {
    default: Aliases,
}

#[derive(Debug, Clone, Serialize)]
struct Aliases {
    aliases: [String; 1],
}

#[derive(Debug, Clone, Serialize)]
struct Deploy {
    replicas: u32,
    resources: Resources,
}

#[derive(Debug, Clone, Serialize)]
struct Resources {
    limits: Limits,
}

#[derive(Debug, Clone, Serialize)]
struct Limits {
    cpus: String,
    memory: String,
    pids: i64,
}

#[derive(Debug, Clone, Serialize)]
struct Logging {
    driver: &'static str,
    options: BTreeMap<&'static str, &'static str>,
}

/// Makes the compose file of an app.
pub(super) fn of(app: &ExportedApp) -> Compose {
    let processes = app.processes.iter().map(|process| (process.name.to_string(), service(app, process)));
    let services = processes.chain(release(app).map(|service| (RELEASE.to_owned(), service))).collect();
    let (mut configs, mut secrets) = (BTreeMap::new(), BTreeMap::new());
    for (key, _, filling) in keyed(app) {
        match filling {
            Filling::Text(text) => drop(configs.insert(key, Config { content: literal(text) })),
            Filling::Hole(name) => {
                drop(secrets.insert(name.clone(), SecretSource { environment: name.clone() }));
            }
        }
    }
    Compose { name: app.name.to_string(), services, configs, secrets }
}

fn service(app: &ExportedApp, process: &ExportedProcess) -> Service {
    let web = app.web().is_some_and(|(web, _)| web.name == process.name);
    let ports = published(app).zip(process.port).filter(|_| web).map(|((first, last), port)| {
        let range = if first == last { first.to_string() } else { format!("{first}-{last}") };
        format!("${{PUBLISH:-127.0.0.1:{range}}}:{port}")
    });
    let alias = if web { app.name.to_string() } else { format!("{}.{}", process.name, app.name) };
    let mut service = common(app, process.size);
    service.entrypoint = process.command.as_deref().map(argv);
    service.environment.extend(environment(&process.variables));
    service.ports =
        ports.into_iter().chain(app.ports_of(&process.name).map(|port| tcp(port, process))).collect();
    service.networks = process.port.is_some().then_some(Networks { default: Aliases { aliases: [alias] } });
    service.stop_signal.clone_from(&process.shutdown.signal);
    service.stop_grace_period = format!("{}s", process.shutdown.grace_s);
    service.deploy.replicas = process.replicas;
    service
}

/// A port of the host leads to one container: where there are several, the ports after it lead to the others.
fn tcp(port: &ExportedPort, process: &ExportedProcess) -> String {
    let ExportedPort { port, published, .. } = port;
    match u16::try_from(process.replicas.saturating_sub(1)).unwrap_or(u16::MAX) {
        0 => format!("{published}:{port}"),
        more => format!("{published}-{}:{port}", published.saturating_add(more)),
    }
}

/// The release command, which runs only when it is asked to.
fn release(app: &ExportedApp) -> Option<Service> {
    let command = app.release_command.as_deref()?;
    let size =
        app.web().map(|(web, _)| web).or(app.processes.first()).map_or_else(Size::default, |of| of.size);
    let mut service = common(app, size);
    service.profiles = Some(["release"]);
    service.entrypoint = Some(argv(command));
    service.restart = "no";
    Some(service)
}

/// What all containers of an app have in common.
fn common(app: &ExportedApp, size: Size) -> Service {
    let (mut configs, mut secrets) = (Vec::new(), Vec::new());
    for (key, path, filling) in keyed(app) {
        let (mounts, source) = match filling {
            Filling::Text(_) => (&mut configs, key),
            Filling::Hole(name) => (&mut secrets, name.clone()),
        };
        mounts.push(Mount { source, target: path.to_owned(), mode: "0444" });
    }
    let as_root = app.user == ImageUser::Foreign && app.runs_as_root != Some(false);
    let memory = format!("{}b", size.memory_bytes);
    Service {
        image: app.image.reference(),
        profiles: None,
        user: (app.user == ImageUser::Built).then_some(USER),
        entrypoint: None,
        environment: environment(&app.variables),
        configs,
        secrets,
        ports: Vec::new(),
        networks: None,
        init: true,
        restart: "unless-stopped",
        stop_signal: "SIGTERM".to_owned(),
        stop_grace_period: "30s".to_owned(),
        cap_drop: ["ALL"],
        cap_add: if as_root { &ROOT_KEEPS } else { &[] },
        security_opt: ["no-new-privileges:true"],
        // The sum of memory and swap: the same figure means no swap.
        memswap_limit: memory.clone(),
        deploy: Deploy {
            replicas: 1,
            resources: Resources {
                limits: Limits {
                    cpus: format!("{}.{:03}", size.cpu_millis / 1000, size.cpu_millis % 1000),
                    memory,
                    pids: PIDS_LIMIT,
                },
            },
        },
        logging: Logging {
            driver: "json-file",
            options: BTreeMap::from([("max-size", "10m"), ("max-file", "5")]),
        },
    }
}

fn argv(words: &[String]) -> Vec<String> {
    words.iter().map(|word| literal(word)).collect()
}

fn environment(variables: &BTreeMap<String, Filling>) -> BTreeMap<String, String> {
    let all = variables.iter().map(|(key, filling)| {
        let value = match filling {
            Filling::Text(text) => literal(text),
            Filling::Hole(name) => format!("${{{name}:?put the secret {name} into .env, see README.md}}"),
        };
        (key.clone(), value)
    });
    all.collect()
}

/// Compose expands `$NAME` everywhere; `$$` is a dollar sign.
fn literal(text: &str) -> String {
    text.replace('$', "$$")
}

/// Gives each file a key.
fn keyed(app: &ExportedApp) -> impl Iterator<Item = (String, &str, &Filling)> {
    let all = app.files.iter().enumerate();
    all.map(|(index, (path, filling))| (format!("file-{index}"), path.as_str(), filling))
}
