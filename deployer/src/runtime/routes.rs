//! Routes and certificates: which requests go where.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use async_trait::async_trait;
use jiff::Timestamp;
use panda_domain::ids::{PlacementId, RouteId};
use panda_domain::port::PortState;
use panda_domain::release::HttpConfig;
use panda_domain::route::CertificateState;
use panda_domain::secret::Secret;

use super::RuntimeResult;
use super::workloads::WorkloadKey;

/// Where a route's requests go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RouteTarget {
    /// The ready instances of these workloads.
    Workloads(Vec<WorkloadKey>),
    /// The platform itself.
    Platform(SocketAddr),
}

/// One route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteSpec {
    /// Its id.
    pub id: RouteId,
    /// Whose, `None` for the platform's own.
    pub placement: Option<PlacementId>,
    /// The app's name, for logs and metrics.
    pub app: String,
    /// The host.
    pub host: String,
    /// The path's beginning, `/` for all.
    pub path: String,
    /// Where to.
    pub target: RouteTarget,
    /// How.
    pub http: HttpConfig,
}

/// A port of the world that leads to a port of a process, whatever is spoken there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortSpec {
    /// The port that the world connects to, one app's on the whole server.
    pub published: u16,
    /// Which workload's ready instances take its connections.
    pub target: WorkloadKey,
    /// The port that they listen on.
    pub port: u16,
    /// The app's name, for logs and metrics.
    pub app: String,
}

/// A certificate to serve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateSpec {
    /// For these hosts.
    pub hosts: Vec<String>,
    /// Leaf first, PEM.
    pub chain_pem: String,
    /// Private key, PEM.
    pub key_pem: Secret,
}

/// An ACME challenge to answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChallengeSpec {
    /// The last part of the URL.
    pub token: String,
    /// What to answer.
    pub key_authorization: String,
}

/// Everything that should be routed, whole.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RouteTable {
    /// The routes.
    pub routes: Vec<RouteSpec>,
    /// The published ports.
    pub ports: Vec<PortSpec>,
    /// The certificates.
    pub certificates: Vec<CertificateSpec>,
    /// The challenges.
    pub challenges: Vec<ChallengeSpec>,
    /// Hosts without a certificate here, for which a runtime that orders certificates may order one.
    pub orders: BTreeSet<String>,
}

/// A certificate that the runtime orders, serves and renews by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderedCertificate {
    /// For this host.
    pub host: String,
    /// Where it stands, as observed.
    pub state: CertificateState,
    /// When its renewal should have begun; not known before it is issued.
    pub renewal_at: Option<Timestamp>,
}

/// What the ingress does now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservedRoutes {
    /// For each route, the workloads' instances that take its requests right now.
    pub upstreams: Vec<(RouteId, Vec<String>)>,
    /// What became of each published port of the table.
    pub ports: Vec<(u16, PortState)>,
}

/// Routes.
#[async_trait]
pub trait Routes: Send + Sync {
    /// Makes the ingress route just this: everything in one step, acknowledged when in effect. Addresses of ready
    /// instances are found by the driver at this moment. A port that can't be had is told and keeps nothing else from taking
    /// effect. Answers with what is routed now.
    async fn ensure_routes(&self, table: &RouteTable) -> RuntimeResult<ObservedRoutes>;

    /// Tells whether the ingress still does what the last [`Routes::ensure_routes`] of this process told it, and no instance
    /// has become ready, drained or gone since: then the same table would change nothing.
    async fn routes_stand(&self) -> RuntimeResult<bool>;

    /// Tells where the certificates stand that this runtime orders by itself; none where it orders none.
    async fn ordered_certificates(&self) -> RuntimeResult<Vec<OrderedCertificate>>;
}
