//! `panda.toml`: parsed once, with every mistake named at once.
//!
//! Everything in the file is optional, so every field can tell "not said" from a value; defaults come in
//! when a release is made ([`Manifest::to_release_config`]). Pure: text in, types or mistakes out.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::names::{AppName, EnvKey, EnvironmentName, ProcessName};
use crate::release::FileContent;

mod apply;
mod bounds;
mod build;
mod command;
mod deploy;
mod error;
mod figures;
mod guard;
mod parts;
mod process;
mod quantity;
mod section;
mod suggest;
mod text;
mod tree;

pub use apply::{DEFAULT_PORT, DetectedProcesses, Overrides, main_process};
pub use bounds::{OutOfBounds, check_formation, check_release, check_source};
pub use build::{BuildConfig, Builder};
pub use command::{InvalidCommand, argv_of};
pub use deploy::{DeployConfig, HttpSettings};
pub use error::{ManifestErrors, Mistake, MistakeKind};
pub use parts::DomainConfig;
pub use process::{HealthConfig, ProcessConfig, ShutdownConfig};
pub use quantity::{parse_bytes, parse_cpu, parse_duration};
pub use suggest::closest;
pub use tree::MAX_BYTES;

use error::Fault;
use section::{Later, Mistakes, Section};
use tree::{Lines, Table, Value};

/// The file's name in a source.
pub const FILE_NAME: &str = "panda.toml";

/// The most environments with overrides.
const MAX_ENVIRONMENTS: usize = 20;

/// What a `panda.toml` says; `None` and empty mean "not said".
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Manifest {
    /// The app's name.
    pub app: Option<AppName>,
    /// Source → image.
    pub build: BuildConfig,
    /// Image → live.
    pub deploy: DeployConfig,
    /// The processes that the file names.
    pub processes: BTreeMap<ProcessName, ProcessConfig>,
    /// Plain variables.
    pub env: BTreeMap<EnvKey, String>,
    /// Mounted files: path → content.
    pub files: BTreeMap<String, FileContent>,
    /// Wanted domains.
    pub domains: Vec<DomainConfig>,
    /// Requests.
    pub http: HttpSettings,
    /// The whole manifest as it is for each environment that has overrides.
    pub environments: BTreeMap<EnvironmentName, Manifest>,
}

const LATER: &[Later] = &[
    ("databases", "run the database elsewhere and set its address: panda env set --secret DATABASE_URL"),
    ("cron", "remove it; a worker process can keep its own timer meanwhile"),
    ("volumes", "remove it: keep files in an object store, and data in a database outside"),
    ("preview", "remove it"),
    ("services", "make each service an app of its own; apps reach each other by name"),
    ("regions", "remove it: apps run where the server is"),
];

/// Parses a file, or names every mistake in it.
pub fn parse(text: &str) -> Result<Manifest, ManifestErrors> {
    if text.len() > MAX_BYTES {
        let cause = format!("the file has {} bytes, more than {MAX_BYTES}", text.len());
        let fix = "move large texts into files of the repository".to_owned();
        let (field, kind) = (String::new(), MistakeKind::TooLarge);
        return Err(ManifestErrors(vec![Mistake { field, line: 1, column: 1, kind, cause, fix }]));
    }
    let lines = Lines::of(text);
    let (table, broken) = tree::read(text, &lines);
    let only_duplicates = broken.iter().all(|mistake| mistake.cause == "this key is already set");
    if !only_duplicates {
        return Err(ManifestErrors::sorted(broken));
    }
    let mut mistakes = Mistakes::new(&lines);
    mistakes.found = broken;
    let mut manifest = read(&table, &mut mistakes, true);
    manifest.environments = environments(&table, &mut mistakes);
    if mistakes.found.is_empty() { Ok(manifest) } else { Err(ManifestErrors::sorted(mistakes.found)) }
}

/// Returns the commented file that `panda init` writes.
pub fn example() -> &'static str {
    include_str!("manifest/example.toml")
}

impl Manifest {
    /// Returns what holds in this environment: its overrides laid over the rest. `preview/pr-1` takes the
    /// overrides of `preview` unless it has its own.
    #[must_use]
    pub fn for_environment(&self, environment: &EnvironmentName) -> Self {
        let family = environment.as_str().split('/').next().and_then(|first| first.parse().ok());
        let found = self
            .environments
            .get(environment)
            .or_else(|| family.and_then(|family: EnvironmentName| self.environments.get(&family)));
        found.cloned().unwrap_or_else(|| Self { environments: BTreeMap::new(), ..self.clone() })
    }
}

/// Reads all tables but `[environments]`.
fn read(table: &Table, mistakes: &mut Mistakes<'_>, whole_file: bool) -> Manifest {
    let m = mistakes;
    let mut root = Section::root(table);
    root.read("schema", m, |node| match node.value {
        Value::Integer(Some(1), _) => Ok(()),
        _ => Err(Fault::invalid(
            format!("is {}", node.value.shown()),
            "this version of Panda knows schema = 1",
        )),
    });
    let app = root.read("app", m, text::name);
    let build = root.section("build", m).map(|section| build::read(section, m));
    let deploy = root.section("deploy", m).map(|section| deploy::read(section, m));
    let processes = root.section("processes", m).map(|section| process::read_all(&section, m));
    let env = root.section("env", m).map(|section| parts::env(&section, m));
    let files = root.section("files", m).map(|section| parts::files(&section, m));
    let domains = root.node("domains").map(|node| parts::domains(node, m));
    let http = root.section("http", m).map(|section| deploy::read_http(section, m));
    if whole_file {
        root.node("environments");
    }
    root.finish(m, LATER);
    Manifest {
        app,
        build: build.unwrap_or_default(),
        deploy: deploy.unwrap_or_default(),
        processes: processes.unwrap_or_default(),
        env: env.unwrap_or_default(),
        files: files.unwrap_or_default(),
        domains: domains.unwrap_or_default(),
        http: http.unwrap_or_default(),
        environments: BTreeMap::new(),
    }
}

/// Reads every environment's overrides laid over the base, and keeps the mistakes that are its own.
fn environments(table: &Table, mistakes: &mut Mistakes<'_>) -> BTreeMap<EnvironmentName, Manifest> {
    let mut read_ones = BTreeMap::new();
    let Some((_, node)) = table.get("environments") else { return read_ones };
    let Some(section) = Section::open("environments".to_owned(), node, mistakes) else { return read_ones };
    let mut base = table.clone();
    base.remove("environments");
    for (count, (key, at, node)) in section.entries().enumerate() {
        let path = section.path_of(key);
        if count == MAX_ENVIRONMENTS {
            let cause = format!("is one of more than {MAX_ENVIRONMENTS} environments");
            mistakes.add(&path, at, Fault::invalid(cause, "put what they share into one"));
            break;
        }
        let name = key.parse::<EnvironmentName>();
        if let Err(error) = &name {
            mistakes.add(&path, at, text::name_fault(error));
        }
        let Some(over) = Section::open(path.clone(), node, mistakes) else { continue };
        let mut over_table = Table::new();
        for (key, at, node) in over.entries() {
            if matches!(key.as_str(), "app" | "schema") {
                let fault =
                    Fault::invalid("can't differ between environments", "set it at the top of the file");
                mistakes.add(&over.path_of(key), at, fault);
            } else {
                over_table.insert(key.clone(), (at, node.clone()));
            }
        }
        let known: Vec<(usize, usize)> = mistakes.found.iter().map(|m| (m.line, m.column)).collect();
        let before = mistakes.found.len();
        let manifest = read(&tree::merge(&base, &over_table), mistakes, false);
        let own = mistakes.found.split_off(before);
        mistakes.found.extend(own.into_iter().filter(|m| !known.contains(&(m.line, m.column))).map(|m| {
            let field = format!("{path}.{}", m.field);
            Mistake { field, ..m }
        }));
        if let Ok(name) = name {
            read_ones.insert(name, manifest);
        }
    }
    read_ones
}
