//! What a person may decide about a build; the caller fills it from panda.toml, flags and the app.

use std::collections::BTreeMap;

use panda_domain::manifest::{BuildConfig, Builder};
use serde::{Deserialize, Serialize};

/// Settings of one build; the default is "find out everything".
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BuildSettings {
    /// What makes the image.
    pub builder: Builder,
    /// The directory inside the source that is built, `.` for all of it.
    pub root: String,
    /// Path of the Dockerfile from `root`; `None` is `Dockerfile`.
    pub dockerfile: Option<String>,
    /// The Dockerfile's stage; `None` is the last.
    pub target: Option<String>,
    /// The command that installs dependencies, one line of shell; `None` is detected.
    pub install: Option<String>,
    /// The command that builds, one line of shell; `None` is detected.
    pub command: Option<String>,
    /// The directory that the build leaves and that is served as static files, from `root`.
    pub output: Option<String>,
    /// Debian packages to install in the image.
    pub packages: Vec<String>,
    /// Build arguments (not secret).
    pub args: BTreeMap<String, String>,
    /// Names of secrets that build steps get as environment variables, never as layers.
    pub secrets: Vec<String>,
    /// Start commands by process, argv; they win over a Procfile and detection.
    pub commands: BTreeMap<String, Vec<String>>,
    /// The port of `web`; `None` is the image's or 8080.
    pub port: Option<u16>,
    /// Whether results of earlier builds may be used.
    pub cache: bool,
    /// How long the build may take, in seconds.
    pub timeout_s: u32,
}

impl Default for BuildSettings {
    fn default() -> Self {
        Self {
            builder: Builder::Auto,
            root: ".".to_owned(),
            dockerfile: None,
            target: None,
            install: None,
            command: None,
            output: None,
            packages: Vec::new(),
            args: BTreeMap::new(),
            secrets: Vec::new(),
            commands: BTreeMap::new(),
            port: None,
            cache: true,
            timeout_s: 30 * 60,
        }
    }
}

impl From<&BuildConfig> for BuildSettings {
    /// Takes what the `[build]` section says, and the defaults for what it doesn't.
    fn from(config: &BuildConfig) -> Self {
        let default = Self::default();
        Self {
            builder: config.builder.unwrap_or(default.builder),
            root: config.root.clone().unwrap_or(default.root),
            dockerfile: config.dockerfile.clone(),
            target: config.target.clone(),
            install: config.install.clone(),
            command: config.command.clone(),
            output: config.output.clone(),
            args: config.args.clone(),
            secrets: config.secrets.iter().map(|key| key.as_str().to_owned()).collect(),
            cache: config.cache.unwrap_or(default.cache),
            timeout_s: config.timeout_s.unwrap_or(default.timeout_s),
            ..Self::default()
        }
    }
}
