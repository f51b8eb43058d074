//! File + command line + detection → what a release is made of.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::deployment::PhaseDeadlines;
use crate::formation::{Formation, Scale};
use crate::names::ProcessName;
use crate::release::{HealthCheck, HttpConfig, ProcessSpec, ReleaseConfig, Shutdown};

use super::process::{HealthConfig, ProcessConfig, ShutdownConfig};
use super::{HttpSettings, Manifest};

/// The port of `web` when nobody says another.
pub const DEFAULT_PORT: u16 = 8080;

/// What detection or the image says about processes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DetectedProcesses {
    /// Process → its command (argv; `None` runs the image's own) and its port.
    pub processes: BTreeMap<ProcessName, (Option<Vec<String>>, Option<u16>)>,
    /// The release command, argv; from a Procfile.
    pub release_command: Option<Vec<String>>,
}

/// What the command line says; stronger than the file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Overrides {
    /// Wanted instances of `web`, or of the only process.
    pub replicas: Option<u32>,
    /// The port of `web`.
    pub port: Option<u16>,
}

impl DetectedProcesses {
    /// Returns what an image says: its own command, and the port that it exposes, if it is one.
    pub fn of_image(port: Option<u16>) -> Self {
        Self { processes: BTreeMap::from([(ProcessName::web(), (None, port))]), release_command: None }
    }
}

impl Manifest {
    /// Joins file, detection and command line to the frozen settings of a release.
    ///
    /// Processes of the file and detected ones are put together; what the file says about one is stronger.
    /// When neither names any, there is `web` with the image's own command.
    pub fn to_release_config(&self, detected: &DetectedProcesses, overrides: &Overrides) -> ReleaseConfig {
        let nothing_said = ProcessConfig::default();
        let specs = self.process_names(detected).into_iter().map(|name| {
            let said = self.processes.get(&name).unwrap_or(&nothing_said);
            let found = detected.processes.get(&name);
            let port = said.port.or_else(|| found.and_then(|(_, port)| *port));
            let port = if name.is_web() { overrides.port.or(port).or(Some(DEFAULT_PORT)) } else { port };
            let command = said.command.clone().or_else(|| found.and_then(|(command, _)| command.clone()));
            let spec = ProcessSpec {
                command,
                port,
                health: health(&said.health),
                shutdown: shutdown(&said.shutdown),
            };
            (name, spec)
        });
        let deadlines = PhaseDeadlines::default();
        let whole = |duration: std::time::Duration| u32::try_from(duration.as_secs()).unwrap_or(u32::MAX);
        ReleaseConfig {
            processes: specs.collect(),
            release_command: self.deploy.release.clone().or_else(|| detected.release_command.clone()),
            files: self.files.clone(),
            ports: self.ports.clone(),
            http: http(&self.http),
            rollout_timeout_s: self.deploy.health_timeout_s.unwrap_or(whole(deadlines.rollout)),
            release_timeout_s: self.deploy.release_timeout_s.unwrap_or(whole(deadlines.release)),
            auto_rollback: self.deploy.auto_rollback.unwrap_or(true),
        }
    }

    /// Returns the formation after this deploy: command line over file over what is there over the default.
    /// Processes that the release doesn't have are left out.
    pub fn to_formation(
        &self,
        current: &Formation,
        config: &ReleaseConfig,
        overrides: &Overrides,
    ) -> Formation {
        let main = main_process(config);
        let scales = config.processes.keys().map(|name| {
            let mut scale: Scale = current.get(name).copied().unwrap_or_default();
            if let Some(said) = self.processes.get(name) {
                scale.replicas = said.replicas.unwrap_or(scale.replicas);
                scale.autoscale = said.autoscale.or(scale.autoscale);
                scale.size.cpu_millis = said.cpu_millis.unwrap_or(scale.size.cpu_millis);
                scale.size.memory_bytes = said.memory_bytes.unwrap_or(scale.size.memory_bytes);
            }
            if main == Some(name) {
                scale.replicas = overrides.replicas.unwrap_or(scale.replicas);
            }
            (name.clone(), scale)
        });
        scales.collect()
    }

    fn process_names(&self, detected: &DetectedProcesses) -> BTreeSet<ProcessName> {
        let names: BTreeSet<_> = self.processes.keys().chain(detected.processes.keys()).cloned().collect();
        if names.is_empty() { BTreeSet::from([ProcessName::web()]) } else { names }
    }
}

/// Returns `web`, or the only process; what `--replicas` and `panda exec` mean.
pub fn main_process(config: &ReleaseConfig) -> Option<&ProcessName> {
    let mut names = config.processes.keys();
    let first = names.next()?;
    if names.next().is_none() {
        return Some(first);
    }
    config.processes.keys().find(|name| name.is_web())
}

fn health(said: &HealthConfig) -> HealthCheck {
    let base = HealthCheck::default();
    let (ok_from, ok_to) = said.ok.unwrap_or((base.ok_from, base.ok_to));
    HealthCheck {
        path: said.path.clone(),
        ok_from,
        ok_to,
        interval_s: said.interval_s.unwrap_or(base.interval_s),
        timeout_s: said.timeout_s.unwrap_or(base.timeout_s),
        startup_s: said.startup_s.unwrap_or(base.startup_s),
        failures: said.failures.unwrap_or(base.failures),
        liveness: said.liveness.unwrap_or(base.liveness),
    }
}

fn shutdown(said: &ShutdownConfig) -> Shutdown {
    let base = Shutdown::default();
    Shutdown {
        signal: said.signal.clone().unwrap_or(base.signal),
        drain_s: said.drain_s.unwrap_or(base.drain_s),
        grace_s: said.grace_s.unwrap_or(base.grace_s),
    }
}

fn http(said: &HttpSettings) -> HttpConfig {
    let base = HttpConfig::default();
    HttpConfig {
        force_https: said.force_https.unwrap_or(base.force_https),
        body_limit_bytes: said.body_limit_bytes.unwrap_or(base.body_limit_bytes),
        timeout_s: said.timeout_s.unwrap_or(base.timeout_s),
    }
}
