//! Workloads: from a spec to containers.

mod ensure;
mod observe;

use std::collections::HashMap;

use bollard::models::{ContainerInspectResponse, ContainerSummary};
use bollard::query_parameters::ListContainersOptions;
use futures_util::{StreamExt, TryStreamExt, stream};
use panda_deployer::runtime::{
    EnvironmentKey, ObservedWorkload, Progress, RuntimeResult, WorkloadKey, WorkloadSpec,
};
use panda_domain::release::Shutdown;

use crate::engine::absent;
use crate::labels::{self, Identity};
use crate::runtime::Driver;
pub(crate) use ensure::mount;

/// How many calls about different containers are made at the same time.
pub(crate) const PARALLEL: usize = 8;

/// One of our containers, as listed.
#[derive(Debug, Clone)]
pub(crate) struct Listed {
    pub(crate) identity: Identity,
    pub(crate) container: String,
    pub(crate) summary: ContainerSummary,
}

impl Driver {
    /// Makes a workload be as its spec says.
    pub(crate) async fn ensure_workload(&self, spec: &WorkloadSpec) -> RuntimeResult<Progress> {
        // Two calls for one workload would each see the other's instances missing.
        let Some(_turn) = self.turns.take(&spec.key) else { return Ok(Progress::Working) };
        Box::pin(ensure::run(self, spec)).await
    }

    /// Drains and removes all instances of a workload.
    pub(crate) async fn remove_workload(
        &self,
        key: &WorkloadKey,
        shutdown: &Shutdown,
    ) -> RuntimeResult<Progress> {
        let Some(_turn) = self.turns.take(key) else { return Ok(Progress::Working) };
        let listed = self.listed(labels::select_workload(&self.host.installation, key)).await?;
        if listed.is_empty() {
            return Ok(Progress::Converged);
        }
        let victims = listed.into_iter().map(|one| (one.identity, one.container)).collect();
        self.drain(victims, shutdown).await?;
        Ok(Progress::Working)
    }

    /// Returns every workload of the environment.
    pub(crate) async fn observe(&self, key: &EnvironmentKey) -> RuntimeResult<Vec<ObservedWorkload>> {
        let select = labels::select_environment(&self.host.installation, key, labels::KIND_INSTANCE);
        let listed = self.listed(select).await?;
        let seen = self.inspect_all(listed).await?;
        observe::merge(self, seen).await
    }

    /// Looks at all running instances: those that aren't known yet get a probe, those that are gone are forgotten.
    pub(crate) async fn adopt(&self) -> RuntimeResult<()> {
        let asked = tokio::time::Instant::now();
        let select = labels::select_kind(&self.host.installation, labels::KIND_INSTANCE);
        let seen = self.inspect_all(self.listed(select).await?).await?;
        let alive: Vec<_> = seen.iter().map(|(one, _)| one.identity.instance.clone()).collect();
        for (one, inspect) in &seen {
            self.note(&one.identity, &one.container, inspect);
        }
        self.instances.retain(&alive, asked);
        self.cpu.retain(&alive);
        self.end_late_tasks().await
    }

    /// Looks at one container after an event about it.
    pub(crate) async fn look_at(&self, container: &str) -> RuntimeResult<()> {
        let Some(inspect) = self.inspect(container).await? else { return Ok(()) };
        let labels = inspect.config.as_ref().and_then(|config| config.labels.as_ref());
        if let Some(identity) = labels.and_then(Identity::read) {
            self.note(&identity, container, &inspect);
        }
        Ok(())
    }

    /// Gives a running instance its probe, and takes it from one that doesn't run.
    pub(crate) fn note(&self, identity: &Identity, container: &str, inspect: &ContainerInspectResponse) {
        let state = inspect.state.clone().unwrap_or_default();
        let runs = state.running == Some(true) && state.restarting != Some(true);
        if runs {
            self.probe(identity, container, state.started_at.as_deref().unwrap_or_default());
            if self.drains.look(|drains| drains.has(&identity.instance)) {
                self.instances.drain(&identity.instance);
            }
        } else {
            self.instances.ended(&identity.instance, Some(identity.key.placement.clone()));
        }
    }

    /// Returns our instances that carry these labels, oldest first.
    pub(crate) async fn listed(&self, select: Vec<String>) -> RuntimeResult<Vec<Listed>> {
        let summaries = self.list(select).await?;
        let mut listed: Vec<_> = summaries
            .into_iter()
            .filter_map(|summary| {
                let identity = Identity::read(summary.labels.as_ref()?)?;
                Some(Listed { identity, container: summary.id.clone()?, summary })
            })
            .collect();
        listed.sort_by(|a, b| a.identity.instance.cmp(&b.identity.instance));
        Ok(listed)
    }

    /// Lists containers by labels, those that don't run included.
    pub(crate) async fn list(&self, select: Vec<String>) -> RuntimeResult<Vec<ContainerSummary>> {
        let filters = Some(HashMap::from([("label".to_owned(), select)]));
        let options = ListContainersOptions { all: true, filters, ..ListContainersOptions::default() };
        self.engine.call("list containers", self.engine.docker.list_containers(Some(options))).await
    }

    /// Returns all that the engine knows of a container, `None` when it is gone.
    pub(crate) async fn inspect(&self, container: &str) -> RuntimeResult<Option<ContainerInspectResponse>> {
        let call = self.engine.docker.inspect_container(container, None);
        absent(self.engine.call(format!("look at container `{container}`"), call).await)
    }

    /// Inspects what was listed; what is gone meanwhile is left out.
    pub(crate) async fn inspect_all(
        &self,
        listed: Vec<Listed>,
    ) -> RuntimeResult<Vec<(Listed, ContainerInspectResponse)>> {
        let inspected = stream::iter(listed)
            .map(|one| async move { Ok(self.inspect(&one.container).await?.map(|inspect| (one, inspect))) });
        inspected.buffered(PARALLEL).try_filter_map(|seen| async { Ok(seen) }).try_collect().await
    }
}
