//! Ports of the world: a service each that leads to one release at a time, and a policy that lets its connections in.
//!
//! A port that the cluster refuses is told and keeps nothing else from taking effect.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::{Resource, ResourceExt};
use panda_deployer::runtime::{EnvironmentKey, PortSpec, RouteTable, RuntimeError, RuntimeResult};
use panda_domain::port::PortState;

use super::FOLLOWING;
use crate::config::PortService;
use crate::covers::covers;
use crate::labels;
use crate::names;
use crate::objects::{Place, network_policy, published};
use crate::pods;
use crate::runtime::Driver;

/// How long the cluster may take to count a quota that was raised.
const COUNTING: Duration = Duration::from_secs(15);
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// What this process has done that isn't watched; after a restart it is done once more. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Done(Arc<Mutex<Doings>>);

#[derive(Default)]
struct Doings {
    /// How many ports each namespace may have.
    allowed: HashMap<String, usize>,
    /// Services, by UID, whose connections are let in.
    let_in: HashSet<String>,
}

impl Done {
    fn lock(&self) -> MutexGuard<'_, Doings> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A port as it should be.
struct Wanted<'t> {
    namespace: String,
    name: String,
    spec: &'t PortSpec,
}

impl Driver {
    /// Makes just the table's ports be published; tells what became of each.
    pub(super) async fn publish(&self, table: &RouteTable) -> RuntimeResult<Vec<(u16, PortState)>> {
        let mut wanted = Vec::new();
        for spec in &table.ports {
            let Some(namespace) = self.view.namespace(&spec.target.environment) else { continue };
            let name = names::published(&spec.app, spec.published);
            wanted.push(Wanted { namespace, name, spec });
        }
        self.unpublish(&wanted).await?;
        self.allow(&wanted).await?;
        let mut states = Vec::new();
        for port in &wanted {
            let state = match self.publish_one(port).await {
                Ok(()) => self.state_of(port),
                Err(RuntimeError::Rejected { reason, .. }) => PortState::Failed { reason },
                Err(RuntimeError::Conflict { what }) => PortState::Failed { reason: what },
                Err(error) => return Err(error),
            };
            states.push((port.spec.published, state));
        }
        Ok(states)
    }

    /// Returns what publishes ports in a namespace.
    pub(crate) fn published(&self, namespace: &str) -> Vec<Arc<Service>> {
        let mut services = self.view.services.within(namespace);
        services.retain(|service| labels::is(&service.metadata, labels::KIND_PORT));
        services
    }

    /// Removes what publishes ports that aren't wanted any more; its policies go with it.
    async fn unpublish(&self, wanted: &[Wanted<'_>]) -> RuntimeResult<()> {
        let stays: HashSet<(&str, &str)> =
            wanted.iter().map(|port| (port.namespace.as_str(), port.name.as_str())).collect();
        for present in self.view.services.all() {
            let (namespace, name) = (present.namespace().unwrap_or_default(), present.name_any());
            let ours = labels::is(&present.metadata, labels::KIND_PORT);
            if !ours || stays.contains(&(namespace.as_str(), name.as_str())) {
                continue;
            }
            self.cluster.remove(&self.cluster.within::<Service>(&namespace), &*present).await?;
            self.view.services.removed(&present);
        }
        Ok(())
    }

    /// Lets each namespace have as many ports as are wanted there, and no more.
    async fn allow(&self, wanted: &[Wanted<'_>]) -> RuntimeResult<()> {
        let mut counts: BTreeMap<String, (EnvironmentKey, usize)> = BTreeMap::new();
        for port in wanted {
            let key = port.spec.target.environment.clone();
            counts.entry(port.namespace.clone()).or_insert((key, 0)).1 += 1;
        }
        let known = self.routed.ports.lock().allowed.clone();
        for namespace in known.iter().filter(|(_, count)| **count > 0).map(|(namespace, _)| namespace) {
            let there = self.view.namespaces.get("", namespace);
            let key = there.as_ref().and_then(|there| labels::environment(there.labels()));
            match key {
                Some(key) if there.is_some_and(|there| there.metadata.deletion_timestamp.is_none()) => {
                    counts.entry(namespace.clone()).or_insert((key, 0));
                }
                _ => drop(self.routed.ports.lock().allowed.remove(namespace)),
            }
        }
        for (namespace, (key, count)) in counts {
            if known.get(&namespace) == Some(&count) {
                continue;
            }
            self.allow_ports(&namespace, &key, count).await?;
            self.routed.ports.lock().allowed.insert(namespace, count);
        }
        Ok(())
    }

    async fn publish_one(&self, port: &Wanted<'_>) -> RuntimeResult<()> {
        let Wanted { namespace, name, spec } = port;
        let to = &spec.target;
        if self.find(namespace, to).deployment.is_none() {
            // Nothing of it runs: there is nothing to lead to.
            return Ok(());
        }
        let place = Place {
            namespace: namespace.clone(),
            name: name.clone(),
            labels: self.owner.port(&to.environment, &to.placement, &spec.app),
        };
        let wanted = published::published(&place, spec, self.config.port_service);
        let present = self.view.services.get(namespace, name);
        let service = match present.filter(|present| covers(&**present, &wanted, &[])) {
            Some(present) => present,
            None => self.view.services.wrote(self.apply_counted(namespace, &wanted).await?),
        };
        self.let_in(&place, spec, &service).await?;
        if self.view.until(FOLLOWING, || self.is_followed(namespace, name, to)).await {
            return Ok(());
        }
        Err(RuntimeError::Unavailable {
            doing: format!("switch service `{name}` to its new instances"),
            source: Some("the cluster's endpoints don't follow".into()),
        })
    }

    /// Applies a service; a quota that was raised a moment ago isn't counted by the cluster at once.
    async fn apply_counted(&self, namespace: &str, wanted: &Service) -> RuntimeResult<Service> {
        let api = self.cluster.within::<Service>(namespace);
        let began = tokio::time::Instant::now();
        loop {
            match self.cluster.apply(&api, wanted).await {
                Err(RuntimeError::Rejected { reason, .. })
                    if reason.contains("exceeded quota") && began.elapsed() < COUNTING =>
                {
                    tokio::time::sleep(LOOK_AGAIN).await;
                }
                outcome => return outcome,
            }
        }
    }

    /// Lets the port's connections in to its instances.
    async fn let_in(&self, place: &Place, spec: &PortSpec, service: &Service) -> RuntimeResult<()> {
        let (uid, owner) = (service.uid().unwrap_or_default(), service.owner_ref(&()));
        // What leads elsewhere inside of the app is let in elsewhere: the port belongs to what was done.
        let done = format!("{uid} {} {}", spec.target.process, spec.port);
        let Some(owner) = owner.filter(|_| !self.routed.ports.lock().let_in.contains(&done)) else {
            return Ok(());
        };
        let policy = network_policy::published(place, &spec.target, spec.port, owner);
        self.cluster.apply(&self.cluster.within::<NetworkPolicy>(&place.namespace), &policy).await?;
        self.routed.ports.lock().let_in.insert(done);
        Ok(())
    }

    fn state_of(&self, port: &Wanted<'_>) -> PortState {
        let waiting = |reason: &str| PortState::Waiting { reason: reason.to_owned() };
        let Some(service) = self.view.services.get(&port.namespace, &port.name) else {
            return waiting("until an instance runs");
        };
        let found = match self.config.port_service {
            PortService::LoadBalancer => {
                balancer(&service).ok_or("until the cluster's balancer has an address")
            }
            PortService::NodePort => self.node_of(port).ok_or("until an instance is ready"),
        };
        found.map_or_else(waiting, |host| PortState::Open { host: Some(host) })
    }

    /// The host of the nodes, else the address of one that a ready instance runs on: every node takes the port's connections.
    fn node_of(&self, port: &Wanted<'_>) -> Option<String> {
        if let Some(host) = &self.config.node_host {
            return Some(host.clone());
        }
        let found = self.find(&port.namespace, &port.spec.target);
        let ready =
            found.pods.iter().filter(|pod| pods::is_ready(pod) && pod.metadata.deletion_timestamp.is_none());
        // The lowest, so that it stays the same while it can.
        ready.filter_map(|pod| pod.status.as_ref()?.host_ip.clone()).min()
    }
}

fn balancer(service: &Service) -> Option<String> {
    let balancer = service.status.as_ref()?.load_balancer.as_ref()?;
    let address = balancer.ingress.as_ref()?.first()?;
    address.ip.clone().or_else(|| address.hostname.clone())
}
