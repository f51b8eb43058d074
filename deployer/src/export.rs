//! An app as it can be taken away: what it needs to run elsewhere, without the ids, names and labels that Panda gave it.
//!
//! Made from the state alone, so that it is the same whichever runtime serves. Those who write files of it get no value of a
//! secret to see: there is no room for one in these types.

mod readme;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use panda_domain::autoscale::Autoscale;
use panda_domain::env::Env;
use panda_domain::formation::{Formation, Size};
use panda_domain::names::{AppName, EnvKey, EnvironmentName, ProcessName};
use panda_domain::port::{HeldPort, fulfilled};
use panda_domain::release::{FileContent, HealthCheck, HttpConfig, Shutdown};
use panda_domain::secret::Secret;

pub use readme::Readme;

use crate::desired::{MissingVariable, Running, scale_of};
use crate::runtime::{ImageUser, PullImage, RuntimeResult};

/// Variables that differ between the processes of an app.
const OF_A_PROCESS: [&str; 3] = ["HOST", "PANDA_PROCESS", "PORT"];

/// What a variable, or a file's content, is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Filling {
    /// This.
    Text(String),
    /// The value of the secret of this name, which somebody has to fill in.
    Hole(String),
}

/// One process of an app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportedProcess {
    /// Its name.
    pub name: ProcessName,
    /// argv; `None` runs the image's own command.
    pub command: Option<Vec<String>>,
    /// The port it listens on; `None` for a worker.
    pub port: Option<u16>,
    /// How it is found ready.
    pub health: HealthCheck,
    /// How it is stopped.
    pub shutdown: Shutdown,
    /// How many instances; the fewest, where they change by load.
    pub replicas: u32,
    /// Between which bounds they change by load, if they do. What can't scale by load leaves it out.
    pub autoscale: Option<Autoscale>,
    /// The size of each.
    pub size: Size,
    /// Variables that only it has.
    pub variables: BTreeMap<String, Filling>,
}

/// A port of a process that the world reaches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportedPort {
    /// Which process.
    pub process: ProcessName,
    /// The port that it listens on.
    pub port: u16,
    /// The port that the world connects to.
    pub published: u16,
}

/// An app in an environment, as it serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportedApp {
    /// Its name.
    pub name: AppName,
    /// Where it was.
    pub environment: EnvironmentName,
    /// The number of the release that serves.
    pub release: u32,
    /// The image, as the runtime pulled it.
    pub image: PullImage,
    /// Whether it lies in the platform's own registry.
    pub own_registry: bool,
    /// Who it runs as.
    pub user: ImageUser,
    /// Whether its main process was last seen to run as root; `None` when it was never seen to run.
    pub runs_as_root: Option<bool>,
    /// Its processes, by name.
    pub processes: Vec<ExportedProcess>,
    /// Variables of all processes.
    pub variables: BTreeMap<String, Filling>,
    /// Files: absolute path → content.
    pub files: BTreeMap<String, Filling>,
    /// Hosts and the beginnings of paths that lead to it.
    pub hosts: Vec<(String, String)>,
    /// Ports that lead to it from outside, whatever is spoken there.
    pub ports: Vec<ExportedPort>,
    /// How requests are treated.
    pub http: HttpConfig,
    /// What runs once before a release takes over; argv.
    pub release_command: Option<Vec<String>>,
}

/// One file of an export.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlainFile {
    /// Its path below the export's folder.
    pub path: String,
    /// Its content.
    pub text: String,
}

impl PlainFile {
    /// Makes a file.
    pub fn new(path: impl Into<String>, text: impl Into<String>) -> Self {
        Self { path: path.into(), text: text.into() }
    }
}

/// Writes an app as files of one format. Pure: the same app gives the same files.
pub type Exporter = fn(&ExportedApp) -> RuntimeResult<Vec<PlainFile>>;

/// Every format with the one who knows it. Whichever runtime serves, all are there.
#[derive(Debug, Clone, Copy)]
pub struct Exporters {
    /// Objects of Kubernetes.
    pub yaml: Exporter,
    /// The same with a kustomization.
    pub kustomize: Exporter,
    /// A compose file.
    pub compose: Exporter,
}

/// What only the platform knows about an app that is taken away.
#[derive(Debug, Clone)]
pub struct Surroundings<'a> {
    /// Its scale.
    pub formation: &'a Formation,
    /// Hosts and the beginnings of paths of its own domains; without any it keeps the host that the platform gave it.
    pub domains: Vec<(String, String)>,
    /// Whether its main process was last seen to run as root.
    pub runs_as_root: Option<bool>,
    /// The published ports that it has.
    pub ports: Vec<HeldPort>,
}

impl ExportedApp {
    /// Makes it of a release that serves.
    pub fn of(running: &Running<'_>, surroundings: Surroundings<'_>) -> Result<Self, MissingVariable> {
        let (config, placement) = (running.config, running.placement);
        let mut shared = BTreeMap::new();
        let mut processes = Vec::new();
        for (name, spec) in &config.processes {
            let all = variables(running, name, spec.port);
            let (own, others) = all.into_iter().partition(|(key, _)| OF_A_PROCESS.contains(&key.as_str()));
            shared = others;
            let scale = scale_of(surroundings.formation, name);
            processes.push(ExportedProcess {
                name: name.clone(),
                command: spec.command.clone(),
                port: spec.port,
                health: spec.health.clone(),
                shutdown: spec.shutdown.clone(),
                replicas: scale.autoscale.map_or(scale.replicas, |bounds| bounds.min),
                autoscale: scale.autoscale,
                size: scale.size,
                variables: own,
            });
        }
        let files =
            config.files.iter().map(|(path, content)| Ok((path.clone(), file(running, path, content)?)));
        let published = config.ports.iter().zip(fulfilled(&config.ports, &surroundings.ports));
        let ports = published.filter_map(|(wish, published)| {
            Some(ExportedPort { process: wish.process.clone(), port: wish.port, published: published? })
        });
        let given = || vec![(placement.host.clone(), "/".to_owned())];
        Ok(Self {
            name: placement.app_name.clone(),
            environment: placement.environment_name.clone(),
            release: running.number,
            image: running.pull_image(),
            own_registry: running.image.own_registry,
            user: running.user(),
            runs_as_root: surroundings.runs_as_root,
            processes,
            variables: shared,
            files: files.collect::<Result<_, _>>()?,
            hosts: if surroundings.domains.is_empty() { given() } else { surroundings.domains },
            ports: ports.collect(),
            http: config.http.clone(),
            release_command: config.release_command.clone(),
        })
    }

    /// Returns the process that takes the requests of the hosts, with its port.
    pub fn web(&self) -> Option<(&ExportedProcess, u16)> {
        let web = self.processes.iter().find(|process| process.name.is_web())?;
        Some((web, web.port?))
    }

    /// Returns the ports at which the world reaches a process.
    pub fn ports_of(&self, process: &ProcessName) -> impl Iterator<Item = &ExportedPort> {
        self.ports.iter().filter(move |port| port.process == *process)
    }

    /// Returns the names of the secrets that somebody has to fill in.
    pub fn holes(&self) -> BTreeSet<&str> {
        let of_processes = self.processes.iter().flat_map(|process| process.variables.values());
        let all = self.variables.values().chain(of_processes).chain(self.files.values());
        all.filter_map(|filling| match filling {
            Filling::Hole(name) => Some(name.as_str()),
            Filling::Text(_) => None,
        })
        .collect()
    }

    /// Returns the addresses of other apps that this one was told, by variable.
    pub fn neighbours(&self) -> impl Iterator<Item = (&str, &str)> {
        self.variables.iter().filter_map(|(key, filling)| match filling {
            Filling::Text(url) if is_of_neighbour(key) => Some((key.as_str(), url.as_str())),
            _ => None,
        })
    }
}

fn is_of_neighbour(key: &str) -> bool {
    key.strip_prefix("PANDA_").and_then(|rest| rest.strip_suffix("_URL")).is_some()
}

/// Returns all that a process gets, the values of secrets as holes.
fn variables(running: &Running<'_>, process: &ProcessName, port: Option<u16>) -> BTreeMap<String, Filling> {
    let all = running.variables(process, port).0.into_iter().map(|(key, value)| {
        // What the platform set over a secret of the same name is no secret; if it is the same text, nobody can tell.
        let secret = secret(running.env, &key).is_some_and(|secret| *secret == value);
        let filling =
            if secret { Filling::Hole(key.clone()) } else { Filling::Text(value.reveal().to_owned()) };
        (key, filling)
    });
    all.collect()
}

fn secret<'e>(env: &'e Env, key: &str) -> Option<&'e Secret> {
    let value = env.get(&key.parse::<EnvKey>().ok()?)?;
    value.secret.then_some(&value.value)
}

fn file(running: &Running<'_>, path: &str, content: &FileContent) -> Result<Filling, MissingVariable> {
    let key = match content {
        FileContent::Text(text) => return Ok(Filling::Text(text.clone())),
        FileContent::Secret(key) => key,
    };
    let known = key.parse::<EnvKey>().ok().and_then(|key| running.env.get(&key));
    let value = known.ok_or_else(|| MissingVariable { path: path.to_owned(), key: key.clone() })?;
    Ok(if value.secret { Filling::Hole(key.clone()) } else { Filling::Text(value.value.reveal().to_owned()) })
}
