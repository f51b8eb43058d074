//! What must not stand in other objects: variables' values, secret files, certificates' keys, logins.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use panda_deployer::runtime::{CertificateSpec, SecretEnv};
use serde_json::json;

use super::Place;
use super::files::Keyed;

/// Makes the secret with a workload's or a task's variables and secret files.
pub fn secret(place: &Place, env: &SecretEnv, files: &[Keyed<'_>]) -> Secret {
    let variables = env.0.iter().map(|(name, value)| (name.clone(), value.reveal()));
    let secrets = files.iter().filter(|keyed| keyed.file.secret);
    let files = secrets.map(|keyed| (keyed.key(), keyed.file.content.reveal()));
    of_type(place, "Opaque", variables.chain(files))
}

/// Makes the secret with a host's certificate, where the ingress reads it.
pub fn certificate(place: &Place, certificate: &CertificateSpec) -> Secret {
    let parts = [("tls.crt", certificate.chain_pem.as_str()), ("tls.key", certificate.key_pem.reveal())];
    of_type(place, "kubernetes.io/tls", parts.map(|(name, value)| (name.to_owned(), value)))
}

/// Makes the secret by which nodes log in to a registry.
pub fn login(place: &Place, host: &str, user: &str, password: &str) -> Secret {
    let logins = json!({ "auths": { host: { "username": user, "password": password } } }).to_string();
    let parts = [(".dockerconfigjson".to_owned(), logins.as_str())];
    of_type(place, "kubernetes.io/dockerconfigjson", parts)
}

fn of_type<'a>(place: &Place, type_: &str, data: impl IntoIterator<Item = (String, &'a str)>) -> Secret {
    let bytes = data.into_iter().map(|(name, value)| (name, ByteString(value.as_bytes().to_vec())));
    Secret {
        metadata: place.meta(),
        type_: Some(type_.to_owned()),
        data: Some(bytes.collect::<BTreeMap<_, _>>()),
        ..Secret::default()
    }
}
