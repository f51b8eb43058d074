//! The route table by app: an app's hosts are one Ingress, beside its service.

use std::collections::{BTreeMap, HashSet};

use panda_deployer::runtime::{RouteSpec, RouteTable, RouteTarget, WorkloadKey};
use panda_domain::ids::PlacementId;
use panda_domain::release::HttpConfig;

use crate::objects::ingress::Rule;
use crate::runtime::Driver;

/// One app as it should be routed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct App {
    pub(super) namespace: String,
    pub(super) placement: PlacementId,
    pub(super) name: String,
    /// Its service, which has the same name as its Ingress.
    pub(super) service: String,
    /// Which workload serves.
    pub(super) to: WorkloadKey,
    pub(super) rules: Vec<Rule>,
    pub(super) http: HttpConfig,
}

/// Everything that should be routed.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    pub(super) apps: Vec<App>,
}

impl Wanted {
    /// Sorts a table by app. Apps of which nothing serves yet, or whose environment isn't there, aren't routed.
    pub(super) fn of(driver: &Driver, table: &RouteTable) -> Self {
        let mut apps: BTreeMap<PlacementId, App> = BTreeMap::new();
        for route in &table.routes {
            let Some((placement, to)) = target(route) else { continue };
            let Some(namespace) = driver.view.namespace(&to.environment) else { continue };
            let app = apps.entry(placement.clone()).or_insert_with(|| App {
                namespace,
                placement: placement.clone(),
                name: route.app.clone(),
                service: route.app.clone(),
                to: to.clone(),
                rules: Vec::new(),
                http: route.http.clone(),
            });
            app.rules.push(Rule {
                host: route.host.clone(),
                path: route.path.clone(),
                service: app.service.clone(),
            });
        }
        Self { apps: apps.into_values().collect() }
    }

    /// Returns the namespace and name of every Ingress that should be there.
    pub(super) fn ingresses(&self) -> HashSet<(String, String)> {
        self.apps.iter().map(|app| (app.namespace.clone(), app.service.clone())).collect()
    }
}

/// An app's requests go to one release at a time.
fn target(route: &RouteSpec) -> Option<(&PlacementId, &WorkloadKey)> {
    let RouteTarget::Workloads(keys) = &route.target else { return None };
    Some((route.placement.as_ref()?, keys.first()?))
}
