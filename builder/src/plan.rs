//! The plan: what a build will do and why, readable before anything runs.

mod display;

use std::collections::BTreeMap;
use std::fmt;

use panda_domain::failure::{Failure, FailureCode};
use panda_domain::manifest::DetectedProcesses;
use panda_domain::names::ProcessName;
use serde::{Deserialize, Serialize};

use crate::detect;
use crate::dockerfile::{self, Recipe};
use crate::settings::BuildSettings;
use crate::source::SourceView;

/// Why no plan can be made: the failure that people read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.cause)]
pub struct PlanFailure(pub Box<Failure>);

impl PlanFailure {
    pub(crate) fn new(code: FailureCode, cause: impl Into<String>, fix: impl Into<String>) -> Self {
        Self(Box::new(Failure::new(code, cause, fix)))
    }
}

impl From<PlanFailure> for crate::failure::BuildFailure {
    fn from(failure: PlanFailure) -> Self {
        Self { failure: *failure.0, step: None, transient: false }
    }
}

/// A value and the file or rule that it comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sourced<T> {
    /// What was decided.
    pub value: T,
    /// Where it comes from, as in `.python-version`.
    pub from: String,
}

impl<T> Sourced<T> {
    pub(crate) fn new(value: T, from: impl Into<String>) -> Self {
        Self { value, from: from.into() }
    }
}

/// What a build will do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildPlan {
    /// What the source is, and what is particular to it.
    pub kind: PlanKind,
    /// The directory inside the source that is built.
    pub root: String,
    /// The command of each process, argv; a Dockerfile's own is not listed.
    pub processes: BTreeMap<ProcessName, Sourced<Vec<String>>>,
    /// The command that runs before a release, argv.
    pub release: Option<Sourced<Vec<String>>>,
    /// The port that `web` listens on.
    pub port: Sourced<u16>,
    /// Images that the result is based on.
    pub base_images: Vec<String>,
    /// What will work, but not as well as it could.
    pub warnings: Vec<String>,
    /// Debian packages to install.
    pub packages: Vec<String>,
    /// Names of build arguments.
    pub args: Vec<String>,
    /// Names of secrets that build steps get.
    pub secrets: Vec<String>,
    /// The source's own `.dockerignore`.
    pub dockerignore: Option<String>,
}

/// The kinds of source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "language", rename_all = "snake_case")]
pub enum PlanKind {
    /// A server in Node.js, or a page built by it.
    Node(NodePlan),
    /// A server in Python.
    Python(PythonPlan),
    /// Files that are served as they are.
    Static(StaticPlan),
    /// The user's own Dockerfile.
    Dockerfile(DockerfilePlan),
}

/// How a Node.js app is built.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodePlan {
    /// The major version.
    pub version: Sourced<String>,
    /// Who installs the dependencies.
    pub package_manager: Sourced<PackageManager>,
    /// What it is made with, as in `vite`.
    pub framework: Option<String>,
    /// Files that the installation needs; everything when empty.
    pub manifests: Vec<String>,
    /// The command that installs, a line of shell; `None` when there is nothing to install.
    pub install: Option<Sourced<String>>,
    /// The command that builds, a line of shell.
    pub build: Option<Sourced<String>>,
    /// The command that removes development dependencies after the build, a line of shell.
    pub prune: Option<String>,
    /// The directory whose files are served, instead of a Node process.
    pub serve: Option<StaticPlan>,
}

/// The package managers of Node.js.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case")]
pub enum PackageManager {
    /// Comes with Node.
    Npm,
    /// Installed at this version.
    Pnpm {
        /// A version or range that npm understands.
        version: String,
    },
    /// Yarn 1.
    YarnClassic {
        /// A version or range that npm understands.
        version: String,
    },
    /// Yarn 2 and later.
    YarnBerry {
        /// A version or range that npm understands.
        version: String,
    },
}

/// How a Python app is built.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PythonPlan {
    /// The version, as in `3.13`.
    pub version: Sourced<String>,
    /// Who installs the dependencies.
    pub package_manager: Sourced<PythonManager>,
    /// What it is made with, as in `flask`.
    pub framework: Option<String>,
    /// Files that the installation needs; everything when empty.
    pub manifests: Vec<String>,
    /// The command that installs, a line of shell; `None` when there is nothing to install.
    pub install: Option<Sourced<String>>,
    /// Packages that are missing for the start command, added by us.
    pub added: Vec<String>,
    /// The command that installs the project itself after the source is there, a line of shell.
    pub install_project: Option<String>,
    /// The command that builds, a line of shell.
    pub build: Option<Sourced<String>>,
}

/// The package managers of Python.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case")]
pub enum PythonManager {
    /// Comes with Python.
    Pip,
    /// Installed at this version.
    Uv {
        /// A requirement that pip understands, as in `uv>=0.5`.
        requirement: String,
    },
    /// Installed at this version.
    Poetry {
        /// A requirement that pip understands.
        requirement: String,
    },
}

/// A directory of files to serve.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StaticPlan {
    /// The directory, from the root.
    pub directory: Sourced<String>,
    /// Whether unknown paths get `index.html`, as single-page apps need; else `404.html` with status 404.
    pub fallback: bool,
}

/// The user's Dockerfile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DockerfilePlan {
    /// Its path from the root.
    pub path: String,
    /// Its text.
    pub text: String,
    /// The stage to build.
    pub target: Option<String>,
    /// The ignore file beside it, which counts instead of `.dockerignore`.
    pub dockerignore: Option<String>,
}

/// A Dockerfile and its ignore file, to be kept in the source from now on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ejected {
    /// Text for `Dockerfile`.
    pub dockerfile: String,
    /// Text for `.dockerignore`.
    pub dockerignore: String,
}

/// Decides how this source becomes an image. Reads a few files, changes nothing, asks nobody.
pub fn plan(source: &SourceView, settings: &BuildSettings) -> Result<BuildPlan, PlanFailure> {
    detect::detect(source, settings)
}

impl BuildPlan {
    /// Returns the Dockerfile that carries out this plan; equal plans give equal texts.
    pub fn recipe(&self) -> Recipe {
        dockerfile::recipe(self)
    }

    /// Returns the files with which the source builds the same image without detection.
    pub fn eject(&self) -> Ejected {
        let recipe = self.recipe();
        let dockerignore = recipe.dockerignore.or_else(|| self.dockerignore.clone()).unwrap_or_default();
        Ejected { dockerfile: recipe.dockerfile, dockerignore }
    }

    /// Returns what a release takes from detection: commands and port.
    pub fn detected_processes(&self) -> DetectedProcesses {
        let web = ProcessName::web();
        let mut processes: BTreeMap<_, _> = self
            .processes
            .iter()
            .map(|(name, argv)| {
                (name.clone(), (Some(argv.value.clone()), (*name == web).then_some(self.port.value)))
            })
            .collect();
        if processes.is_empty() {
            processes.insert(web, (None, Some(self.port.value)));
        }
        DetectedProcesses { processes, release_command: self.release.as_ref().map(|argv| argv.value.clone()) }
    }
}

impl fmt::Display for PackageManager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Npm => f.write_str("npm"),
            Self::Pnpm { version } => write!(f, "pnpm {version}"),
            Self::YarnClassic { version } | Self::YarnBerry { version } => write!(f, "yarn {version}"),
        }
    }
}

impl fmt::Display for PythonManager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pip => f.write_str("pip"),
            Self::Uv { requirement } | Self::Poetry { requirement } => f.write_str(requirement),
        }
    }
}
