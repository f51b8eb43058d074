//! What an app's containers read: variables, files, and the secrets whose values are left to others.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    ConfigMap, ConfigMapEnvSource, ConfigMapVolumeSource, EnvFromSource, EnvVar, EnvVarSource, KeyToPath,
    SecretKeySelector, SecretVolumeSource, Volume, VolumeMount,
};
use panda_deployer::export::{ExportedApp, Filling};
use panda_deployer::runtime::RuntimeResult;

use super::{named, place};
use crate::objects::files::{MODE, check};

/// Volumes of a pod.
const TEXTS: &str = "files";
const SECRETS: &str = "secret-files";

/// Returns the name of the secret that somebody has to make.
pub(super) fn secret_name(app: &ExportedApp) -> String {
    named(app, "secrets")
}

/// Makes the config map with the variables that all processes have. In a config map nothing in a value is expanded.
pub(super) fn variables(app: &ExportedApp) -> ConfigMap {
    config_map(app, "env", texts(&app.variables))
}

/// Makes the config map with the files that aren't secret, `None` when there are none.
pub(super) fn files(app: &ExportedApp) -> Option<ConfigMap> {
    let data: BTreeMap<String, String> = keyed(app)
        .filter_map(|(key, _, filling)| match filling {
            Filling::Text(text) => Some((key, text.clone())),
            Filling::Hole(_) => None,
        })
        .collect();
    (!data.is_empty()).then(|| config_map(app, "files", data))
}

fn config_map(app: &ExportedApp, what: &str, data: BTreeMap<String, String>) -> ConfigMap {
    let metadata = super::workloads::plain_meta(&place(app, named(app, what)));
    ConfigMap { metadata, data: Some(data), ..ConfigMap::default() }
}

fn texts(variables: &BTreeMap<String, Filling>) -> BTreeMap<String, String> {
    let texts = variables.iter().filter_map(|(key, filling)| match filling {
        Filling::Text(text) => Some((key.clone(), text.clone())),
        Filling::Hole(_) => None,
    });
    texts.collect()
}

/// Returns where a container takes the variables from that all processes have.
pub(super) fn shared(app: &ExportedApp) -> EnvFromSource {
    let source = ConfigMapEnvSource { name: named(app, "env"), optional: None };
    EnvFromSource { config_map_ref: Some(source), ..EnvFromSource::default() }
}

/// Returns a container's variables one by one: secrets, each named, so that a pod says which one is missing; then its own.
pub(super) fn single(app: &ExportedApp, own: &BTreeMap<String, Filling>) -> Vec<EnvVar> {
    let all = app.variables.iter().chain(own);
    let secrets = all.filter_map(|(key, filling)| match filling {
        Filling::Hole(name) => Some(from_secret(app, key, name)),
        Filling::Text(_) => None,
    });
    // Kubernetes expands `$(NAME)` in a value; `$$` is a dollar sign.
    let texts = texts(own).into_iter().map(|(name, text)| EnvVar {
        name,
        value: Some(text.replace('$', "$$")),
        value_from: None,
    });
    secrets.chain(texts).collect()
}

fn from_secret(app: &ExportedApp, variable: &str, key: &str) -> EnvVar {
    let key = SecretKeySelector { name: secret_name(app), key: key.to_owned(), optional: None };
    let source = EnvVarSource { secret_key_ref: Some(key), ..EnvVarSource::default() };
    EnvVar { name: variable.to_owned(), value: None, value_from: Some(source) }
}

/// Returns the volumes with the files and where they are mounted, each over one path.
pub(super) fn mounts(app: &ExportedApp) -> RuntimeResult<(Vec<Volume>, Vec<VolumeMount>)> {
    let (mut texts, mut secrets, mut mounts) = (Vec::new(), Vec::new(), Vec::new());
    for (key, path, filling) in keyed(app) {
        check(path)?;
        let (volume, items, from) = match filling {
            Filling::Text(_) => (TEXTS, &mut texts, key.clone()),
            Filling::Hole(name) => (SECRETS, &mut secrets, name.clone()),
        };
        items.push(KeyToPath { key: from, path: key.clone(), mode: None });
        mounts.push(VolumeMount {
            name: volume.to_owned(),
            mount_path: path.to_owned(),
            sub_path: Some(key),
            read_only: Some(true),
            ..VolumeMount::default()
        });
    }
    let texts = (!texts.is_empty()).then(|| Volume {
        name: TEXTS.to_owned(),
        config_map: Some(ConfigMapVolumeSource {
            name: named(app, "files"),
            default_mode: Some(MODE),
            items: Some(texts),
            optional: None,
        }),
        ..Volume::default()
    });
    let secrets = (!secrets.is_empty()).then(|| Volume {
        name: SECRETS.to_owned(),
        secret: Some(SecretVolumeSource {
            secret_name: Some(secret_name(app)),
            default_mode: Some(MODE),
            items: Some(secrets),
            optional: None,
        }),
        ..Volume::default()
    });
    Ok((texts.into_iter().chain(secrets).collect(), mounts))
}

/// Gives each file a key.
fn keyed(app: &ExportedApp) -> impl Iterator<Item = (String, &str, &Filling)> {
    let all = app.files.iter().enumerate();
    all.map(|(index, (path, filling))| (format!("file-{index}"), path.as_str(), filling))
}
