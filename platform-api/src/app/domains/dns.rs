//! Asks the DNS what a host says, with a deadline, past any cache of ours.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig, ResolverOpts};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{RData, RecordType};
use hickory_resolver::{Resolver, TokioResolver};

use crate::error::{Error, Result};

const DEADLINE: Duration = Duration::from_secs(5);

/// Looks names up at the system's resolvers or at one that is set.
#[derive(Clone)]
pub struct DnsLookup(TokioResolver);

impl DnsLookup {
    /// Returns a lookup by the system's resolvers.
    pub fn system() -> Result<Self> {
        let mut builder = TokioResolver::builder_tokio().map_err(set_up)?;
        *builder.options_mut() = options(builder.options_mut().clone());
        Ok(Self(builder.build().map_err(set_up)?))
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
        Ok(Self(builder.build().map_err(set_up)?))
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

    async fn ask(&self, name: &str, kind: RecordType) -> Result<Vec<RData>> {
        // The dot at the end keeps the system's search domains out.
        let asked = tokio::time::timeout(DEADLINE, self.0.lookup(format!("{name}."), kind));
        match asked.await {
            Ok(Ok(lookup)) => Ok(lookup.answers().iter().map(|record| record.data.clone()).collect()),
            Ok(Err(error)) if error.is_no_records_found() || error.is_nx_domain() => Ok(Vec::new()),
            Ok(Err(error)) => Err(unreachable_dns(name).with_source(error)),
            Err(elapsed) => Err(unreachable_dns(name).with_source(elapsed)),
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

fn set_up(error: NetError) -> Error {
    Error::unavailable("the server's DNS resolver can't be set up").with_source(error)
}

fn unreachable_dns(name: &str) -> Error {
    Error::unavailable(format!("the DNS gave no answer about `{name}`"))
        .with_hint("try again in a minute; check the domain's name servers if it stays so")
}
