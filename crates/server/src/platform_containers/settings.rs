//! What `panda-server install` was told, kept so that it can run again without being told.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::config::DEFAULT_FILE;

/// The choices that concern the containers and not the server in them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Installation {
    /// Prefix of the containers' names.
    pub(crate) name: String,
    /// The server's configuration.
    pub(crate) config_file: PathBuf,
    /// The server's image before the last upgrade.
    pub(crate) previous_server: Option<String>,
    /// Images.
    pub(crate) images: Images,
    /// Limits of builds.
    pub(crate) builder: BuilderLimits,
}

/// The images that the containers are made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Images {
    pub(crate) server: String,
    pub(crate) edge: String,
    pub(crate) registry: String,
    pub(crate) buildkitd: String,
}

/// What builds may use together; their memory is the server's `builder.memory_mib`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct BuilderLimits {
    /// Thousandths of a core.
    pub(crate) cpu_millis: u32,
    /// Processes and threads.
    pub(crate) pids: i64,
    /// Steps at a time.
    pub(crate) parallel: u32,
    /// Size of the cache.
    pub(crate) cache_mb: u64,
    /// Mirrors by plain HTTP, such as `docker.io=172.17.0.1:5000`.
    pub(crate) mirrors: Vec<String>,
    /// Name servers of build steps; empty takes the host's.
    pub(crate) dns: Vec<String>,
}

impl Default for Installation {
    fn default() -> Self {
        Self {
            name: "panda".to_owned(),
            config_file: PathBuf::from(DEFAULT_FILE),
            previous_server: None,
            images: Images::default(),
            builder: BuilderLimits::default(),
        }
    }
}

impl Default for Images {
    fn default() -> Self {
        let version = env!("CARGO_PKG_VERSION");
        Self {
            server: format!("panda-server:{version}"),
            edge: format!("panda-edge:{version}"),
            registry: "registry:2".to_owned(),
            buildkitd: "moby/buildkit:v0.31.2".to_owned(),
        }
    }
}

impl Default for BuilderLimits {
    fn default() -> Self {
        Self {
            cpu_millis: 2000,
            pids: 1024,
            parallel: 2,
            cache_mb: 10_240,
            mirrors: Vec::new(),
            dns: Vec::new(),
        }
    }
}

impl Installation {
    /// Returns where it is kept.
    pub(crate) fn file(data_dir: &Path) -> PathBuf {
        data_dir.join("install.toml")
    }

    /// Reads what an earlier run kept, `None` if there was none.
    pub(crate) fn load(data_dir: &Path) -> Result<Option<Self>> {
        let path = Self::file(data_dir);
        match std::fs::read_to_string(&path) {
            Ok(text) => {
                let kept = toml::from_str(&text).with_context(|| format!("read `{}`", path.display()))?;
                Ok(Some(kept))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("read `{}`", path.display())),
        }
    }

    /// Keeps it, whole or not at all.
    pub(crate) fn save(&self, data_dir: &Path) -> Result<()> {
        let text = toml::to_string(self).expect("plain tables are TOML");
        let note = "# Kept by `panda-server install` and `upgrade`; change it by their flags.\n";
        write_whole(&Self::file(data_dir), &format!("{note}{text}"))
    }
}

/// Replaces a file by one that is wholly there, readable by its owner alone.
pub(crate) fn write_whole(path: &Path, text: &str) -> Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let temporary = path.with_extension("new");
    let write = || -> std::io::Result<()> {
        let mut options = std::fs::OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)
    };
    write().with_context(|| format!("write `{}`", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_kept_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Installation::load(folder.path()).unwrap(), None);
        let mut kept = Installation { name: "panda-demo".into(), ..Installation::default() };
        kept.builder.mirrors = vec!["docker.io=172.17.0.1:5000".into()];
        kept.save(folder.path()).unwrap();
        assert_eq!(Installation::load(folder.path()).unwrap(), Some(kept));
    }
}
