//! An environment's namespace.

use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use panda_deployer::runtime::EnvironmentSpec;

use super::{Owner, map};
use crate::labels;

/// Pod Security: what a container must not ask for at all, and what is only warned of. Panda's own pods meet the stricter one;
/// foreign images that run as root can't.
const SECURITY: [(&str, &str); 6] = [
    ("pod-security.kubernetes.io/enforce", "baseline"),
    ("pod-security.kubernetes.io/enforce-version", "latest"),
    ("pod-security.kubernetes.io/warn", "restricted"),
    ("pod-security.kubernetes.io/warn-version", "latest"),
    ("pod-security.kubernetes.io/audit", "restricted"),
    ("pod-security.kubernetes.io/audit-version", "latest"),
];

/// Makes the namespace of an environment.
pub fn namespace(owner: &Owner, spec: &EnvironmentSpec, name: &str) -> Namespace {
    let mut labels = owner.environment(&spec.key);
    labels.extend(map(SECURITY));
    Namespace {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            labels: Some(labels),
            annotations: Some(map([(labels::ENVIRONMENT_NAME, spec.name.as_str())])),
            ..ObjectMeta::default()
        },
        ..Namespace::default()
    }
}
