//! Secrets that the platform keeps for itself in a cluster, beside the apps' environments. What is there is never changed:
//! whoever comes second takes what the first one made.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::PostParams;
use kube::core::ObjectMeta;
use panda_deployer::runtime::{RuntimeError, RuntimeResult};

use crate::cluster::{Cluster, absent, doing};
use crate::config::KubernetesConfig;
use crate::objects::map;

/// The parts of a secret by their names.
pub type Parts = BTreeMap<String, Vec<u8>>;

/// The secrets of the platform's own namespaces.
pub struct Keepsakes {
    cluster: Cluster,
}

impl Keepsakes {
    /// Reads how the cluster is reached. Nothing is asked yet.
    pub async fn connect(config: &KubernetesConfig) -> RuntimeResult<Self> {
        Ok(Self { cluster: Cluster::connect(config).await? })
    }

    /// Returns the namespace that this process runs in, or the kubeconfig's.
    pub fn own_namespace(&self) -> &str {
        self.cluster.client.default_namespace()
    }

    /// Returns a secret's parts, `None` when there is no such secret.
    pub async fn read(&self, namespace: &str, name: &str) -> RuntimeResult<Option<Parts>> {
        let api = self.cluster.within::<Secret>(namespace);
        let found = absent(self.cluster.call(doing::<Secret>("read", name), api.get(name)).await)?;
        Ok(found.map(parts))
    }

    /// Makes a secret unless it is there; returns the parts that it has now, ours or those of whoever was quicker.
    pub async fn keep(&self, namespace: &str, name: &str, wanted: &Parts) -> RuntimeResult<Parts> {
        let api = self.cluster.within::<Secret>(namespace);
        let secret = Secret {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                labels: Some(map([("app.kubernetes.io/part-of", "panda")])),
                ..ObjectMeta::default()
            },
            data: Some(
                wanted.iter().map(|(part, bytes)| (part.clone(), ByteString(bytes.clone()))).collect(),
            ),
            ..Secret::default()
        };
        let params = PostParams::default();
        let made = self.cluster.call(doing::<Secret>("create", name), api.create(&params, &secret)).await;
        match made {
            Ok(made) => Ok(parts(made)),
            Err(RuntimeError::Conflict { what }) => {
                self.read(namespace, name).await?.ok_or(RuntimeError::Conflict { what })
            }
            Err(error) => Err(error),
        }
    }
}

fn parts(secret: Secret) -> Parts {
    secret.data.into_iter().flatten().map(|(part, bytes)| (part, bytes.0)).collect()
}
