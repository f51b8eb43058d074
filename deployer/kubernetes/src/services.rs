//! The names by which processes are found: one service a process, which leads to one release at a time.
//!
//! A new release takes over when the routes are switched to it; a process that no route leads to, when the release before goes.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Service;
use kube::ResourceExt;
use panda_deployer::runtime::{RuntimeError, RuntimeResult, WorkloadKey, WorkloadSpec};

use crate::labels;
use crate::names;
use crate::objects::{Place, service};
use crate::runtime::Driver;
use crate::workloads::{carries, port, replicas};

/// A label's value that only Deployments of one process have.
fn is_of_process(deployment: &Deployment, key: &WorkloadKey) -> bool {
    let mut process = labels::selector(key);
    process.remove(labels::RELEASE);
    process.remove(labels::REVISION);
    carries(deployment.labels(), &process)
}

impl Driver {
    /// Makes a workload be found, unless another release of it is.
    pub(crate) async fn discover(&self, namespace: &str, spec: &WorkloadSpec) -> RuntimeResult<()> {
        let Some(port) = spec.port else { return Ok(()) };
        let name = names::service(spec);
        if let Some(present) = self.view.services.get(namespace, &name) {
            let placement = labels::placement(present.labels());
            if placement.as_ref() != Some(&spec.key.placement) {
                return Err(RuntimeError::Conflict { what: format!("service `{name}`") });
            }
            if !leads_to(&present, &spec.key) && self.is_served(namespace, &present) {
                return Ok(());
            }
        }
        self.lead(namespace, &name, spec.app.as_str(), &spec.key, port).await
    }

    /// Makes a service lead to a workload; twice is once.
    pub(crate) async fn lead(
        &self,
        namespace: &str,
        name: &str,
        app: &str,
        to: &WorkloadKey,
        port: u16,
    ) -> RuntimeResult<()> {
        let place = Place {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            labels: self.owner.route(&to.environment, &to.placement, app),
        };
        let wanted = service::service(&place, to, port);
        let present = self.view.services.get(namespace, name);
        if present.is_some_and(|present| crate::covers::covers(&*present, &wanted, &[])) {
            return Ok(());
        }
        let applied = self.cluster.apply(&self.cluster.within::<Service>(namespace), &wanted).await?;
        self.view.services.wrote(applied);
        Ok(())
    }

    /// Makes the service that leads to a workload that goes lead to its successor, if there is one.
    pub(crate) async fn hand_over(&self, namespace: &str, gone: &WorkloadKey) -> RuntimeResult<()> {
        for present in self.own_services(namespace, gone) {
            let Some((to, port)) = self.successor(namespace, gone) else { continue };
            let app = present.labels().get("app.kubernetes.io/name").cloned().unwrap_or_default();
            self.lead(namespace, &present.name_any(), &app, &to, port).await?;
        }
        Ok(())
    }

    /// Removes the service of a process of which nothing is left, if no host leads to it.
    pub(crate) async fn forget_service(&self, namespace: &str, gone: &WorkloadKey) -> RuntimeResult<()> {
        let deployments = self.view.deployments.within(namespace);
        if deployments.iter().any(|deployment| is_of_process(deployment, gone)) {
            return Ok(());
        }
        for present in self.own_services(namespace, gone) {
            let name = present.name_any();
            if !self.is_routed(namespace, &name) {
                self.cluster.remove(&self.cluster.within::<Service>(namespace), &*present).await?;
                self.view.services.removed(&present);
            }
        }
        Ok(())
    }

    /// The services by which a workload is found; what publishes its ports follows the routes alone.
    fn own_services(&self, namespace: &str, key: &WorkloadKey) -> Vec<Arc<Service>> {
        let mut services = self.view.services.within(namespace);
        services.retain(|one| labels::is(&one.metadata, labels::KIND_ROUTE) && leads_to(one, key));
        services
    }

    /// The newest other release of a process that should run.
    fn successor(&self, namespace: &str, gone: &WorkloadKey) -> Option<(WorkloadKey, u16)> {
        let deployments = self.view.deployments.within(namespace).into_iter();
        let others = deployments.filter(|one| is_of_process(one, gone) && replicas(one) > 0);
        let others = others.filter_map(|one| Some((labels::workload(one.labels())?, port(&one)?)));
        let others = others.filter(|((key, _), _)| key != gone);
        others.max_by_key(|((_, number), _)| *number).map(|((key, _), port)| (key, port))
    }

    /// Tells whether what a service leads to should run.
    fn is_served(&self, namespace: &str, service: &Service) -> bool {
        let selector = service.spec.as_ref().and_then(|spec| spec.selector.clone()).unwrap_or_default();
        let deployments = self.view.deployments.within(namespace);
        let serves = |one: &Arc<Deployment>| carries(one.labels(), &selector) && replicas(one) > 0;
        deployments.iter().any(serves)
    }

    fn is_routed(&self, namespace: &str, service: &str) -> bool {
        let ingresses = self.view.ingresses.within(namespace);
        let rules = ingresses.iter().filter_map(|ingress| ingress.spec.as_ref()?.rules.as_ref()).flatten();
        let mut paths = rules.filter_map(|rule| rule.http.as_ref()).flat_map(|http| &http.paths);
        paths.any(|path| path.backend.service.as_ref().is_some_and(|backend| backend.name == service))
    }
}

/// Tells whether a service leads to just this workload.
pub(crate) fn leads_to(service: &Service, key: &WorkloadKey) -> bool {
    let selector = service.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    selector == Some(&labels::selector(key))
}
