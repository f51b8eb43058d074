//! "Same source and settings as a known build": then there is nothing to build.

use std::collections::BTreeMap;

use panda_domain::source_tree::TreeHash;
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::settings::BuildSettings;

/// Changes when the same source is to become another image: raised with every change of the generators.
const GENERATION: u32 = 1;

/// What a build depends on.
#[derive(Debug, Serialize)]
pub struct BuildInputs<'a> {
    /// The source.
    pub tree: TreeHash,
    /// The settings; how long a build may take and whether it may use caches don't count.
    pub settings: &'a BuildSettings,
    /// The version of each secret that the build sees, by name.
    pub secret_versions: &'a BTreeMap<String, String>,
    /// The digests of base images, where they are known; a new one makes a new build.
    pub base_digests: &'a BTreeMap<String, String>,
}

/// Returns the key of a build, `sha256:…`: equal inputs, equal key.
pub fn build_key(inputs: &BuildInputs<'_>) -> String {
    let default = BuildSettings::default();
    let settings =
        BuildSettings { cache: default.cache, timeout_s: default.timeout_s, ..inputs.settings.clone() };
    let counted = (GENERATION, BuildInputs { settings: &settings, ..*inputs });
    let text = serde_json::to_vec(&counted).expect("settings with text keys can be written as JSON");
    let digest = Sha256::digest(text);
    digest.iter().fold("sha256:".to_owned(), |key, byte| key + &format!("{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_changes_the_image_changes_the_key() {
        let none = BTreeMap::new();
        let tree: TreeHash = format!("sha256:{}", "0".repeat(64)).parse().unwrap();
        let key = |settings: &BuildSettings, secrets: &BTreeMap<String, String>| {
            build_key(&BuildInputs { tree, settings, secret_versions: secrets, base_digests: &none })
        };
        let base = BuildSettings::default();
        let patient = BuildSettings { timeout_s: 9, cache: false, ..base.clone() };
        assert_eq!(key(&base, &none), key(&patient, &none));
        let other = BuildSettings { command: Some("make".to_owned()), ..base.clone() };
        assert_ne!(key(&base, &none), key(&other, &none));
        let rotated = BTreeMap::from([("TOKEN".to_owned(), "2".to_owned())]);
        assert_ne!(key(&base, &none), key(&base, &rotated));
    }
}
