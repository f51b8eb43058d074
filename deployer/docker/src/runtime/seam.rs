//! The traits of the seam; each method says in a line who does the work.

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use panda_deployer::runtime::{
    EnvironmentKey, EnvironmentSpec, ObservedWorkload, Progress, PullImage, ResolvedImage, RuntimeEvent,
    RuntimeResult, WorkloadKey, WorkloadSpec, Workloads,
};
use panda_domain::release::Shutdown;
use panda_domain::secret::Secret;
use tokio_stream::wrappers::BroadcastStream;

use super::DockerRuntime;
use crate::{environments, images};

#[async_trait]
impl Workloads for DockerRuntime {
    async fn ensure_environment(&self, spec: &EnvironmentSpec) -> RuntimeResult<()> {
        let driver = &self.driver;
        environments::ensure(&driver.engine, &driver.addresses, &driver.host.installation, spec).await
    }

    async fn remove_environment(&self, key: &EnvironmentKey) -> RuntimeResult<()> {
        environments::remove(&self.driver.engine, &self.driver.addresses, key).await
    }

    async fn ensure_workload(&self, spec: &WorkloadSpec) -> RuntimeResult<Progress> {
        self.driver.ensure_workload(spec).await
    }

    async fn remove_workload(&self, key: &WorkloadKey, shutdown: &Shutdown) -> RuntimeResult<Progress> {
        self.driver.remove_workload(key, shutdown).await
    }

    async fn observe(&self, key: &EnvironmentKey) -> RuntimeResult<Vec<ObservedWorkload>> {
        self.driver.observe(key).await
    }

    async fn environments(&self) -> RuntimeResult<Vec<EnvironmentKey>> {
        let ours = environments::ours(&self.driver.engine, &self.driver.host.installation).await?;
        Ok(ours.into_iter().map(|(key, _)| key).collect())
    }

    async fn ensure_image(&self, image: &PullImage) -> RuntimeResult<()> {
        images::ensure(&self.driver.engine, self.driver.pull_timeout, image).await
    }

    async fn resolve_image(
        &self,
        reference: &str,
        login: Option<(&str, &Secret)>,
    ) -> RuntimeResult<ResolvedImage> {
        images::resolve(&self.driver.engine, self.driver.pull_timeout, reference, login).await
    }

    fn watch(&self) -> BoxStream<'static, RuntimeEvent> {
        // Who missed hints looks at everything.
        let hints = BroadcastStream::new(self.driver.instances.listen());
        hints.map(|hint| hint.unwrap_or(RuntimeEvent { placement: None })).boxed()
    }
}
