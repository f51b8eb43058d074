//! Asks the DNS what a host says, with a deadline, past any cache of ours.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig, ResolverOpts};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{RData, RecordType};
use hickory_resolver::{Resolver, TokioResolver};

/// The DNS couldn't be asked.
#[derive(Debug, thiserror::Error)]
pub enum DnsError {
    /// The system's settings can't be used.
    #[error("set the DNS resolver up")]
    SetUp(#[source] NetError),
    /// Nobody answered in time, or said that they can't.
    #[error("the DNS gave no answer about `{name}`")]
    Silent {
        /// Which name.
        name: String,
        /// What went wrong.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

type Result<T> = std::result::Result<T, DnsError>;

const DEADLINE: Duration = Duration::from_secs(5);

/// Looks names up at the system's resolvers or at one that is set.
#[derive(Clone)]
pub struct DnsLookup(TokioResolver);

impl DnsLookup {
    /// Returns a lookup by the system's resolvers.
    pub fn system() -> Result<Self> {
        let mut builder = TokioResolver::builder_tokio().map_err(DnsError::SetUp)?;
        *builder.options_mut() = options(builder.options_mut().clone());
        Ok(Self(builder.build().map_err(DnsError::SetUp)?))
    }

    /// Returns a lookup that asks this resolver alone.
    pub fn at(resolver: SocketAddr) -> Result<Self> {
        let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()]
            .into_iter()
            .map(|mut connection| {
                connection.port = resolver.port();
                connection
            })
            .collect();
        let server = NameServerConfig::new(resolver.ip(), true, connections);
        let config = ResolverConfig::from_name_servers(vec![server]);
        let mut builder = Resolver::builder_with_config(config, TokioRuntimeProvider::default());
        *builder.options_mut() = options(ResolverOpts::default());
        Ok(Self(builder.build().map_err(DnsError::SetUp)?))
    }

    /// Returns the addresses of a host, CNAMEs followed; empty when there are none.
    pub async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>> {
        let (v4, v6) = tokio::join!(self.ask(host, RecordType::A), self.ask(host, RecordType::AAAA));
        let (v4, v6) = (v4?, v6?);
        let mut found: Vec<IpAddr> = v4
            .iter()
            .chain(&v6)
            .filter_map(|data| match data {
                RData::A(a) => Some(IpAddr::V4(a.0)),
                RData::AAAA(a) => Some(IpAddr::V6(a.0)),
                _ => None,
            })
            .collect();
        found.sort_unstable();
        found.dedup();
        Ok(found)
    }

    /// Returns the texts of a name; empty when there are none.
    pub async fn texts(&self, name: &str) -> Result<Vec<String>> {
        let records = self.ask(name, RecordType::TXT).await?;
        let mut found: Vec<String> = records
            .iter()
            .filter_map(|data| match data {
                RData::TXT(text) => {
                    let whole = text.txt_data.concat();
                    Some(
                        String::from_utf8_lossy(&whole)
                            .chars()
                            .filter(|c| !c.is_control())
                            .take(255)
                            .collect(),
                    )
                }
                _ => None,
            })
            .collect();
        found.sort_unstable();
        Ok(found)
    }

    /// Returns the authorities that may issue for a name, by the CAA records of the name itself or of the nearest parent that has
    /// some (RFC 8659); `None` when there are none and anybody may. `;` alone gives an empty list.
    pub async fn issuers(&self, host: &str) -> Result<Option<Vec<String>>> {
        let mut name = host;
        loop {
            let records = self.ask(name, RecordType::CAA).await?;
            let issues: Vec<String> = records.iter().filter_map(may_issue).collect();
            if !records.is_empty() {
                let named = issues.iter().filter(|issuer| !issuer.is_empty()).cloned().collect();
                // Records of other kinds, such as `iodef` alone, bind nobody.
                return Ok((!issues.is_empty()).then_some(named));
            }
            match name.split_once('.') {
                Some((_, parent)) if parent.contains('.') => name = parent,
                _ => return Ok(None),
            }
        }
    }

    async fn ask(&self, name: &str, kind: RecordType) -> Result<Vec<RData>> {
        // The dot at the end keeps the system's search domains out.
        let asked = tokio::time::timeout(DEADLINE, self.0.lookup(format!("{name}."), kind));
        match asked.await {
            Ok(Ok(lookup)) => Ok(lookup.answers().iter().map(|record| record.data.clone()).collect()),
            Ok(Err(error)) if error.is_no_records_found() || error.is_nx_domain() => Ok(Vec::new()),
            Ok(Err(error)) => Err(silent(name, error)),
            Err(elapsed) => Err(silent(name, elapsed)),
        }
    }
}

fn options(mut options: ResolverOpts) -> ResolverOpts {
    options.timeout = Duration::from_secs(2);
    options.attempts = 2;
    // People change a record and try again at once.
    options.cache_size = 0;
    options.use_hosts_file = hickory_resolver::config::ResolveHosts::Never;
    options
}

/// Reads a CAA record's `issue`: the authority's domain, without its parameters.
fn may_issue(data: &RData) -> Option<String> {
    let RData::CAA(record) = data else { return None };
    if !record.tag.eq_ignore_ascii_case("issue") {
        return None;
    }
    let value = String::from_utf8_lossy(&record.value).into_owned();
    Some(value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
}

fn silent(name: &str, source: impl std::error::Error + Send + Sync + 'static) -> DnsError {
    DnsError::Silent { name: name.to_owned(), source: Box::new(source) }
}
