//! Takes a workload away: out of its service, no replicas, and, once the last pod is gone, no objects.

use std::sync::Arc;

use futures_util::future::try_join_all;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::ResourceExt;
use kube::api::DeleteParams;
use panda_deployer::runtime::{Progress, RuntimeError, RuntimeResult, WorkloadKey};
use panda_domain::release::Shutdown;

use super::create::login_name;
use super::{Found, replicas};
use crate::runtime::Driver;

impl Driver {
    /// Drains and removes all instances of a workload, then its objects. Volumes are none of them.
    pub(crate) async fn remove_workload(
        &self,
        key: &WorkloadKey,
        shutdown: &Shutdown,
    ) -> RuntimeResult<Progress> {
        let Some(_turn) = self.turns.take(key) else { return Ok(Progress::Working) };
        self.view.fresh()?;
        let mut progress = Progress::Converged;
        for namespace in self.view.namespaces_of(&key.environment) {
            let found = self.find(&namespace, key);
            if found.deployment.is_none() && found.pods.is_empty() {
                continue;
            }
            self.hand_over(&namespace, key).await?;
            if self.stop(&namespace, &found).await? == Progress::Working {
                self.hurry(&namespace, &found.pods, shutdown).await?;
                progress = Progress::Working;
            } else {
                self.forget_service(&namespace, key).await?;
            }
        }
        Ok(progress)
    }

    /// Brings a workload to nothing, a step a call.
    pub(super) async fn stop(&self, namespace: &str, found: &Found) -> RuntimeResult<Progress> {
        let Some(deployment) = &found.deployment else {
            return Ok(if found.pods.is_empty() { Progress::Converged } else { Progress::Working });
        };
        if replicas(deployment) > 0 {
            // First, or it would put the number back.
            self.remove_autoscaler(namespace, &deployment.name_any()).await?;
            return match self.scale(namespace, deployment, 0).await {
                // Somebody else took it away a moment ago: the view hears of it.
                Ok(()) | Err(RuntimeError::NotFound { .. }) => Ok(Progress::Working),
                Err(error) => Err(error),
            };
        }
        if !found.pods.is_empty() {
            return Ok(Progress::Working);
        }
        self.discard(namespace, deployment).await?;
        Ok(Progress::Converged)
    }

    /// Removes a workload's objects, the one that it is found by last.
    async fn discard(&self, namespace: &str, deployment: &Arc<Deployment>) -> RuntimeResult<()> {
        let (cluster, name) = (&self.cluster, deployment.name_any());
        let scalers = cluster.within::<HorizontalPodAutoscaler>(namespace);
        let budgets = cluster.within::<PodDisruptionBudget>(namespace);
        let maps = cluster.within::<ConfigMap>(namespace);
        let secrets = cluster.within::<Secret>(namespace);
        let login = login_name(&name);
        tokio::try_join!(
            cluster.remove_named(&scalers, &name),
            cluster.remove_named(&budgets, &name),
            cluster.remove_named(&maps, &name),
            cluster.remove_named(&secrets, &name),
            cluster.remove_named(&secrets, &login),
        )?;
        cluster.remove(&cluster.within::<Deployment>(namespace), &**deployment).await?;
        self.view.deployments.removed(deployment);
        Ok(())
    }

    /// Shortens the end of pods that would take longer than they are given now.
    async fn hurry(&self, namespace: &str, pods: &[Arc<Pod>], shutdown: &Shutdown) -> RuntimeResult<()> {
        // Who asks for no drain knows that nobody sends requests.
        let drain = if shutdown.drain_s == 0 { 0 } else { shutdown.drain_s.max(self.config.least_drain_s) };
        // Without any grace a pod would be off the books while it may still run.
        let grace = (drain + shutdown.grace_s).max(1);
        let api = self.cluster.within::<Pod>(namespace);
        let late = pods.iter().filter(|pod| given(pod) > i64::from(grace));
        let hurried = late.map(|pod| {
            let params = DeleteParams { grace_period_seconds: Some(grace), ..DeleteParams::default() };
            let (name, api) = (pod.name_any(), &api);
            async move { self.cluster.remove_with(api, &name, &params).await }
        });
        try_join_all(hurried).await?;
        Ok(())
    }
}

/// Seconds that a pod is given for its end.
fn given(pod: &Pod) -> i64 {
    let asked = pod.spec.as_ref().and_then(|spec| spec.termination_grace_period_seconds);
    pod.metadata.deletion_grace_period_seconds.or(asked).unwrap_or(0)
}
