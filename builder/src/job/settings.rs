//! From `panda.toml` and flags to what the planner takes, and the key under which a build is known.

use panda_domain::manifest::Manifest;
use panda_domain::request::FrozenRequest;
use sha2::{Digest, Sha256};

use crate::settings::BuildSettings;

/// Changes when planner or Dockerfiles change so that an old image wouldn't be made again.
const GENERATION: u32 = 1;

/// Returns what file and command line say about the build.
pub fn settings_of(manifest: &Manifest, frozen: &FrozenRequest) -> BuildSettings {
    let commands = manifest.processes.iter().filter_map(|(name, process)| {
        let argv = process.command.as_ref()?;
        Some((name.to_string(), argv.clone()))
    });
    let web = manifest.processes.iter().find(|(name, _)| name.is_web());
    BuildSettings {
        commands: commands.collect(),
        port: frozen.port.or_else(|| web.and_then(|(_, process)| process.port)),
        ..BuildSettings::from(&manifest.build)
    }
}

/// Returns the key of a build: the same source and settings give the same image. Builds that see secrets are only the same
/// with the same version of the env.
pub fn build_key(tree: &str, settings: &BuildSettings, env_version: i64) -> String {
    let settings_json = serde_json::to_string(settings).expect("settings are plain data");
    let env = if settings.secrets.is_empty() { 0 } else { env_version };
    let text = format!("{GENERATION}\n{tree}\n{env}\n{settings_json}");
    format!("{:x}", Hex(&Sha256::digest(text)))
}

struct Hex<'a>(&'a [u8]);

impl std::fmt::LowerHex for Hex<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_follows_source_and_settings_and_the_env_only_when_the_build_sees_it() {
        let plain = BuildSettings::default();
        assert_eq!(build_key("sha256:a", &plain, 1), build_key("sha256:a", &plain, 2));
        assert_ne!(build_key("sha256:a", &plain, 1), build_key("sha256:b", &plain, 1));
        let seeing = BuildSettings { secrets: vec!["TOKEN".into()], ..BuildSettings::default() };
        assert_ne!(build_key("sha256:a", &seeing, 1), build_key("sha256:a", &seeing, 2));
        assert_ne!(build_key("sha256:a", &seeing, 1), build_key("sha256:a", &plain, 1));
    }
}
