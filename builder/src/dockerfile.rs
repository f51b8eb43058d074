//! Dockerfiles: what we generate, and what we let users' own do.
//!
//! Text of users gets into a generated Dockerfile only as JSON (commands) or after a check of its
//! characters (paths, names): none of it can become an instruction.

mod node;
pub(crate) mod policy;
mod python;
mod static_site;
mod text;

use crate::plan::{BuildPlan, PlanKind};

pub(crate) use static_site::nginx_command;

/// The user that generated images run as, by number, so that Kubernetes can tell it isn't root.
pub(crate) const USER: &str = "10001:10001";
/// Gives that user what it is to own: many apps write beside their source.
const OWNED: &str = "--chown=10001:10001";
/// A build argument that ties cached results to one app and one version of its secrets, where a step uses
/// secrets; any Dockerfile may declare it.
pub(crate) const SCOPE_ARGUMENT: &str = "PANDA_BUILD_SCOPE";

/// Never of use in an image that we generate.
const IGNORED: [&str; 17] = [
    ".git",
    ".gitignore",
    ".dockerignore",
    ".pandaignore",
    ".github",
    "Dockerfile",
    "Procfile",
    "Staticfile",
    "panda.toml",
    ".panda",
    "**/node_modules",
    "**/__pycache__",
    "**/.venv",
    "**/venv",
    "**/.DS_Store",
    "**/.env",
    "**/.env.local",
];

/// A Dockerfile ready to be built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipe {
    /// Its text.
    pub dockerfile: String,
    /// What it doesn't want of the context; `None` leaves that to the context's own `.dockerignore`.
    pub dockerignore: Option<String>,
    /// The stage to build; `None` builds the last.
    pub target: Option<String>,
}

/// Writes the Dockerfile for a plan; equal plans give equal texts.
pub(crate) fn recipe(plan: &BuildPlan) -> Recipe {
    let dockerfile = match &plan.kind {
        PlanKind::Node(node) => node::write(plan, node),
        PlanKind::Python(python) => python::write(plan, python),
        PlanKind::Static(files) => static_site::write(plan, files),
        PlanKind::Dockerfile(own) => {
            return Recipe {
                dockerfile: own.text.clone(),
                dockerignore: own.dockerignore.clone(),
                target: own.target.clone(),
            };
        }
    };
    Recipe { dockerfile, dockerignore: Some(ignore_file(plan)), target: None }
}

fn ignore_file(plan: &BuildPlan) -> String {
    let mut out = String::new();
    if let Some(own) = &plan.dockerignore {
        out.push_str(own.trim_end());
        out.push('\n');
    }
    for line in IGNORED {
        out.extend([line, "\n"]);
    }
    out
}
