//! What runs for a placement, as people may read and apply it: the live objects without what only the server says, and secrets
//! as holes.

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Patch, PatchParams};
use kube::{Resource, ResourceExt};
use panda_deployer::runtime::{EnvironmentKey, RuntimeError, RuntimeResult};
use panda_domain::ids::PlacementId;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::cluster::{absent, doing};
use crate::labels;
use crate::runtime::Driver;

/// What the server adds to an object's description.
const SERVERS: [&str; 6] =
    ["uid", "resourceVersion", "generation", "creationTimestamp", "managedFields", "selfLink"];

impl Driver {
    /// Returns the objects of a placement as YAML.
    pub(crate) async fn manifest(
        &self,
        environment: &EnvironmentKey,
        placement: &PlacementId,
    ) -> RuntimeResult<String> {
        self.view.fresh()?;
        let mut objects = Vec::new();
        for namespace in self.view.namespaces_of(environment) {
            let of_placement = |meta: &ObjectMeta| {
                meta.labels.as_ref().and_then(labels::placement).as_ref() == Some(placement)
            };
            let deployments = self.view.deployments.within(&namespace);
            for deployment in deployments.iter().filter(|one| of_placement(&one.metadata)) {
                objects.extend(hole(deployment));
                let name = deployment.name_any();
                objects.extend(self.seen::<ConfigMap>(&namespace, &name).await?);
                objects.push(plain(&**deployment));
                let autoscaler = self.view.autoscalers.get(&namespace, &name);
                objects.extend(autoscaler.map(|one| plain(&*one)));
                objects.extend(self.seen::<PodDisruptionBudget>(&namespace, &name).await?);
            }
            let services = self.view.services.within(&namespace);
            for service in services.iter().filter(|one| of_placement(&one.metadata)) {
                objects.push(plain(&**service));
                if labels::is(&service.metadata, labels::KIND_PORT) {
                    objects.extend(self.seen::<NetworkPolicy>(&namespace, &service.name_any()).await?);
                }
            }
            let ingresses = self.view.ingresses.within(&namespace);
            objects
                .extend(ingresses.iter().filter(|one| of_placement(&one.metadata)).map(|one| plain(&**one)));
        }
        let texts = objects.iter().map(yaml).collect::<RuntimeResult<Vec<_>>>()?;
        Ok(texts.join("---\n"))
    }

    /// Reads an object that isn't watched, `None` when it isn't there. By a patch that changes nothing and that the server only
    /// tries: who may write objects of a kind needs no right to read them all.
    async fn seen<K>(&self, namespace: &str, name: &str) -> RuntimeResult<Option<Value>>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + std::fmt::Debug
            + Serialize
            + DeserializeOwned
            + Send
            + Sync,
    {
        let params = PatchParams { dry_run: true, ..PatchParams::default() };
        let nothing = Patch::Merge(json!({}));
        let api = self.cluster.within::<K>(namespace);
        let found = self.cluster.call(doing::<K>("read", name), api.patch(name, &params, &nothing)).await;
        Ok(absent(found)?.map(|object| {
            let mut value = plain(&object);
            // Whoever reads a single object isn't told by it what it is.
            if let Some(fields) = value.as_object_mut() {
                fields.insert("apiVersion".to_owned(), K::api_version(&()).into());
                fields.insert("kind".to_owned(), K::kind(&()).into());
            }
            value
        }))
    }
}

fn yaml(object: &Value) -> RuntimeResult<String> {
    serde_saphyr::to_string(object).map_err(|error| RuntimeError::Internal {
        doing: "write an object as YAML".to_owned(),
        source: Box::new(error),
    })
}

/// Leaves out what only the server says.
fn plain(object: &impl Serialize) -> Value {
    let mut value = serde_json::to_value(object).expect("an object is plain data");
    if let Some(fields) = value.as_object_mut() {
        fields.remove("status");
        if let Some(metadata) = fields.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.retain(|name, _| !SERVERS.contains(&name.as_str()));
            if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
                annotations.remove("deployment.kubernetes.io/revision");
            }
        }
        if let Some(spec) = fields.get_mut("spec").and_then(Value::as_object_mut) {
            // A service's address is the cluster's to give.
            spec.retain(|name, _| !matches!(name.as_str(), "clusterIP" | "clusterIPs"));
        }
    }
    value
}

/// The secret that a Deployment reads, with every value to be filled in.
fn hole(deployment: &Deployment) -> Option<Value> {
    let pod = deployment.spec.as_ref()?.template.spec.as_ref()?;
    let mut keys = Vec::new();
    for variable in pod.containers.iter().flat_map(|container| container.env.iter().flatten()) {
        let from = variable.value_from.as_ref().and_then(|from| from.secret_key_ref.as_ref());
        keys.extend(from.map(|from| from.key.clone()));
    }
    for volume in pod.volumes.iter().flatten() {
        let items = volume.secret.as_ref().and_then(|secret| secret.items.as_ref());
        keys.extend(items.into_iter().flatten().map(|item| item.key.clone()));
    }
    let data: serde_json::Map<_, _> =
        keys.into_iter().map(|key| (key.clone(), Value::from(format!("<{key}>")))).collect();
    Some(json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": deployment.name_any(),
            "namespace": deployment.namespace(),
            "labels": deployment.labels(),
        },
        "stringData": data,
    }))
}
