//! The file that tells `kubectl apply -k` what belongs together.

use panda_deployer::export::{ExportedApp, PlainFile};
use panda_deployer::runtime::RuntimeResult;
use serde::Serialize;

use super::{RELEASE_JOB, data, written};

/// The folder with a file for each secret, which whoever applies it makes.
pub(super) const SECRETS: &str = "secrets";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Kustomization {
    api_version: &'static str,
    kind: &'static str,
    resources: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    secret_generator: Vec<SecretGenerator>,
    generator_options: GeneratorOptions,
    images: Vec<Image>,
}

#[derive(Serialize)]
struct SecretGenerator {
    name: String,
    files: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct GeneratorOptions {
    disable_name_suffix_hash: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Image {
    name: String,
    new_name: String,
    digest: String,
}

/// Writes it. A secret whose file isn't there yet keeps the whole from being applied, by its name.
pub(super) fn text(app: &ExportedApp, objects: &[PlainFile]) -> RuntimeResult<String> {
    let resources = objects.iter().map(|file| file.path.clone()).filter(|path| path != RELEASE_JOB);
    let holes: Vec<String> = app.holes().into_iter().map(|name| format!("{name}={SECRETS}/{name}")).collect();
    let secrets = (!holes.is_empty()).then(|| SecretGenerator { name: data::secret_name(app), files: holes });
    written(&Kustomization {
        api_version: "kustomize.config.k8s.io/v1beta1",
        kind: "Kustomization",
        resources: resources.collect(),
        secret_generator: secrets.into_iter().collect(),
        // The release command's job reads the same secret, and isn't applied with the rest.
        generator_options: GeneratorOptions { disable_name_suffix_hash: true },
        images: vec![Image {
            name: app.image.repository.clone(),
            new_name: app.image.repository.clone(),
            digest: app.image.digest.to_string(),
        }],
    })
}
