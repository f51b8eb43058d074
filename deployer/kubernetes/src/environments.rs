//! Environments: a namespace each, with its bounds and its closed doors.

use futures_util::future::try_join_all;
use k8s_openapi::api::core::v1::{
    LimitRange, Namespace, PersistentVolumeClaim, ResourceQuota, ServiceAccount,
};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::ResourceExt;
use kube::api::{DeleteParams, ListParams, PostParams, Preconditions};
use panda_deployer::runtime::{EnvironmentKey, EnvironmentSpec, RuntimeError, RuntimeResult};
use sha2::{Digest, Sha256};

use crate::cluster::{absent, doing};
use crate::names::{self, hex};
use crate::objects::{Place, limit_range, namespace, network_policy, quota, service_account};
use crate::runtime::Driver;
use crate::{labels, pods};

/// How many names are tried: those before are still being taken apart, or aren't ours.
const ATTEMPTS: u32 = 16;
/// Annotation: the hash of all that a namespace was furnished with. Set last, so that half of it is never taken for all.
const FURNISHED: &str = "dev.panda/furnished";
/// The name of what there is one of in each namespace.
const BOUNDS: &str = "panda";

/// What stands in a namespace beside apps.
struct Furniture {
    quota: ResourceQuota,
    limits: LimitRange,
    account: ServiceAccount,
    policies: Vec<NetworkPolicy>,
}

impl Driver {
    /// Makes the environment's namespace be there, furnished.
    pub(crate) async fn ensure_environment(&self, spec: &EnvironmentSpec) -> RuntimeResult<()> {
        let _turn = self.environments.lock().await;
        self.view.fresh()?;
        let name = match self.view.namespace(&spec.key) {
            Some(name) => name,
            None => self.create_namespace(spec).await?,
        };
        self.furnish(spec, &name).await
    }

    async fn create_namespace(&self, spec: &EnvironmentSpec) -> RuntimeResult<String> {
        let api = self.cluster.all::<Namespace>();
        for attempt in 0..ATTEMPTS {
            let name = names::namespace(spec, attempt);
            let wanted = namespace::namespace(&self.owner, spec, &name);
            let params = PostParams::default();
            let created = api.create(&params, &wanted);
            match self.cluster.call(doing::<Namespace>("create", &name), created).await {
                Ok(made) => {
                    self.view.namespaces.wrote(made);
                    return Ok(name);
                }
                Err(RuntimeError::Conflict { .. }) if self.is_theirs(spec, &name).await? => return Ok(name),
                Err(RuntimeError::Conflict { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Err(RuntimeError::Conflict { what: format!("every name for environment `{}`", spec.name) })
    }

    /// Tells whether a namespace is this environment's and stays: another server may just have made it.
    async fn is_theirs(&self, spec: &EnvironmentSpec, name: &str) -> RuntimeResult<bool> {
        let api = self.cluster.all::<Namespace>();
        let found = absent(self.cluster.call(doing::<Namespace>("look at", name), api.get(name)).await)?;
        let Some(found) = found else { return Ok(false) };
        let theirs = found.metadata.deletion_timestamp.is_none()
            && found.labels().get(labels::INSTALLATION) == Some(&self.owner.installation)
            && labels::environment(found.labels()).as_ref() == Some(&spec.key);
        if theirs {
            self.view.namespaces.wrote(found);
        }
        Ok(theirs)
    }

    /// Puts everything into the namespace that belongs there, unless that was done.
    async fn furnish(&self, spec: &EnvironmentSpec, name: &str) -> RuntimeResult<()> {
        let place = Place {
            namespace: name.to_owned(),
            name: BOUNDS.to_owned(),
            labels: self.owner.environment(&spec.key),
        };
        let furniture = Furniture {
            quota: self.quota(&place, 0),
            limits: limit_range::limit_range(&place, self.config.default_limits, self.config.requests),
            account: service_account::service_account(&place),
            policies: network_policy::network_policies(&place, &self.config.egress),
        };
        let mut wanted = namespace::namespace(&self.owner, spec, name);
        let hash = hash(&wanted, &furniture);
        let known = self.view.namespaces.get("", name);
        let done = known.as_deref().and_then(|known| labels::annotation(&known.metadata, FURNISHED));
        if done == Some(&hash) {
            return Ok(());
        }
        // Left out of the hash: it follows the ports by itself.
        let furniture = Furniture { quota: self.quota(&place, self.published(name).len()), ..furniture };
        let cluster = &self.cluster;
        let policies = cluster.within::<NetworkPolicy>(name);
        tokio::try_join!(
            async { cluster.apply(&cluster.within(name), &furniture.quota).await.map(drop) },
            async { cluster.apply(&cluster.within(name), &furniture.limits).await.map(drop) },
            async { cluster.apply(&cluster.within(name), &furniture.account).await.map(drop) },
            try_join_all(furniture.policies.iter().map(|policy| cluster.apply(&policies, policy))),
        )?;
        wanted.annotations_mut().insert(FURNISHED.to_owned(), hash);
        let furnished = cluster.apply(&cluster.all::<Namespace>(), &wanted).await?;
        self.view.namespaces.wrote(furnished);
        Ok(())
    }

    /// Lets a namespace have as many published ports.
    pub(crate) async fn allow_ports(
        &self,
        namespace: &str,
        key: &EnvironmentKey,
        ports: usize,
    ) -> RuntimeResult<()> {
        let place = Place {
            namespace: namespace.to_owned(),
            name: BOUNDS.to_owned(),
            labels: self.owner.environment(key),
        };
        let quota = self.quota(&place, ports);
        self.cluster.apply(&self.cluster.within(namespace), &quota).await.map(drop)
    }

    fn quota(&self, place: &Place, ports: usize) -> ResourceQuota {
        quota::quota(place, &self.config.quota, self.config.port_service, ports)
    }

    /// Removes the environment's namespace, if nothing of it runs and no volume lies in it; absent is fine.
    pub(crate) async fn remove_environment(&self, key: &EnvironmentKey) -> RuntimeResult<()> {
        let _turn = self.environments.lock().await;
        self.view.fresh()?;
        for name in self.view.namespaces_of(key) {
            let Some(namespace) = self.view.namespaces.get("", &name) else { continue };
            if namespace.metadata.deletion_timestamp.is_some() {
                continue;
            }
            self.nothing_in(&name).await?;
            let preconditions = Preconditions { uid: namespace.metadata.uid.clone(), resource_version: None };
            let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::background() };
            let call = self.cluster.all::<Namespace>();
            let removed = self.cluster.call(doing::<Namespace>("remove", &name), call.delete(&name, &params));
            match removed.await {
                // On its way out: what is in it goes first.
                Ok(removed) => match removed.left() {
                    Some(going) => drop(self.view.namespaces.wrote(going)),
                    None => self.view.namespaces.removed(&namespace),
                },
                Err(RuntimeError::NotFound { .. }) => self.view.namespaces.removed(&namespace),
                // It is on its way out already, or is another one meanwhile.
                Err(RuntimeError::Conflict { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn nothing_in(&self, namespace: &str) -> RuntimeResult<()> {
        let now = self.config.clock.now();
        let runs = self.view.pods.within(namespace).iter().any(|pod| {
            labels::is(&pod.metadata, labels::KIND_INSTANCE)
                && !pods::is_over(pod)
                && !pods::is_lost(pod, now)
        });
        if runs || !self.view.deployments.within(namespace).is_empty() {
            return Err(RuntimeError::Conflict {
                what: format!("namespace `{namespace}` (instances still run in it)"),
            });
        }
        let volumes = self.cluster.within::<PersistentVolumeClaim>(namespace);
        let first = ListParams::default().limit(1);
        let volumes = volumes.list(&first);
        let doing = format!("look for volumes in namespace `{namespace}`");
        if self.cluster.call(doing, volumes).await?.items.is_empty() {
            return Ok(());
        }
        Err(RuntimeError::Conflict { what: format!("namespace `{namespace}` (volumes still lie in it)") })
    }
}

fn hash(namespace: &Namespace, furniture: &Furniture) -> String {
    let all = (namespace, &furniture.quota, &furniture.limits, &furniture.account, &furniture.policies);
    let text = serde_json::to_string(&all).expect("objects are plain data");
    hex(&Sha256::digest(text)[..8])
}
