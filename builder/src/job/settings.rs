//! From `panda.toml` and flags to what the planner takes, and the key under which a build is known.

use std::collections::BTreeMap;

use panda_domain::manifest::Manifest;
use panda_domain::request::FrozenRequest;
use panda_domain::source_tree::TreeHash;

use crate::key::{self, BuildInputs};
use crate::settings::BuildSettings;

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
pub fn build_key(tree: TreeHash, settings: &BuildSettings, env_version: i64) -> String {
    let version = |name: &String| (name.clone(), env_version.to_string());
    let secret_versions: BTreeMap<String, String> = settings.secrets.iter().map(version).collect();
    let base_digests = BTreeMap::new();
    key::build_key(&BuildInputs {
        tree,
        settings,
        secret_versions: &secret_versions,
        base_digests: &base_digests,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_follows_the_env_only_when_the_build_sees_it() {
        let tree: TreeHash = format!("sha256:{}", "0".repeat(64)).parse().unwrap();
        let plain = BuildSettings::default();
        assert_eq!(build_key(tree, &plain, 1), build_key(tree, &plain, 2));
        let seeing = BuildSettings { secrets: vec!["TOKEN".into()], ..BuildSettings::default() };
        assert_ne!(build_key(tree, &seeing, 1), build_key(tree, &seeing, 2));
        assert_ne!(build_key(tree, &seeing, 1), build_key(tree, &plain, 1));
    }
}
