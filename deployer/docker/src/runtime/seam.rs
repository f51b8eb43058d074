//! The traits of the seam; each method says in a line who does the work.

use std::collections::HashSet;

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use jiff::Timestamp;
use panda_deployer::runtime::{
    Capabilities, Check, EnvironmentKey, EnvironmentSpec, ExecRequest, ExecSession, ExecSize, Inspect,
    Inventory, LogChunk, LogQuery, ObservedRoutes, ObservedWorkload, OrderedCertificate, Progress, PullImage,
    ResolvedImage, RouteTable, Routes, RuntimeEvent, RuntimeResult, TaskKey, TaskSpec, TaskStatus, Tasks,
    Usage, WorkloadKey, WorkloadSpec, Workloads,
};
use panda_domain::ids::{InstanceId, PlacementId};
use panda_domain::image::Digest;
use panda_domain::release::Shutdown;
use panda_domain::secret::Secret;
use tokio_stream::wrappers::BroadcastStream;

use super::DockerRuntime;
use crate::{environments, images};

#[async_trait]
impl Workloads for DockerRuntime {
    async fn ensure_environment(&self, spec: &EnvironmentSpec) -> RuntimeResult<()> {
        let driver = &self.driver;
        let _turn = driver.networks.lock().await;
        environments::ensure(&driver.engine, &driver.addresses, &driver.host, spec).await
    }

    async fn remove_environment(&self, key: &EnvironmentKey) -> RuntimeResult<()> {
        let _turn = self.driver.networks.lock().await;
        environments::remove(&self.driver.engine, &self.driver.addresses, key).await
    }

    async fn ensure_workload(&self, spec: &WorkloadSpec) -> RuntimeResult<Progress> {
        Box::pin(self.driver.ensure_workload(spec)).await
    }

    async fn remove_workload(&self, key: &WorkloadKey, shutdown: &Shutdown) -> RuntimeResult<Progress> {
        self.driver.remove_workload(key, shutdown).await
    }

    async fn observe(&self, key: &EnvironmentKey) -> RuntimeResult<Vec<ObservedWorkload>> {
        self.driver.observe(key).await
    }

    async fn inventory(&self) -> RuntimeResult<Inventory> {
        self.driver.inventory().await
    }

    async fn remove_old_images(&self, keep: &HashSet<Digest>, unused_since: Timestamp) -> RuntimeResult<u64> {
        self.driver.remove_old_images(keep, unused_since).await
    }

    async fn ensure_image(&self, image: &PullImage) -> RuntimeResult<()> {
        images::ensure_shared(&self.driver, image).await
    }

    async fn resolve_image(
        &self,
        reference: &str,
        login: Option<(&str, &Secret)>,
    ) -> RuntimeResult<ResolvedImage> {
        images::resolve(&self.driver, reference, login).await
    }

    fn watch(&self) -> BoxStream<'static, RuntimeEvent> {
        // Who missed hints looks at everything.
        let hints = BroadcastStream::new(self.driver.instances.listen());
        hints.map(|hint| hint.unwrap_or(RuntimeEvent { placement: None })).boxed()
    }
}

#[async_trait]
impl Routes for DockerRuntime {
    async fn ensure_routes(&self, table: &RouteTable) -> RuntimeResult<ObservedRoutes> {
        self.driver.ensure_routes(table).await
    }

    async fn routes_stand(&self) -> RuntimeResult<bool> {
        self.driver.routes_stand().await
    }

    /// The server orders them, and the edge answers.
    async fn ordered_certificates(&self) -> RuntimeResult<Vec<OrderedCertificate>> {
        Ok(Vec::new())
    }
}

#[async_trait]
impl Tasks for DockerRuntime {
    async fn start_task(&self, spec: &TaskSpec) -> RuntimeResult<()> {
        self.driver.start_task(spec).await
    }

    async fn task_status(&self, key: &TaskKey) -> RuntimeResult<TaskStatus> {
        self.driver.task_status(key).await
    }

    async fn cancel_task(&self, key: &TaskKey) -> RuntimeResult<()> {
        self.driver.cancel_task(key).await
    }

    async fn remove_task(&self, key: &TaskKey) -> RuntimeResult<()> {
        self.driver.remove_task(key).await
    }
}

#[async_trait]
impl Inspect for DockerRuntime {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            name: "docker",
            autoscale: false,
            request_holding: true,
            orders_certificates: false,
            http_metrics: true,
        }
    }

    async fn check(&self) -> Vec<Check> {
        self.driver.check().await
    }

    async fn logs(&self, query: &LogQuery) -> RuntimeResult<BoxStream<'static, RuntimeResult<LogChunk>>> {
        self.driver.logs(query).await
    }

    async fn exec(
        &self,
        environment: &EnvironmentKey,
        instance: &InstanceId,
        request: &ExecRequest,
    ) -> RuntimeResult<ExecSession> {
        self.driver.exec(environment, instance, request).await
    }

    async fn attach_task(&self, key: &TaskKey, size: Option<ExecSize>) -> RuntimeResult<ExecSession> {
        self.driver.attach_task(key, size).await
    }

    async fn usage(
        &self,
        environment: &EnvironmentKey,
        placement: &PlacementId,
    ) -> RuntimeResult<Vec<Usage>> {
        self.driver.usage(environment, placement).await
    }

    async fn manifest(&self, environment: &EnvironmentKey, placement: &PlacementId) -> RuntimeResult<String> {
        self.driver.manifest(environment, placement).await
    }
}
