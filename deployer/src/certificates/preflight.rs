//! Before a certificate is ordered: would the authority find what it looks for? A failed order counts against its limits, and
//! its words say less than ours.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use panda_domain::address::is_public;
use reqwest::{Client, redirect};
use serde::Deserialize;

use super::CertificateSettings;
use crate::dns::{DnsError, DnsLookup};

/// How long one address may take to answer at port 80.
const ANSWER: Duration = Duration::from_secs(5);
/// How many addresses of a host are asked.
const ADDRESSES: usize = 8;
/// Where authorities ask. Nothing lies at this name; any answer proves that requests arrive.
const PATH: &str = "/.well-known/acme-challenge/panda-preflight";

/// What is looked at before an order.
pub struct Preflight {
    dns: DnsLookup,
    /// Addresses of ours, which may be private ones.
    own: Vec<IpAddr>,
    /// The ACME directory, which names the authority's domains in CAA records; `None` when it isn't known.
    directory: Option<(Client, String)>,
    /// Whether the authority will ask at port 80.
    by_http: bool,
}

#[derive(Deserialize)]
struct Directory {
    #[serde(default)]
    meta: Meta,
}

#[derive(Default, Deserialize)]
struct Meta {
    #[serde(default, rename = "caaIdentities")]
    caa_identities: Vec<String>,
}

/// Why an order would fail, for people, with what to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal(pub(super) String);

impl Preflight {
    /// Asks this DNS. `own` are addresses of ours, asked although they may be private; `authority` is whom certificates are
    /// ordered from, if that is known. A file with the authority's own CA that can't be read is as if there were none.
    pub fn new(dns: DnsLookup, own: Vec<IpAddr>, authority: &CertificateSettings) -> Self {
        let mut client = Client::builder().timeout(ANSWER);
        let ca = authority.ca_file.as_ref().and_then(|file| std::fs::read(file).ok());
        if let Some(ca) = ca.and_then(|pem| reqwest::Certificate::from_pem(&pem).ok()) {
            client = client.tls_certs_merge([ca]);
        }
        let client = client.build().expect("a client with a certificate that was read can be built");
        Self { dns, own, directory: authority.directory.clone().map(|url| (client, url)), by_http: true }
    }

    /// Leaves out what only matters to an authority that asks at port 80.
    #[must_use]
    pub fn without_http(self) -> Self {
        Self { by_http: false, ..self }
    }

    /// Returns the authority's domains in CAA records, as its directory names them (RFC 8555, 7.1.1); none when it doesn't.
    async fn issuers(&self) -> Vec<String> {
        let Some((client, url)) = &self.directory else { return Vec::new() };
        let asked = async { client.get(url).send().await?.json::<Directory>().await };
        asked.await.map(|directory| directory.meta.caa_identities).unwrap_or_default()
    }

    /// Fails with the first thing that an authority would stumble on. What can't be asked now is no obstacle: the authority may
    /// well be able to.
    pub(super) async fn look(&self, host: &str) -> Result<(), Refusal> {
        if !self.by_http {
            return self.may_issue(host).await;
        }
        let addresses = match self.dns.addresses(host).await {
            Ok(addresses) => addresses,
            Err(error) => return Err(silent(host, &error)),
        };
        if addresses.is_empty() {
            return Err(Refusal(format!("`{host}` has no A or AAAA record; {}", self.point(host))));
        }
        self.may_issue(host).await?;
        for address in addresses.into_iter().take(ADDRESSES) {
            self.answers(host, address).await?;
        }
        Ok(())
    }

    async fn may_issue(&self, host: &str) -> Result<(), Refusal> {
        let named = match self.dns.issuers(host).await {
            Ok(Some(named)) => named,
            Ok(None) => return Ok(()),
            Err(error) => return Err(silent(host, &error)),
        };
        let ours = self.issuers().await;
        if allows(&named, &ours) {
            return Ok(());
        }
        let named = if named.is_empty() { "nobody".to_owned() } else { named.join(", ") };
        let wanted = ours.first().map_or("the authority", String::as_str);
        Err(Refusal(format!(
            "the CAA records of `{host}` let {named} issue certificates; add `0 issue \"{wanted}\"`"
        )))
    }

    /// Asks one address as an authority would. Private ones that aren't ours are refused unasked: nobody shall look around in the
    /// operator's network by naming hosts.
    async fn answers(&self, host: &str, address: IpAddr) -> Result<(), Refusal> {
        if !self.own.contains(&address) && !is_public(address) {
            let point = self.point(host);
            return Err(Refusal(format!(
                "`{host}` leads to {address}, which the internet can't reach; {point}"
            )));
        }
        let client = Client::builder()
            .no_proxy()
            .timeout(ANSWER)
            .redirect(redirect::Policy::none())
            .resolve(host, SocketAddr::new(address, 80))
            .build()
            .expect("a client without special settings can be built");
        match client.get(format!("http://{host}{PATH}")).send().await {
            Ok(_) => Ok(()),
            Err(_) => Err(Refusal(format!(
                "nobody answers at port 80 of {address}, where `{host}` leads; let HTTP through to the platform, or {}",
                self.point(host)
            ))),
        }
    }

    fn point(&self, host: &str) -> String {
        match self.own.first() {
            Some(ours) => format!("point `{host}` at {ours}"),
            None => format!("point `{host}` at the platform's ingress"),
        }
    }
}

/// Tells whether CAA records that name these let one of ours issue; who isn't known isn't kept from trying.
fn allows(named: &[String], ours: &[String]) -> bool {
    ours.is_empty() || named.iter().any(|name| ours.contains(name))
}

fn silent(host: &str, error: &DnsError) -> Refusal {
    Refusal(format!("{error}; look at the name servers of `{host}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn caa_records_bind_whom_they_name() {
        let list = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        assert!(allows(&list(&["letsencrypt.org", "sectigo.com"]), &list(&["letsencrypt.org"])));
        assert!(!allows(&list(&["sectigo.com"]), &list(&["letsencrypt.org"])));
        assert!(!allows(&[], &list(&["letsencrypt.org"])), "`;` lets nobody");
        assert!(allows(&list(&["sectigo.com"]), &[]), "an authority that isn't known may try");
    }
}
