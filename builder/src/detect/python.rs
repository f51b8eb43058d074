//! Python: pip, uv and Poetry; Django, Flask, FastAPI and plain programs.

mod manager;
mod start;

use panda_domain::failure::FailureCode;

use super::node::first_line;
use super::{Found, versions};
use crate::plan::{PlanFailure, PlanKind, PythonPlan, Sourced};
use crate::settings::BuildSettings;
use crate::source::SourceView;

const START_HINT: &str =
    "add a Procfile with `web: command`, or commands.web under [processes] in panda.toml";

/// Returns the file that makes this a Python source.
pub(super) fn is_one(source: &SourceView) -> Option<String> {
    const FILES: [&str; 6] =
        ["requirements.txt", "pyproject.toml", "uv.lock", "poetry.lock", "manage.py", "Pipfile"];
    FILES.into_iter().chain(start::PROGRAMS).find(|file| source.has_file(file)).map(str::to_owned)
}

/// Tells whether there is a Python program to start.
pub(super) fn has_server(source: &SourceView) -> bool {
    source.has_file("manage.py") || start::PROGRAMS.iter().any(|file| source.has_file(file))
}

pub(super) fn detect(source: &SourceView, settings: &BuildSettings) -> Result<Found, PlanFailure> {
    let project = Project::read(source)?;
    let mut warnings = Vec::new();
    let version = version(source, &project, &mut warnings)?;
    let tools = manager::detect(source, &project, settings, &mut warnings)?;
    let start = if settings.commands.contains_key("web") || names_web(source) {
        start::Start::default()
    } else {
        start::detect(source, &project)?
    };
    for added in &start.added {
        warnings.push(format!(
            "`{added}` is not among the requirements; it is added at whatever version is newest"
        ));
    }
    let base = versions::python_image(&version.value);
    let build = match (&settings.command, start.collects_static) {
        (Some(command), _) => Some(Sourced::new(command.clone(), "panda.toml")),
        (None, true) => {
            Some(Sourced::new("python manage.py collectstatic --noinput".to_owned(), "STATIC_ROOT"))
        }
        (None, false) => None,
    };
    let plan = PythonPlan {
        version,
        package_manager: tools.manager,
        framework: start.framework,
        manifests: tools.manifests,
        install: tools.install,
        added: start.added,
        install_project: tools.install_project,
        build,
    };
    Ok(Found {
        kind: PlanKind::Python(plan),
        start: start.argv,
        base_images: vec![base],
        warnings,
        start_hint: START_HINT,
        port: None,
    })
}

fn names_web(source: &SourceView) -> bool {
    source.read("Procfile").is_some_and(|text| text.lines().any(|line| line.trim_start().starts_with("web:")))
}

/// What the project's files say, whoever wrote them.
pub(super) struct Project {
    pyproject: toml::Table,
    requirements: String,
}

impl Project {
    fn read(source: &SourceView) -> Result<Self, PlanFailure> {
        let text = source.read("pyproject.toml").unwrap_or_default();
        let pyproject = text.parse().map_err(|error: toml::de::Error| {
            let cause = format!("pyproject.toml can't be read: {}", error.message());
            PlanFailure::new(FailureCode::P112, cause, "correct the line")
        })?;
        Ok(Self { pyproject, requirements: source.read("requirements.txt").unwrap_or_default() })
    }

    /// Looks up a value such as `["project", "requires-python"]`.
    fn get(&self, path: &[&str]) -> Option<&toml::Value> {
        let (first, rest) = path.split_first()?;
        rest.iter().try_fold(self.pyproject.get(*first)?, |value, key| value.get(key))
    }

    fn text(&self, path: &[&str]) -> Option<&str> {
        self.get(path).and_then(toml::Value::as_str)
    }

    /// Tells whether a package is among the direct requirements.
    fn requires(&self, name: &str) -> bool {
        let listed = self.get(&["project", "dependencies"]).and_then(toml::Value::as_array);
        let listed = listed.into_iter().flatten().filter_map(toml::Value::as_str);
        let poetry = self.get(&["tool", "poetry", "dependencies"]).and_then(toml::Value::as_table);
        let mut names = listed.chain(self.requirements.lines()).map(requirement_name);
        names.any(|required| required == name)
            || poetry.is_some_and(|table| table.keys().any(|key| requirement_name(key) == name))
    }
}

/// Returns the normalised name out of `Flask[async]>=3 ; python_version > "3.8"`.
fn requirement_name(requirement: &str) -> String {
    let end = requirement.find(|c: char| !(c.is_ascii_alphanumeric() || "-_.".contains(c)));
    requirement[..end.unwrap_or(requirement.len())].to_ascii_lowercase().replace(['_', '.'], "-")
}

fn version(
    source: &SourceView,
    project: &Project,
    warnings: &mut Vec<String>,
) -> Result<Sourced<String>, PlanFailure> {
    let file = source.read(".python-version").map(|text| (first_line(&text), ".python-version"));
    let requires =
        || project.text(&["project", "requires-python"]).map(|text| (text.to_owned(), "requires-python"));
    let poetry = || {
        let text = project.text(&["tool", "poetry", "dependencies", "python"])?;
        Some((text.to_owned(), "tool.poetry.dependencies"))
    };
    let runtime = || {
        let text = first_line(&source.read("runtime.txt")?);
        Some((text.strip_prefix("python-").unwrap_or(&text).to_owned(), "runtime.txt"))
    };
    let said = file.or_else(runtime).or_else(requires).or_else(poetry).filter(|(text, _)| !text.is_empty());
    let Some((specifier, from)) = said else {
        return Ok(Sourced::new(format!("3.{}", versions::PYTHON_DEFAULT), "default"));
    };
    let Some(minor) = versions::python_for(&specifier) else {
        let mut known = versions::PYTHON;
        known.sort_unstable();
        let known = known.map(|minor| format!("3.{minor}")).join(", ");
        let cause = format!("Python `{specifier}` ({from}) isn't to be had; there are {known}");
        return Err(PlanFailure::new(FailureCode::P105, cause, "change it, or write a Dockerfile"));
    };
    if specifier.starts_with("3.") && specifier.split('.').count() == 3 {
        warnings.push(format!("{from} asks for Python {specifier}; the newest 3.{minor} is used"));
    }
    Ok(Sourced::new(format!("3.{minor}"), format!("{specifier} in {from}")))
}
