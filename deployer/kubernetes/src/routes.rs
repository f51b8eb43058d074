//! Routes: the services are switched first and seen to lead to the new instances; then hosts are led to the services.
//!
//! A cluster takes no table in one step. Each object is switched as a whole, and only what differs is written; an instance that
//! is removed afterwards goes on serving for its drain time, in which ingress controllers and nodes hear of the change.

mod certificates;
mod endpoints;
mod ingresses;
mod ordered;
mod ports;
mod wanted;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};
use panda_deployer::runtime::{ObservedRoutes, RouteTable, RouteTarget, RuntimeError, RuntimeResult};
use panda_domain::ids::RouteId;

use crate::runtime::Driver;
use crate::workloads::port;
use wanted::{App, Wanted};

/// How long endpoints may take to follow a service.
const FOLLOWING: Duration = Duration::from_secs(10);
/// How many apps are seen to at the same time.
const PARALLEL: usize = 8;

/// What was routed last; cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Routed {
    /// The mark of the view at the end of the last call that went well.
    mark: Arc<Mutex<Option<u64>>>,
    /// The hash of each certificate that was written, by namespace and secret: secrets aren't read.
    pub(crate) certificates: Arc<Mutex<HashMap<(String, String), String>>>,
    pub(crate) class: Arc<tokio::sync::Mutex<Option<ingresses::Class>>>,
    ports: ports::Done,
}

impl Driver {
    /// Makes the cluster route just this table.
    pub(crate) async fn ensure_routes(&self, table: &RouteTable) -> RuntimeResult<ObservedRoutes> {
        self.view.fresh()?;
        self.set_mark(None);
        let wanted = Wanted::of(self, table);
        all(wanted.apps.iter().map(|app| self.switch(app)).collect()).await?;
        all(wanted.apps.iter().map(|app| self.route(app, table)).collect()).await?;
        self.unroute(&wanted).await?;
        let ports = self.publish(table).await?;
        self.cancel_orders(&wanted, table).await?;
        self.view.fresh()?;
        let mark = self.view.signals.routes_mark();
        let observed = ObservedRoutes { upstreams: self.observed(table), ports };
        self.set_mark(Some(mark));
        Ok(observed)
    }

    /// Tells whether the same table would change nothing.
    pub(crate) fn routes_stand(&self) -> RuntimeResult<bool> {
        self.view.fresh()?;
        let mark = *self.routed.mark.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(mark == Some(self.view.signals.routes_mark()))
    }

    /// Makes an app's service lead to the release that should serve, and waits until it is seen to.
    async fn switch(&self, app: &App) -> RuntimeResult<()> {
        let Some(deployment) = self.find(&app.namespace, &app.to).deployment else {
            // Nothing of it runs: where its service leads to doesn't matter.
            return Ok(());
        };
        let Some(port) = port(&deployment) else { return Ok(()) };
        self.lead(&app.namespace, &app.service, &app.name, &app.to, port).await?;
        let followed =
            self.view.until(FOLLOWING, || self.is_followed(&app.namespace, &app.service, &app.to)).await;
        if followed {
            return Ok(());
        }
        Err(RuntimeError::Unavailable {
            doing: format!("switch service `{}` to its new instances", app.service),
            source: Some("the cluster's endpoints don't follow".into()),
        })
    }

    /// Returns what takes each route's requests now.
    fn observed(&self, table: &RouteTable) -> Vec<(RouteId, Vec<String>)> {
        let upstreams = table.routes.iter().map(|route| {
            let addresses = match &route.target {
                // The platform's own ingress is none of the driver's.
                RouteTarget::Platform(_) => Vec::new(),
                RouteTarget::Workloads(keys) => {
                    keys.iter().flat_map(|key| self.upstreams(key, &route.app)).collect()
                }
            };
            (route.id.clone(), addresses)
        });
        upstreams.collect()
    }

    fn set_mark(&self, mark: Option<u64>) {
        *self.routed.mark.lock().unwrap_or_else(PoisonError::into_inner) = mark;
    }
}

/// Does some of it at the same time, until something fails.
async fn all<F: Future<Output = RuntimeResult<()>>>(work: Vec<F>) -> RuntimeResult<()> {
    stream::iter(work).buffer_unordered(PARALLEL).try_collect::<Vec<()>>().await.map(drop)
}
