//! Python: requirements in a virtual environment of their own layer, the source after them.

use super::text::{Text, cache, secrets};
use super::{OWNED, USER};
use crate::detect::versions::python_image;
use crate::plan::{BuildPlan, PythonManager, PythonPlan};

/// The environment that holds the requirements; its tools come first on the path.
const ENVIRONMENT: &str = "/opt/venv";

pub(super) fn write(plan: &BuildPlan, python: &PythonPlan) -> String {
    let mut text = Text::new("a Python app");
    let image = python_image(&python.version.value);
    text.line(format!("FROM {image} AS build"));
    text.line("WORKDIR /app").packages(&plan.packages).args(plan);
    text.line("ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore PYTHONDONTWRITEBYTECODE=1");
    manager(&mut text, &python.package_manager.value);
    text.line(format!("RUN python -m venv {ENVIRONMENT}"));
    text.line(format!("ENV VIRTUAL_ENV={ENVIRONMENT} PATH={ENVIRONMENT}/bin:$PATH"));
    install(&mut text, plan, python);
    text.blank();
    text.line(format!("FROM {image}"));
    text.packages(&plan.packages);
    text.line(format!(
        "ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PYTHONFAULTHANDLER=1 HOST=0.0.0.0 PORT={} PATH={ENVIRONMENT}/bin:$PATH",
        plan.port.value
    ));
    text.line(format!("COPY --from=build {ENVIRONMENT} {ENVIRONMENT}"));
    if python.build.is_some() {
        text.line(format!("COPY --from=build {OWNED} /app /app"));
    } else {
        text.copy(OWNED, &["."], "/app");
    }
    text.line("WORKDIR /app");
    text.line(format!("USER {USER}"));
    text.line(format!("EXPOSE {}", plan.port.value));
    let mut processes = plan.processes.iter();
    let web = processes.clone().find(|(name, _)| name.is_web()).or_else(|| processes.next());
    if let Some((_, argv)) = web {
        text.cmd(&argv.value);
    }
    text.finish()
}

fn install(text: &mut Text, plan: &BuildPlan, python: &PythonPlan) {
    let mounts = || [vec![manager_cache(&python.package_manager.value)], secrets(plan)].concat();
    let mut copied = false;
    if let Some(install) = &python.install {
        copied = python.manifests.is_empty();
        let files: Vec<&str> = python.manifests.iter().map(String::as_str).collect();
        text.copy("", if copied { &["."] } else { &files }, "./");
        text.run(&mounts(), &install.value);
    }
    if !python.added.is_empty() {
        text.run(
            &[cache("pip", "/root/.cache/pip")],
            &format!("{ENVIRONMENT}/bin/pip install {}", python.added.join(" ")),
        );
    }
    if !copied && (python.install_project.is_some() || python.build.is_some()) {
        text.copy("", &["."], "./");
    }
    if let Some(project) = &python.install_project {
        text.run(&mounts(), project);
    }
    if let Some(build) = &python.build {
        text.run(&secrets(plan), &build.value);
    }
}

/// Installs the package manager beside the environment, so that it doesn't get into the image.
fn manager(text: &mut Text, manager: &PythonManager) {
    let pip = cache("pip", "/root/.cache/pip");
    let requirement = match manager {
        PythonManager::Pip => return,
        PythonManager::Uv { requirement } => {
            text.line(format!(
                "ENV UV_PROJECT_ENVIRONMENT={ENVIRONMENT} UV_LINK_MODE=copy UV_PYTHON_DOWNLOADS=never UV_COMPILE_BYTECODE=1"
            ));
            requirement
        }
        PythonManager::Poetry { requirement } => {
            text.line("ENV POETRY_NO_INTERACTION=1");
            text.line(format!("RUN --mount={pip} pip install \"{requirement}\" poetry-plugin-export"));
            return;
        }
    };
    text.line(format!("RUN --mount={pip} pip install \"{requirement}\""));
}

fn manager_cache(manager: &PythonManager) -> String {
    match manager {
        PythonManager::Pip | PythonManager::Poetry { .. } => cache("pip", "/root/.cache/pip"),
        PythonManager::Uv { .. } => cache("uv", "/root/.cache/uv"),
    }
}
