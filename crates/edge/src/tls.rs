//! The TLS side: a certificate by server name out of the table, a self-signed one otherwise.

use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::protocol::Certificate;
use crate::table::Table;

/// Says what is wrong with a certificate.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// The chain can't be read.
    #[error("the chain is no PEM certificate: {0}")]
    Chain(String),
    /// The chain has no certificate in it.
    #[error("the chain is empty")]
    Empty,
    /// The key can't be read. What is in it isn't said.
    #[error("the key is no PEM private key")]
    Key,
    /// Key and certificate don't belong together, or can't be used.
    #[error("the key can't sign for the certificate: {0}")]
    Mismatch(rustls::Error),
}

/// A certificate that is parsed when it is first shown: most of a thousand are shown rarely.
pub(crate) struct LazyCertificate {
    source: Arc<Certificate>,
    ready: OnceLock<Option<Arc<CertifiedKey>>>,
}

impl LazyCertificate {
    pub(crate) fn new(source: Arc<Certificate>) -> Self {
        Self { source, ready: OnceLock::new() }
    }

    fn get(&self) -> Option<Arc<CertifiedKey>> {
        let parsed = self.ready.get_or_init(|| match parse(&self.source) {
            Ok(key) => Some(Arc::new(key)),
            Err(error) => {
                tracing::error!("certificate `{}` can't be used: {error}", self.source.id);
                None
            }
        });
        parsed.clone()
    }
}

/// Parses a certificate and proves that its key belongs to it.
pub(crate) fn parse(certificate: &Certificate) -> Result<CertifiedKey, CertificateError> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(certificate.chain_pem.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|error| CertificateError::Chain(error.to_string()))?;
    if chain.is_empty() {
        return Err(CertificateError::Empty);
    }
    let key = PrivateKeyDer::from_pem_slice(certificate.key_pem.reveal().as_bytes())
        .map_err(|_| CertificateError::Key)?;
    CertifiedKey::from_der(chain, key, &provider()).map_err(CertificateError::Mismatch)
}

fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    Arc::clone(PROVIDER.get_or_init(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider())))
}

struct ByServerName {
    table: Arc<ArcSwap<Table>>,
    fallback: Arc<CertifiedKey>,
}

impl std::fmt::Debug for ByServerName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ByServerName").finish_non_exhaustive()
    }
}

impl ResolvesServerCert for ByServerName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let found = hello.server_name().and_then(|name| {
            let table = self.table.load();
            // Names in a handshake are lower case already, as rustls checks and lowers them.
            table.certificates.find(name).and_then(|certificate| certificate.get())
        });
        Some(found.unwrap_or_else(|| Arc::clone(&self.fallback)))
    }
}

/// Says what went wrong while TLS was prepared.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The self-signed certificate could not be made.
    #[error("make a self-signed certificate")]
    SelfSigned(#[source] rcgen::Error),
    /// The TLS library refused its configuration.
    #[error("configure TLS")]
    Configure(#[source] rustls::Error),
}

/// Makes the configuration of every TLS listener.
pub(crate) fn server_config(table: &Arc<ArcSwap<Table>>) -> Result<Arc<ServerConfig>, TlsError> {
    let fallback = Arc::new(self_signed()?);
    let resolver = ByServerName { table: Arc::clone(table), fallback };
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Configure)?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(resolver));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new().map_err(TlsError::Configure)?;
    config.send_tls13_tickets = 1;
    Ok(Arc::new(config))
}

fn self_signed() -> Result<CertifiedKey, TlsError> {
    let made = rcgen::generate_simple_self_signed(vec!["panda-edge.invalid".to_owned()])
        .map_err(TlsError::SelfSigned)?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    CertifiedKey::from_der(vec![made.cert.der().clone()], key, &provider()).map_err(TlsError::Configure)
}
