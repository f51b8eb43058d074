//! The traits of the seam; each method says in a line who does the work.

use std::collections::HashSet;

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use jiff::Timestamp;
use panda_deployer::runtime::{
    Capabilities, Check, EnvironmentKey, EnvironmentSpec, ExecRequest, ExecSession, ExecSize, Inspect,
    Inventory, LogChunk, LogQuery, ObservedAutoscaler, ObservedRoutes, ObservedWorkload, OrderedCertificate,
    Progress, PullImage, ResolvedImage, RouteTable, Routes, RuntimeEvent, RuntimeResult, TaskKey, TaskSpec,
    TaskStatus, Tasks, Usage, WorkloadKey, WorkloadSpec, Workloads,
};
use panda_domain::ids::{InstanceId, PlacementId};
use panda_domain::image::Digest;
use panda_domain::release::Shutdown;
use panda_domain::secret::Secret;
use tokio_stream::wrappers::BroadcastStream;

use super::KubernetesRuntime;
#[async_trait]
impl Workloads for KubernetesRuntime {
    async fn ensure_environment(&self, spec: &EnvironmentSpec) -> RuntimeResult<()> {
        self.driver.ensure_environment(spec).await
    }

    async fn remove_environment(&self, key: &EnvironmentKey) -> RuntimeResult<()> {
        self.driver.remove_environment(key).await
    }

    async fn ensure_workload(&self, spec: &WorkloadSpec) -> RuntimeResult<Progress> {
        self.driver.ensure_workload(spec).await
    }

    async fn remove_workload(&self, key: &WorkloadKey, shutdown: &Shutdown) -> RuntimeResult<Progress> {
        self.driver.remove_workload(key, shutdown).await
    }

    async fn observe(&self, key: &EnvironmentKey) -> RuntimeResult<Vec<ObservedWorkload>> {
        self.driver.observe(key)
    }

    async fn inventory(&self) -> RuntimeResult<Inventory> {
        self.driver.inventory()
    }

    /// Each node removes what it doesn't need by itself.
    async fn remove_old_images(
        &self,
        _keep: &HashSet<Digest>,
        _unused_since: Timestamp,
    ) -> RuntimeResult<u64> {
        Ok(0)
    }

    async fn ensure_image(&self, image: &PullImage) -> RuntimeResult<()> {
        self.driver.images.is_there(image).await
    }

    async fn resolve_image(
        &self,
        reference: &str,
        login: Option<(&str, &Secret)>,
    ) -> RuntimeResult<ResolvedImage> {
        self.driver.images.resolve(reference, login).await
    }

    fn watch(&self) -> BoxStream<'static, RuntimeEvent> {
        // Who missed hints looks at everything.
        let hints = BroadcastStream::new(self.driver.view.signals.listen());
        hints.map(|hint| hint.unwrap_or(RuntimeEvent { placement: None })).boxed()
    }
}

#[async_trait]
impl Routes for KubernetesRuntime {
    async fn ensure_routes(&self, table: &RouteTable) -> RuntimeResult<ObservedRoutes> {
        self.driver.ensure_routes(table).await
    }

    async fn routes_stand(&self) -> RuntimeResult<bool> {
        self.driver.routes_stand()
    }

    async fn ordered_certificates(&self) -> RuntimeResult<Vec<OrderedCertificate>> {
        self.driver.ordered_certificates().await
    }
}

#[async_trait]
impl Tasks for KubernetesRuntime {
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
impl Inspect for KubernetesRuntime {
    fn capabilities(&self) -> Capabilities {
        // The cluster's ingress serves: it holds no requests, and what it counts is its own affair.
        Capabilities {
            name: "kubernetes",
            autoscale: true,
            request_holding: false,
            orders_certificates: self.driver.config.issuer.is_some(),
            http_metrics: false,
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

    async fn autoscalers(
        &self,
        environment: &EnvironmentKey,
        placement: &PlacementId,
    ) -> RuntimeResult<Vec<ObservedAutoscaler>> {
        self.driver.autoscalers(environment, placement)
    }

    async fn manifest(&self, environment: &EnvironmentKey, placement: &PlacementId) -> RuntimeResult<String> {
        self.driver.manifest(environment, placement).await
    }
}
