//! The line to buildkitd: one channel, our own session, no `buildctl`.

mod auth;
mod filesync;
pub mod log;
mod secrets;
mod session;
pub mod solve;

use std::time::Duration;

use bollard_buildkit_proto::moby::buildkit::v1::control_client::ControlClient;
use bollard_buildkit_proto::moby::buildkit::v1::{InfoRequest, PruneRequest};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

pub use auth::RegistryCredentials;
pub(crate) use auth::{Logins, OwnRegistry};
pub use filesync::SentFiles;

/// Largest message that is read from the daemon, in bytes.
pub(crate) const MAX_MESSAGE_BYTES: usize = 16 << 20;
/// How long the daemon may take to answer a question that needs no work.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the daemon may take to empty its cache: it deletes file by file.
const PRUNE_TIMEOUT: Duration = Duration::from_mins(1);
/// Pauses between attempts to empty the cache of a full disk; the reserve is given up within a second or two.
const RESERVE_WAITS: [Duration; 4] =
    [Duration::from_millis(500), Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(4)];

/// Where buildkitd listens and how it knows us.
#[derive(Clone)]
pub struct BuildkitConfig {
    /// `unix:///path/to/buildkitd.sock` or `tcp://host:port`.
    pub address: String,
    /// Mutual TLS; without it a `tcp://` address gives everyone in reach the daemon.
    pub tls: Option<BuildkitTls>,
}

/// Client certificate and authority for a `tcp://` address, PEM.
#[derive(Clone)]
pub struct BuildkitTls {
    /// Certificates that the daemon's is checked against.
    pub authority: Vec<u8>,
    /// Our certificate.
    pub certificate: Vec<u8>,
    /// Our private key.
    pub key: Vec<u8>,
    /// The name in the daemon's certificate.
    pub server_name: String,
}

/// Why the daemon couldn't be asked.
#[derive(Debug, thiserror::Error)]
pub enum BuildkitError {
    /// The address isn't one.
    #[error("`{address}` is no BuildKit address (expected unix:///path or tcp://host:port)")]
    Address {
        /// As configured.
        address: String,
        /// What the parser says.
        #[source]
        source: tonic::transport::Error,
    },
    /// A certificate can't be used.
    #[error("set up TLS for BuildKit at `{address}`")]
    Tls {
        /// As configured.
        address: String,
        /// What the TLS library says.
        #[source]
        source: tonic::transport::Error,
    },
    /// A call failed.
    #[error("{action} at BuildKit: {}", source.message())]
    Call {
        /// What we tried.
        action: &'static str,
        /// The daemon's answer.
        #[source]
        source: Box<tonic::Status>,
    },
    /// A call took too long.
    #[error("{action} at BuildKit: no answer within {seconds} s")]
    Silent {
        /// What we tried.
        action: &'static str,
        /// How long we waited.
        seconds: u64,
    },
}

/// A buildkitd; connects when first used and again whenever the connection is lost.
#[derive(Clone)]
pub struct Buildkitd {
    channel: Channel,
    address: String,
}

impl std::fmt::Debug for Buildkitd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Buildkitd({})", self.address)
    }
}

impl Buildkitd {
    /// Prepares the connection; nothing is sent yet. Must be called within a Tokio runtime.
    pub fn new(config: &BuildkitConfig) -> Result<Self, BuildkitError> {
        let scheme = if config.tls.is_some() { "https://" } else { "http://" };
        let url = config.address.replacen("tcp://", scheme, 1);
        let address = config.address.clone();
        let mut endpoint = Endpoint::try_from(url)
            .map_err(|source| BuildkitError::Address { address: address.clone(), source })?;
        if let Some(tls) = &config.tls {
            let identity = Identity::from_pem(&tls.certificate, &tls.key);
            let setup = ClientTlsConfig::new()
                .ca_certificate(Certificate::from_pem(&tls.authority))
                .identity(identity)
                .domain_name(&tls.server_name);
            endpoint = endpoint
                .tls_config(setup)
                .map_err(|source| BuildkitError::Tls { address: address.clone(), source })?;
        }
        let channel = endpoint
            .connect_timeout(ANSWER_TIMEOUT)
            .http2_keep_alive_interval(Duration::from_secs(10))
            .keep_alive_timeout(Duration::from_secs(20))
            .initial_stream_window_size(1 << 20)
            .initial_connection_window_size(1 << 22)
            .connect_lazy();
        Ok(Self { channel, address })
    }

    /// Returns the address as configured.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Asks the daemon for its version, within 5 s.
    pub async fn version(&self) -> Result<String, BuildkitError> {
        let action = "ask for the version";
        let mut client = self.client();
        let answer = tokio::time::timeout(ANSWER_TIMEOUT, client.info(InfoRequest {}))
            .await
            .map_err(|_| BuildkitError::Silent { action, seconds: ANSWER_TIMEOUT.as_secs() })?
            .map_err(|status| BuildkitError::Call { action, source: Box::new(status) })?;
        Ok(answer.into_inner().buildkit_version.map(|v| v.version).unwrap_or_default())
    }

    /// Throws away all that no build uses at this moment, within 60 s; returns how many bytes that was.
    ///
    /// May run twice: the second time there is nothing.
    pub async fn prune(&self) -> Result<u64, BuildkitError> {
        let action = "empty the cache";
        let pruning = async {
            let request = PruneRequest { all: true, ..Default::default() };
            let mut records = self.client().prune(request).await?.into_inner();
            let mut freed = 0;
            while let Some(record) = records.message().await? {
                freed += u64::try_from(record.size).unwrap_or(0);
            }
            Ok(freed)
        };
        tokio::time::timeout(PRUNE_TIMEOUT, pruning)
            .await
            .map_err(|_| BuildkitError::Silent { action, seconds: PRUNE_TIMEOUT.as_secs() })?
            .map_err(|status| BuildkitError::Call { action, source: Box::new(status) })
    }

    /// Empties the cache of a daemon whose disk is full: until its container has given up the reserve (`entry.sh`), the daemon
    /// has no block left to note a deletion in.
    pub(crate) async fn prune_when_full(&self) -> Result<u64, BuildkitError> {
        let mut waits = RESERVE_WAITS.iter();
        loop {
            match self.prune().await {
                Err(BuildkitError::Call { source, .. })
                    if source.message().contains("no space left on device")
                        && let Some(wait) = waits.next() =>
                {
                    tokio::time::sleep(*wait).await;
                }
                ended => return ended,
            }
        }
    }

    pub(crate) fn client(&self) -> ControlClient<Channel> {
        ControlClient::new(self.channel.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES)
    }
}
