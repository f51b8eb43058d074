//! What a deployment was accepted with: frozen, so that a later change of file, env or scale can't reach into it.

use serde::{Deserialize, Serialize};

use crate::formation::Formation;
use crate::manifest::{self, Manifest, ManifestErrors, Overrides};
use crate::names::EnvironmentName;
use crate::release::ReleaseConfig;

/// The frozen wishes of one deployment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrozenRequest {
    /// The text of `panda.toml` as it was accepted; it parsed then and parses the same way now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<String>,
    /// Replicas of the main process, from the command line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<u32>,
    /// Port of `web`, from the command line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Build even if the same source was built before, and without caches.
    #[serde(default)]
    pub no_cache: bool,
}

impl FrozenRequest {
    /// Returns the file's wishes for one environment; empty when there is no file.
    pub fn manifest(&self, environment: &EnvironmentName) -> Result<Manifest, ManifestErrors> {
        match &self.manifest {
            Some(text) => Ok(manifest::parse(text)?.for_environment(environment)),
            None => Ok(Manifest::default()),
        }
    }

    /// Returns what the command line says.
    pub fn overrides(&self) -> Overrides {
        Overrides { replicas: self.replicas, port: self.port }
    }

    /// Returns the formation after this deployment.
    pub fn formation(&self, manifest: &Manifest, config: &ReleaseConfig, current: &Formation) -> Formation {
        manifest.to_formation(current, config, &self.overrides())
    }
}
