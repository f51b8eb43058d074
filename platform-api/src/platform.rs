//! Everything that the use-cases need, made once at the start.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use panda_builder::images::ImageParts;
use panda_deployer::export::Exporters;
use panda_deployer::runtime::Runtime;
use panda_domain::port::PortRange;
use panda_registry_token::RegistryKey;
use panda_store::{BlobDir, Store};
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::app::domains::DnsLookup;
use crate::auth::attempts::Attempts;
use crate::auth::{Forwarders, KnownTokens, Passwords};
use crate::error::Result;
use crate::http::metrics::Metrics;

/// What the operator set.
#[derive(Debug, Clone)]
pub struct PlatformSettings {
    /// The platform's own address for people and clients; never taken from a request.
    pub public_url: Url,
    /// The domain that apps get their hosts in, such as `203.0.113.7.sslip.io` or `localhost`.
    pub apps_domain: String,
    /// Whether apps answer by https.
    pub apps_https: bool,
    /// The port that apps answer at, `None` for the scheme's own.
    pub apps_port: Option<u16>,
    /// The certificate of the local authority, PEM, when it is used.
    pub local_ca: Option<String>,
    /// The addresses that people point their domains at.
    pub addresses: Vec<IpAddr>,
    /// Whose `X-Forwarded-For` may be believed.
    pub forwarders: Forwarders,
    /// The registry of the platform's own builds, as the runtime pulls from it: no image may be named there, or one team
    /// could run another's.
    pub own_registry: String,
    /// Registries on private addresses that images may come from all the same.
    pub allowed_image_hosts: Vec<String>,
    /// The TCP ports that apps may publish.
    pub tcp_ports: PortRange,
    /// How long a request may take that is no upload and no stream.
    pub request_deadline: Duration,
    /// The server's version.
    pub version: String,
}

impl PlatformSettings {
    /// Returns the address of an app's host, without a slash at its end.
    pub fn app_url(&self, host: &str) -> String {
        let scheme = if self.apps_https { "https" } else { "http" };
        match self.apps_port {
            Some(port) => format!("{scheme}://{host}:{port}"),
            None => format!("{scheme}://{host}"),
        }
    }

    /// Returns a page of the platform, such as `/device`.
    pub fn page(&self, path: &str) -> String {
        format!("{}{path}", self.public_url.as_str().trim_end_matches('/'))
    }

    /// Returns the platform's own host.
    pub fn own_host(&self) -> &str {
        self.public_url.host_str().unwrap_or_default()
    }

    /// Tells whether the platform itself answers by https.
    pub fn is_https(&self) -> bool {
        self.public_url.scheme() == "https"
    }
}

/// What a platform is made of.
pub struct PlatformParts {
    /// The state.
    pub store: Store,
    /// Where uploads lie.
    pub blobs: BlobDir,
    /// The folder of the kept build logs.
    pub build_logs: PathBuf,
    /// What runs the containers.
    pub runtime: Arc<dyn Runtime>,
    /// Write apps as files that need no Panda.
    pub exporters: Exporters,
    /// What the operator set.
    pub settings: PlatformSettings,
    /// Signs tokens for the platform's own registry; `None` where there is none.
    pub registry_key: Option<RegistryKey>,
    /// Looks at the records of domains.
    pub dns: DnsLookup,
    /// The platform's own registry, for images that come or go; `None` where there is none.
    pub images: Option<ImageParts>,
    /// Ends streams when the server stops.
    pub shutdown: CancellationToken,
}

/// Everything that the use-cases need.
pub struct Platform {
    /// The state.
    pub store: Store,
    /// Where uploads lie.
    pub blobs: BlobDir,
    /// The folder of the kept build logs.
    pub build_logs: PathBuf,
    /// What runs the containers. Handlers may look, and never change.
    pub runtime: Arc<dyn Runtime>,
    /// Write apps as files that need no Panda.
    pub exporters: Exporters,
    /// What the operator set.
    pub settings: PlatformSettings,
    /// Signs tokens for the platform's own registry; `None` where there is none.
    pub registry_key: Option<RegistryKey>,
    /// Looks at the records of domains.
    pub dns: DnsLookup,
    /// The platform's own registry, for images that come or go.
    pub images: Option<ImageParts>,
    /// Counts and times requests.
    pub metrics: Metrics,
    /// Ends streams when the server stops.
    pub shutdown: CancellationToken,
    /// Hashes and checks passwords.
    pub passwords: Passwords,
    /// Counts wrong secrets by address.
    pub attempts: Attempts,
    /// Tokens that were looked up a moment ago.
    pub known_tokens: KnownTokens,
    claimed: AtomicBool,
}

impl Platform {
    /// Puts the parts together.
    pub fn new(parts: PlatformParts) -> Arc<Self> {
        let clock = parts.store.clock().clone();
        Arc::new(Self {
            store: parts.store,
            blobs: parts.blobs,
            build_logs: parts.build_logs,
            runtime: parts.runtime,
            exporters: parts.exporters,
            settings: parts.settings,
            registry_key: parts.registry_key,
            dns: parts.dns,
            images: parts.images,
            metrics: Metrics::install(),
            shutdown: parts.shutdown,
            passwords: Passwords::default(),
            attempts: Attempts::new(clock),
            known_tokens: KnownTokens::default(),
            claimed: AtomicBool::new(false),
        })
    }

    /// Tells whether the server has an owner. Asks the database until it has; after that it never loses one.
    pub async fn is_claimed(&self) -> Result<bool> {
        if self.claimed.load(Ordering::Relaxed) {
            return Ok(true);
        }
        let claimed = crate::app::claim::is_claimed(&self.store).await?;
        self.claimed.store(claimed, Ordering::Relaxed);
        Ok(claimed)
    }
}
