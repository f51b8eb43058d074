//! Which requests go where: the whole table from the state, pushed in one step.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;

use panda_domain::ids::{Id, RouteId};
use panda_domain::port::{PortState, fulfilled};
use panda_domain::route::CertificateState;
use panda_store::{CertificateRow, RoutedRow, Store};
use sha2::{Digest, Sha256};
use tokio::sync::Mutex;

use crate::certificates::NEVER;
use crate::desired::environment_of;
use crate::error::DeployError;
use crate::runtime::{
    CertificateSpec, ChallengeSpec, PortSpec, RouteSpec, RouteTable, RouteTarget, Runtime, WorkloadKey,
};
use crate::settings::DeploySettings;

/// The table is made anew at least this often, whatever the marks say.
const WHOLE_LOOK_MS: i64 = 60_000;

/// Pushes the route table. One push at a time, so that an older table never lands after a newer one.
pub struct RoutePublisher {
    store: Store,
    runtime: Arc<dyn Runtime>,
    settings: DeploySettings,
    turn: Mutex<Option<Pushed>>,
}

/// What the last table was made from.
struct Pushed {
    /// The store's mark before the rows were read.
    mark: u64,
    at_ms: i64,
    /// The workloads that it names.
    routed: Arc<Routed>,
}

/// The workloads that a table names, as digests: it is kept for as long as the table is in effect, and a key is long.
#[derive(Debug, Default)]
pub struct Routed {
    keys: RandomState,
    digests: HashSet<u64>,
}

impl Routed {
    fn of<'k>(workloads: impl Iterator<Item = &'k WorkloadKey>) -> Self {
        let keys = RandomState::new();
        let digests = workloads.map(|key| keys.hash_one(key)).collect();
        Self { keys, digests }
    }

    /// Tells whether requests may be sent to a workload.
    pub fn contains(&self, key: &WorkloadKey) -> bool {
        self.digests.contains(&self.keys.hash_one(key))
    }
}

impl RoutePublisher {
    /// Makes the publisher of an installation.
    pub fn new(store: Store, runtime: Arc<dyn Runtime>, settings: DeploySettings) -> Self {
        Self { store, runtime, settings, turn: Mutex::new(None) }
    }

    /// Reads what should be routed and makes it so; returns, once it is in effect, the workloads that are routed. Twice is
    /// once: when nothing was written since, and the ingress still does what it was told, nothing is read.
    pub async fn publish(&self) -> Result<Arc<Routed>, DeployError> {
        let mut pushed = self.turn.lock().await;
        // Before the rows are read: what is written meanwhile is seen by the next publish.
        let (mark, now_ms) = (self.store.routing_mark(), self.store.clock().now_ms());
        if let Some(pushed) = &*pushed
            && pushed.mark == mark
            && (0..WHOLE_LOOK_MS).contains(&(now_ms - pushed.at_ms))
            && self.runtime.routes_stand().await?
        {
            return Ok(pushed.routed.clone());
        }
        *pushed = None;
        let (rows, certificates) = {
            let mut tx = self.store.read().await?;
            (tx.routed_rows().await?, tx.all_certificates().await?)
        };
        let table = route_table(&rows, &certificates, &self.settings);
        let observed = self.runtime.ensure_routes(&table).await?;
        self.note_ports(&rows, &observed.ports).await?;
        let routed = table.routes.iter().flat_map(|route| match &route.target {
            RouteTarget::Workloads(keys) => keys.as_slice(),
            RouteTarget::Platform(_) => &[],
        });
        let routed = routed.chain(table.ports.iter().map(|port| &port.target));
        let routed = Arc::new(Routed::of(routed));
        *pushed = Some(Pushed { mark, at_ms: now_ms, routed: routed.clone() });
        Ok(routed)
    }

    /// Keeps what the runtime told of the ports, where it is news.
    async fn note_ports(&self, rows: &[RoutedRow], told: &[(u16, PortState)]) -> Result<(), DeployError> {
        let known = rows.iter().flat_map(|row| &row.ports);
        let known: HashMap<u16, _> = known.map(|row| (row.held.published, row.observed.as_ref())).collect();
        let news = told.iter().filter(|(port, state)| known.get(port) != Some(&Some(state)));
        let news: Vec<_> = news.collect();
        if news.is_empty() {
            return Ok(());
        }
        let mut tx = self.store.begin().await?;
        for (port, state) in news {
            tx.note_port(*port, state).await?;
        }
        Ok(tx.commit().await?)
    }
}

/// Builds the table: the platform's own route, each app's given host and its verified domains.
pub fn route_table(
    rows: &[RoutedRow],
    certificates: &[CertificateRow],
    settings: &DeploySettings,
) -> RouteTable {
    let platform = RouteSpec {
        id: route_id(&settings.platform_host, "/"),
        placement: None,
        app: "panda".to_owned(),
        host: settings.platform_host.clone(),
        path: "/".to_owned(),
        target: RouteTarget::Platform(settings.platform_address),
        http: panda_domain::release::HttpConfig {
            force_https: true,
            body_limit_bytes: 8 << 30,
            timeout_s: 3600,
        },
    };
    let routes = std::iter::once(platform).chain(rows.iter().flat_map(routes_of)).collect();
    let certificates_served = certificates.iter().filter_map(|row| {
        let (chain_pem, key_pem) = (row.chain_pem.clone()?, row.key.clone()?);
        Some(CertificateSpec { hosts: vec![row.host.clone()], chain_pem, key_pem })
    });
    let challenges = certificates.iter().filter_map(|row| row.challenge.clone());
    RouteTable {
        routes,
        ports: rows.iter().flat_map(ports_of).collect(),
        certificates: certificates_served.collect(),
        challenges: challenges
            .map(|(token, key_authorization)| ChallengeSpec { token, key_authorization })
            .collect(),
        orders: certificates.iter().filter(|row| is_ordered(row)).map(|row| row.host.clone()).collect(),
    }
}

/// Tells whether the runtime may order a certificate: not while nobody has looked whether that can work, nor after a look that
/// failed, which has a time for the next one. What was served before is given on meanwhile.
pub(crate) fn is_ordered(row: &CertificateRow) -> bool {
    match row.state {
        CertificateState::Ordering => true,
        CertificateState::Issued { .. } => row.chain_pem.is_none(),
        CertificateState::Failed { .. } => row.next_attempt_at >= NEVER,
        CertificateState::Local | CertificateState::Pending | CertificateState::Own { .. } => false,
    }
}

fn routes_of(row: &RoutedRow) -> Vec<RouteSpec> {
    let placement = &row.placement;
    let serving = row.serving.as_ref().filter(|s| s.config.web_port().is_some());
    let workloads = serving.map(|serving| WorkloadKey {
        environment: environment_of(placement),
        placement: placement.id.clone(),
        process: panda_domain::names::ProcessName::web(),
        release: serving.release.clone(),
        revision: serving.revision,
    });
    let http = serving.map(|s| s.config.http.clone()).unwrap_or_default();
    let given = (placement.host.clone(), "/".to_owned());
    let hosts =
        std::iter::once(given).chain(row.domains.iter().map(|d| (d.host.to_string(), d.path.clone())));
    hosts
        .map(|(host, path)| RouteSpec {
            id: route_id(&host, &path),
            placement: Some(placement.id.clone()),
            app: placement.app_name.to_string(),
            host,
            path,
            target: RouteTarget::Workloads(workloads.iter().cloned().collect()),
            http: http.clone(),
        })
        .collect()
}

/// The ports that the serving release wants and the app has.
fn ports_of(row: &RoutedRow) -> Vec<PortSpec> {
    let Some(serving) = &row.serving else { return Vec::new() };
    let wishes = &serving.config.ports;
    let held: Vec<_> = row.ports.iter().map(|row| row.held.clone()).collect();
    let with_ports = wishes.iter().zip(fulfilled(wishes, &held));
    let wanted = with_ports.filter(|(wish, _)| serving.config.processes.contains_key(&wish.process));
    let specs = wanted.filter_map(|(wish, published)| {
        Some(PortSpec {
            published: published?,
            target: WorkloadKey {
                environment: environment_of(&row.placement),
                placement: row.placement.id.clone(),
                process: wish.process.clone(),
                release: serving.release.clone(),
                revision: serving.revision,
            },
            port: wish.port,
            app: row.placement.app_name.to_string(),
        })
    });
    specs.collect()
}

/// A route is its host and path, so its id follows from them and stays over restarts.
fn route_id(host: &str, path: &str) -> RouteId {
    let hash = Sha256::digest(format!("{host}\n{path}"));
    let bytes: [u8; 16] = hash[..16].try_into().expect("a SHA-256 has 32 bytes");
    RouteId::from_bits(u128::from_be_bytes(bytes) & (u128::MAX >> 1))
}
