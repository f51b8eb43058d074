//! From the files of a source to a plan: pure, one file a language.
//!
//! Order: what the settings say, then a Dockerfile, then languages, then plain files. What can't be
//! decided is refused with the candidates named; nothing is guessed.

mod dockerfile;
mod node;
mod procfile;
mod python;
mod settings;
mod static_site;
pub(crate) mod versions;

use std::collections::BTreeMap;

use panda_domain::failure::FailureCode;
use panda_domain::manifest::{Builder, DEFAULT_PORT};
use panda_domain::names::ProcessName;

use crate::plan::{BuildPlan, PlanFailure, PlanKind, Sourced};
use crate::settings::BuildSettings;
use crate::source::SourceView;

/// A language's own part of the plan, before processes of Procfile and settings are put in.
pub(crate) struct Found {
    pub(crate) kind: PlanKind,
    /// The start command that the language suggests, argv.
    pub(crate) start: Option<Sourced<Vec<String>>>,
    pub(crate) base_images: Vec<String>,
    pub(crate) warnings: Vec<String>,
    /// What to do when there is no start command.
    pub(crate) start_hint: &'static str,
    /// The port that the source asks for.
    pub(crate) port: Option<Sourced<u16>>,
}

pub(crate) fn detect(source: &SourceView, settings: &BuildSettings) -> Result<BuildPlan, PlanFailure> {
    settings::check(settings)?;
    let Some(source) = source.inside(&settings.root) else {
        let cause = format!("the source has no directory `{}`", settings.root);
        return Err(PlanFailure::new(FailureCode::P112, cause, "correct build.root in panda.toml"));
    };
    let found = match settings.builder {
        Builder::Dockerfile => dockerfile::detect(&source, settings)?,
        Builder::Static => static_site::detect(&source, settings)?,
        Builder::Node => node::detect(&source, settings)?,
        Builder::Python => python::detect(&source, settings)?,
        Builder::Auto => automatic(&source, settings)?,
    };
    complete(found, &source, settings)
}

fn automatic(source: &SourceView, settings: &BuildSettings) -> Result<Found, PlanFailure> {
    if dockerfile::is_one(source, settings) {
        return dockerfile::detect(source, settings);
    }
    match (python::is_one(source), node::is_one(source)) {
        (None, Some(_)) => node::detect(source, settings),
        (Some(_), None) => python::detect(source, settings),
        (Some(python), Some(node)) => decide(source, settings, &python, &node),
        (None, None) if static_site::is_one(source, settings) => static_site::detect(source, settings),
        (None, None) => Err(nothing(source)),
    }
}

/// Python beside a package.json is a Python app whose page is built by Node, or two apps: only a start
/// command of Node's tells.
fn decide(
    source: &SourceView,
    settings: &BuildSettings,
    python: &str,
    node: &str,
) -> Result<Found, PlanFailure> {
    let served_by_node = node::has_server(source);
    let served_by_python = python::has_server(source);
    match (served_by_python, served_by_node) {
        (true, false) => {
            let mut found = python::detect(source, settings)?;
            let warning = format!("`{node}` is not built; commit what it builds, or write a Dockerfile");
            found.warnings.push(warning);
            Ok(found)
        }
        (false, true) => node::detect(source, settings),
        _ => Err(PlanFailure::new(
            FailureCode::P102,
            format!("the source could be Python (`{python}`) or Node.js (`{node}`)"),
            "set builder = \"python\" or builder = \"node\" under [build] in panda.toml",
        )),
    }
}

fn nothing(source: &SourceView) -> PlanFailure {
    const NOT_YET: [(&str, &str); 8] = [
        ("go.mod", "Go"),
        ("Cargo.toml", "Rust"),
        ("Gemfile", "Ruby"),
        ("composer.json", "PHP"),
        ("pom.xml", "Java"),
        ("build.gradle", "Java"),
        ("mix.exs", "Elixir"),
        ("deno.json", "Deno"),
    ];
    let other = NOT_YET.iter().find(|(file, _)| source.has_file(file));
    let cause = match other {
        Some((file, language)) => format!("`{file}` looks like {language}, which needs a Dockerfile so far"),
        None if source.list(".").is_empty() => "the source is empty".to_owned(),
        None => {
            "no package.json, requirements.txt, pyproject.toml, index.html or Dockerfile was found".to_owned()
        }
    };
    PlanFailure::new(
        FailureCode::P101,
        cause,
        "add a Dockerfile, or set build.root in panda.toml to the directory that holds the app",
    )
}

fn complete(found: Found, source: &SourceView, settings: &BuildSettings) -> Result<BuildPlan, PlanFailure> {
    let procfile = procfile::read(source)?;
    let mut processes: BTreeMap<ProcessName, Sourced<Vec<String>>> = procfile.processes;
    let web = ProcessName::web();
    if let Some(start) = found.start
        && !processes.contains_key(&web)
        && (processes.is_empty() || !matches!(found.kind, PlanKind::Dockerfile(_)))
    {
        processes.insert(web.clone(), start);
    }
    for (name, argv) in &settings.commands {
        let name = name.parse::<ProcessName>().map_err(|error| {
            PlanFailure::new(FailureCode::P101, error.to_string(), "rename the process in panda.toml")
        })?;
        processes.insert(name, Sourced::new(argv.clone(), "panda.toml"));
    }
    let own_command = matches!(found.kind, PlanKind::Dockerfile(_));
    if processes.is_empty() && !own_command {
        return Err(PlanFailure::new(FailureCode::P101, "no start command was found", found.start_hint));
    }
    let port = settings.port.map(|port| Sourced::new(port, "panda.toml"));
    let port =
        port.or(found.port).unwrap_or_else(|| Sourced::new(DEFAULT_PORT, "default; the app gets it as PORT"));
    Ok(BuildPlan {
        kind: found.kind,
        root: settings.root.clone(),
        processes,
        release: procfile.release,
        port,
        base_images: found.base_images,
        warnings: found.warnings,
        packages: settings.packages.clone(),
        args: settings.args.keys().cloned().collect(),
        secrets: settings.secrets.clone(),
        dockerignore: source.read(".dockerignore"),
    })
}
