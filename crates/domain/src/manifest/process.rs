//! `[processes.X]`: command, port, size, health and end of each process.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::autoscale::{Autoscale, PERCENTS};
use crate::formation::{MAX_REPLICAS, MEMORY_BYTES};
use crate::names::ProcessName;

use super::error::{Fault, shown};
use super::figures::{self, DRAIN_S, FAILURES, GRACE_S, INTERVAL_S, PROBE_S, STARTUP_S};
use super::section::{Later, Mistakes, Section};
use super::tree::{Node, Value};
use super::{command, quantity, text};

/// What the file says about a process; `None` means "not said".
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProcessConfig {
    /// What it runs, argv.
    pub command: Option<Vec<String>>,
    /// The port it listens on.
    pub port: Option<u16>,
    /// Wanted instances.
    pub replicas: Option<u32>,
    /// Thousandths of a core for each.
    pub cpu_millis: Option<u32>,
    /// Bytes for each.
    pub memory_bytes: Option<u64>,
    /// Between which bounds the instances change by load.
    pub autoscale: Option<Autoscale>,
    /// How it is stopped.
    pub shutdown: ShutdownConfig,
    /// How it is found ready.
    pub health: HealthConfig,
}

/// What the file says about the end of an instance; `None` means "not said".
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ShutdownConfig {
    /// The signal's name, `SIGTERM` and the like.
    pub signal: Option<String>,
    /// Seconds out of the routes before the signal.
    pub drain_s: Option<u32>,
    /// Seconds between the signal and SIGKILL.
    pub grace_s: Option<u32>,
}

/// What the file says about readiness; `None` means "not said".
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HealthConfig {
    /// HTTP path.
    pub path: Option<String>,
    /// Seconds between probes.
    pub interval_s: Option<u32>,
    /// Seconds that a probe may take.
    pub timeout_s: Option<u32>,
    /// Seconds until the first success.
    pub startup_s: Option<u32>,
    /// Failures in a row that end readiness.
    pub failures: Option<u32>,
    /// The lowest and the highest healthy status.
    pub ok: Option<(u16, u16)>,
    /// Whether a hung instance is restarted.
    pub liveness: Option<bool>,
}

const LATER: &[Later] = &[
    ("size", "use `cpu` and `memory`, such as cpu = 0.5 and memory = \"512Mi\""),
    ("restart", "remove it: processes are always restarted"),
    ("env", "move it to [env], which all processes share"),
];
pub(super) const SIGNALS: [&str; 7] =
    ["SIGTERM", "SIGINT", "SIGQUIT", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGWINCH"];

pub(super) fn read_all(
    section: &Section<'_>,
    mistakes: &mut Mistakes<'_>,
) -> BTreeMap<ProcessName, ProcessConfig> {
    let mut processes = BTreeMap::new();
    for (key, at, node) in section.entries() {
        let path = section.path_of(key);
        let name = key.parse::<ProcessName>();
        if let Err(error) = &name {
            mistakes.add(&path, at, text::name_fault(error));
        }
        let config = Section::open(path, node, mistakes).map(|section| read(section, mistakes));
        if let (Ok(name), Some(config)) = (name, config) {
            processes.insert(name, config);
        }
    }
    processes
}

fn read(mut section: Section<'_>, mistakes: &mut Mistakes<'_>) -> ProcessConfig {
    let m = mistakes;
    let autoscale_at = place_of(&section, "autoscale");
    let config = ProcessConfig {
        command: section.read("command", m, command::command).flatten(),
        port: section.read("port", m, port),
        replicas: section.read("replicas", m, |node| quantity::whole(node, 0..=MAX_REPLICAS)),
        cpu_millis: section.read("cpu", m, quantity::cpu),
        memory_bytes: section.read("memory", m, |node| quantity::bytes(node, MEMORY_BYTES)),
        autoscale: section.section("autoscale", m).and_then(|table| autoscale(table, autoscale_at, m)),
        shutdown: section.section("shutdown", m).map(|table| shutdown(table, m)).unwrap_or_default(),
        health: section.section("health", m).map(|table| health(table, m)).unwrap_or_default(),
    };
    section.finish(m, LATER);
    config
}

/// Returns where a key stands; 0 when it doesn't.
fn place_of(section: &Section<'_>, key: &str) -> usize {
    section.entries().find(|(found, ..)| *found == key).map_or(0, |(_, at, _)| at)
}

/// Reads the bounds; `None` when a mistake was found.
fn autoscale(mut section: Section<'_>, at: usize, m: &mut Mistakes<'_>) -> Option<Autoscale> {
    let before = m.found.len();
    let max_at = place_of(&section, "max");
    let min = section.read("min", m, |node| quantity::whole(node, 1..=MAX_REPLICAS));
    let max = section.read("max", m, |node| quantity::whole(node, 1..=MAX_REPLICAS));
    let cpu = section.read("cpu", m, |node| quantity::whole(node, PERCENTS));
    let memory = section.read("memory", m, |node| quantity::whole(node, PERCENTS));
    for (key, read) in [("min", min), ("max", max)] {
        if read.is_none() && m.found.len() == before {
            let cause = format!("needs `{key}` as well");
            m.add(&section.path, at, Fault::invalid(cause, "write min = 2 and max = 10"));
        }
    }
    let bounds = min.zip(max).map(|(min, max)| Autoscale::new(min, max, cpu, memory));
    if let Some(Err(wrong)) = bounds {
        let fault = Fault::invalid(wrong.to_string(), "write min = 2 and max = 10");
        m.add(&section.path_of(wrong.key()), max_at, fault);
    }
    section.finish(m, &[]);
    bounds.and_then(Result::ok)
}

fn shutdown(mut section: Section<'_>, mistakes: &mut Mistakes<'_>) -> ShutdownConfig {
    let config = ShutdownConfig {
        signal: section.read("signal", mistakes, signal),
        drain_s: section.read("drain", mistakes, |node| quantity::seconds(node, DRAIN_S)),
        grace_s: section.read("grace", mistakes, |node| quantity::seconds(node, GRACE_S)),
    };
    section.finish(mistakes, &[]);
    config
}

fn health(mut section: Section<'_>, mistakes: &mut Mistakes<'_>) -> HealthConfig {
    let m = mistakes;
    let liveness_at = section.entries().find(|(key, ..)| *key == "liveness").map(|(_, at, _)| at);
    let config = HealthConfig {
        path: section.read("path", m, text::url_path),
        interval_s: section.read("interval", m, |node| quantity::seconds(node, INTERVAL_S)),
        timeout_s: section.read("timeout", m, |node| quantity::seconds(node, PROBE_S)),
        startup_s: section.read("startup", m, |node| quantity::seconds(node, STARTUP_S)),
        failures: section.read("failures", m, |node| quantity::whole(node, FAILURES)),
        ok: section.read("ok", m, statuses),
        liveness: section.read("liveness", m, text::flag),
    };
    if let (Some(true), None, Some(at)) = (config.liveness, &config.path, liveness_at) {
        let fault = Fault::invalid("needs `path` as well", "add path = \"/healthz\", or set it to false");
        m.add(&section.path_of("liveness"), at, fault);
    }
    section.finish(m, &[("method", "remove it: probes use GET"), ("headers", "remove it")]);
    config
}

fn port(node: &Node) -> Result<u16, Fault> {
    let port = quantity::whole(node, 1..=65535)?;
    Ok(u16::try_from(port).expect("the range ends where u16 does"))
}

fn signal(node: &Node) -> Result<String, Fault> {
    let words = SIGNALS.map(|signal| (signal, signal));
    let short = SIGNALS.map(|signal| (&signal[3..], signal));
    let all: Vec<_> = words.into_iter().chain(short).collect();
    text::word(node, &all, &[]).map(str::to_owned)
}

/// Reads `200` or `"200-399"`.
fn statuses(node: &Node) -> Result<(u16, u16), Fault> {
    let range = match &node.value {
        Value::Integer(Some(one), _) => u16::try_from(*one).ok().map(|one| (one, one)),
        Value::Text(text) => {
            let (low, high) = text.split_once('-').unwrap_or((text, text));
            low.trim().parse().ok().zip(high.trim().parse().ok())
        }
        _ => None,
    };
    range.filter(|(low, high)| figures::are_statuses(*low, *high)).ok_or_else(|| {
        let seen = match &node.value {
            Value::Text(text) => shown(text),
            other => other.shown(),
        };
        Fault::invalid(format!("is {seen}, no range of HTTP statuses"), "write 200 or \"200-399\"")
    })
}
