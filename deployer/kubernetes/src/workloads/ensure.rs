//! Makes a workload be as its spec says. What is so already costs no call.

use std::sync::Arc;

use futures_util::future::try_join_all;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{Patch, PatchParams};
use panda_deployer::runtime::{Progress, RuntimeError, RuntimeResult, WorkloadSpec};
use serde_json::json;

use super::create::Basis;
use super::{Found, carries, is_chosen, refused, replicas, running};
use crate::cluster::doing;
use crate::labels;
use crate::objects::deployment::TEMPLATE;
use crate::objects::{MANAGER, container, files};
use crate::pods;
use crate::reasons::{self, Reason};
use crate::runtime::Driver;

/// How long pods may not be created before that is told.
const PATIENCE: SignedDuration = SignedDuration::from_secs(10);
/// What the kubelet's HTTP probe takes for healthy.
const HEALTHY: (u16, u16) = (200, 399);

impl Driver {
    /// Makes a workload be as its spec says.
    pub(crate) async fn ensure_workload(&self, spec: &WorkloadSpec) -> RuntimeResult<Progress> {
        // Two calls for one workload would each undo what the other does.
        let Some(_turn) = self.turns.take(&spec.key) else { return Ok(Progress::Working) };
        self.view.fresh()?;
        takes(spec)?;
        let namespace = self.view.namespace(&spec.key.environment).ok_or_else(|| RuntimeError::Conflict {
            what: format!("the namespace of environment `{}`", spec.environment_name),
        })?;
        let found = self.find(&namespace, &spec.key);
        let progress = match &found.deployment {
            _ if spec.replicas == 0 => self.stop(&namespace, &found).await?,
            None => self.create(&namespace, spec).await?,
            Some(deployment) => self.keep(&namespace, spec, &found, deployment).await?,
        };
        if spec.discoverable && spec.replicas > 0 {
            self.discover(&namespace, spec).await?;
        }
        Ok(progress)
    }

    /// Keeps a Deployment that is there as its spec says.
    async fn keep(
        &self,
        namespace: &str,
        spec: &WorkloadSpec,
        found: &Found,
        deployment: &Arc<Deployment>,
    ) -> RuntimeResult<Progress> {
        if misses_data(&found.pods) || self.login_is_old(spec, deployment) {
            // The Deployment, which notes when that was, differs then and is applied below.
            self.apply_beside(namespace, spec, &deployment.name_any()).await?;
        }
        let name = deployment.name_any();
        if self.ensure_autoscaler(namespace, spec, &name).await? {
            self.apply_budget(namespace, spec, &name).await?;
        }
        // The autoscaler's number is right wherever it lies within the bounds.
        let wanted = spec.autoscale.map_or(spec.replicas, |bounds| bounds.within(replicas(deployment)));
        if self.template_differs(namespace, spec, deployment)? {
            self.apply_deployment(namespace, spec, Basis::Present(deployment)).await?;
        } else if replicas(deployment) != wanted {
            self.choose(namespace, &found.pods, wanted as usize).await?;
            self.scale(namespace, deployment, wanted).await?;
            self.apply_budget(namespace, spec, &name).await?;
        } else if found.pods.len() <= wanted as usize {
            self.unchoose(namespace, &found.pods).await?;
        }
        not_created(spec, deployment, self.config.clock.now())?;
        let leaving = found.pods.iter().any(|pod| pod.metadata.deletion_timestamp.is_some());
        let too_many = found.pods.len() > wanted as usize && replicas(deployment) > wanted;
        let chosen = found.pods.len() > wanted as usize && found.pods.iter().any(|pod| is_chosen(pod));
        Ok(if leaving || too_many || chosen { Progress::Working } else { Progress::Converged })
    }

    /// Sets the number of replicas and nothing else, so that no pod is replaced.
    pub(super) async fn scale(
        &self,
        namespace: &str,
        deployment: &Deployment,
        replicas: u32,
    ) -> RuntimeResult<()> {
        let name = deployment.name_any();
        let api = self.cluster.within::<Deployment>(namespace);
        let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        let patch = Patch::Merge(json!({ "spec": { "replicas": replicas } }));
        let scaled =
            self.cluster.call(doing::<Deployment>("scale", &name), api.patch(&name, &params, &patch));
        self.view.deployments.wrote(scaled.await?);
        Ok(())
    }

    /// Chooses who goes when there are too many, in the cluster's own order: who serves least, then the newest.
    async fn choose(&self, namespace: &str, pods: &[Arc<Pod>], replicas: usize) -> RuntimeResult<()> {
        let mut staying: Vec<_> =
            pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()).collect();
        // Stable: among equals the oldest comes first.
        staying.sort_by_key(|pod| (!pods::is_ready(pod), pods::running_since(pod).is_none()));
        let surplus = staying.split_off(replicas.min(staying.len()));
        self.mark(namespace, surplus, "-1").await
    }

    /// Takes the choice back from pods that stayed after all.
    async fn unchoose(&self, namespace: &str, pods: &[Arc<Pod>]) -> RuntimeResult<()> {
        let chosen = pods.iter().filter(|pod| is_chosen(pod) && pod.metadata.deletion_timestamp.is_none());
        self.mark(namespace, chosen.collect(), "0").await
    }

    async fn mark(&self, namespace: &str, pods: Vec<&Arc<Pod>>, cost: &str) -> RuntimeResult<()> {
        let api = self.cluster.within::<Pod>(namespace);
        let patch = Patch::Merge(json!({ "metadata": { "annotations": { labels::DELETION_COST: cost } } }));
        let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        let marked = pods.into_iter().map(|pod| {
            let (name, api, patch, params) = (pod.name_any(), &api, &patch, &params);
            async move {
                match self.cluster.call(doing::<Pod>("choose", &name), api.patch(&name, params, patch)).await
                {
                    Ok(pod) => drop(self.view.pods.wrote(pod)),
                    // It went by itself.
                    Err(RuntimeError::NotFound { .. }) => {}
                    Err(error) => return Err(error),
                }
                Ok(())
            }
        });
        try_join_all(marked).await?;
        Ok(())
    }

    /// Tells whether a Deployment has to be applied anew. A template of an older builder is left as it is as long as the size
    /// is right: it does what it should, and another one would restart every instance.
    fn template_differs(
        &self,
        namespace: &str,
        spec: &WorkloadSpec,
        deployment: &Deployment,
    ) -> RuntimeResult<bool> {
        let wanted = self.deployment_of(namespace, spec, Basis::Present(deployment))?;
        if labels::annotation(&deployment.metadata, labels::TEMPLATE) == Some(&TEMPLATE.to_string()) {
            return Ok(!crate::covers::covers(deployment, &wanted, &["/spec/replicas"]));
        }
        let of = |deployment: &Deployment| {
            let pod = deployment.spec.as_ref()?.template.spec.as_ref()?;
            let container = pod.containers.iter().find(|one| one.name == container::NAME)?;
            Some((container.image.clone(), container.resources.clone()))
        };
        Ok(of(deployment) != of(&wanted) || !carries(deployment.labels(), &labels::selector(&spec.key)))
    }
}

/// Refuses what this cluster can't do, before anything is created.
fn takes(spec: &WorkloadSpec) -> RuntimeResult<()> {
    files::keyed(&spec.files)?;
    let health = &spec.health;
    if health.path.is_some() && (health.ok_from, health.ok_to) != HEALTHY {
        let (from, to) = HEALTHY;
        return Err(refused(
            spec,
            format!(
                "on Kubernetes a health path is healthy with the statuses {from} to {to}, and with no others"
            ),
        ));
    }
    Ok(())
}

/// Tells whether a pod waits for a secret or a config map that isn't there: a crash cut their making, or somebody took them.
fn misses_data(pods: &[Arc<Pod>]) -> bool {
    pods.iter().any(|pod| {
        let state = pods::status(pod).and_then(|status| status.state.as_ref());
        let reason = state.and_then(|state| state.waiting.as_ref()?.reason.as_deref());
        reason == Some("CreateContainerConfigError")
    })
}

/// Says why the cluster creates no pod of a Deployment. In a namespace that was just made that fails for a moment.
fn not_created(spec: &WorkloadSpec, deployment: &Deployment, now: Timestamp) -> RuntimeResult<()> {
    let status = deployment.status.clone().unwrap_or_default();
    let mut conditions = status.conditions.into_iter().flatten();
    let failing = conditions.find(|one| one.type_ == "ReplicaFailure" && one.status == "True");
    let Some(failing) = failing else { return Ok(()) };
    let since = failing.last_transition_time.map_or(Timestamp::UNIX_EPOCH, |at| at.0);
    match reasons::not_created(failing.message.as_deref().unwrap_or_default()) {
        Reason::Final(reason) => Err(refused(spec, reason)),
        Reason::MayPass(_) if now.duration_since(since) < PATIENCE => Ok(()),
        Reason::MayPass(reason) => {
            Err(RuntimeError::Unavailable { doing: running(spec), source: Some(reason.into()) })
        }
    }
}
