//! The certificate reconciler: every host that is routed has a certificate that isn't about to end.
//!
//! Hosts below `localhost`, and all hosts when no ACME directory is set, get one from the local authority. Others are ordered
//! by HTTP-01: the challenge goes into the state, from there with the next route table to the ingress, which answers it. A
//! host whose order fails keeps what it has and is tried again later; others don't notice. Certificates that people gave are
//! left alone, whichever reconciler runs; their owners are warned of the end.

mod acme;
mod local;
mod ordered;
mod own;
mod preflight;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use panda_edge::local_ca::LocalCa;
use panda_jobs::{Outcome, Reconciler};
use panda_store::{CertificateRow, Store};

use crate::error::DeployError;
use crate::routes::RoutePublisher;
use acme::Authority;
use local::LocalAuthority;

pub use local::is_local;
pub use ordered::OrderedCertificates;
pub use own::first_warning;
pub use preflight::Preflight;

/// The next time of a certificate that isn't looked at by time again: one that the runtime looks after, or of which all is said.
pub(crate) const NEVER: Timestamp = Timestamp::constant(32_503_680_000, 0); // the year 3000
/// A certificate is renewed this long before its end.
const RENEW_BEFORE: Duration = Duration::from_hours(720);
/// The wait after the first failed order; it doubles up to a day. Authorities allow five failures an hour for a host.
const FIRST_WAIT: Duration = Duration::from_mins(2);
/// The longest wait.
const LONGEST_WAIT: Duration = Duration::from_hours(24);
/// How long one order may take.
const ORDER_DEADLINE: Duration = Duration::from_mins(2);

/// How certificates are got.
#[derive(Debug, Clone, Default)]
pub struct CertificateSettings {
    /// The ACME directory; `None`: only the local authority.
    pub directory: Option<String>,
    /// Address that the authority may write to.
    pub email: Option<String>,
    /// The authority's own CA, for private ones.
    pub ca_file: Option<PathBuf>,
}

/// Keeps certificates.
pub struct Certificates {
    store: Store,
    publisher: Arc<RoutePublisher>,
    local: LocalAuthority,
    authority: Option<Authority>,
    platform_host: String,
}

impl Certificates {
    /// Makes the reconciler of an installation.
    pub fn new(
        store: Store,
        publisher: Arc<RoutePublisher>,
        local: LocalCa,
        settings: CertificateSettings,
        platform_host: String,
    ) -> Self {
        let authority =
            settings.directory.clone().map(|directory| Authority::new(store.clone(), directory, settings));
        let local = LocalAuthority { store: store.clone(), ca: local };
        Self { store, publisher, local, authority, platform_host }
    }

    /// Gets what is missing or about to end. Returns how many certificates changed.
    async fn renew(&self) -> Result<usize, DeployError> {
        let mut changed = own::warn_of_ends(&self.store).await?;
        let (mut orders, mut issued) = (Vec::new(), false);
        for (host, row) in self.due().await? {
            if self.authority.is_none() || is_local(&host) {
                self.local.issue(&host).await?;
                changed += 1;
                issued = true;
            } else {
                orders.push((host, row));
            }
        }
        if issued {
            self.publisher.publish().await?;
        }
        for (host, row) in orders {
            changed += usize::from(self.order(&host, row.as_ref()).await?);
        }
        Ok(changed)
    }

    /// Returns the hosts that need a certificate now, with what they have. Only these are read and decrypted: an
    /// installation has as many hosts as apps, and this runs after every commit.
    async fn due(&self) -> Result<Vec<(String, Option<CertificateRow>)>, DeployError> {
        let until = self.store.clock().now() + SignedDuration::try_from(RENEW_BEFORE).expect("30 days fit");
        let mut tx = self.store.read().await?;
        let mut due = Vec::new();
        for host in tx.hosts_without_certificate(until).await? {
            let row = tx.certificate(&host).await?;
            due.push((host, row));
        }
        let own = tx.certificate(&self.platform_host).await?;
        if self.is_due(own.as_ref(), until) {
            due.push((self.platform_host.clone(), own));
        }
        Ok(due)
    }

    fn is_due(&self, row: Option<&CertificateRow>, until: Timestamp) -> bool {
        row.is_none_or(|row| {
            let lacks = row.chain_pem.is_none() || row.not_after.is_none_or(|end| end < until);
            lacks && row.next_attempt_at <= self.store.clock().now()
        })
    }

    /// Orders one certificate. A failure is kept with its reason and the next try; the old certificate stays.
    async fn order(&self, host: &str, row: Option<&CertificateRow>) -> Result<bool, DeployError> {
        let Some(authority) = &self.authority else { return Ok(false) };
        let now = self.store.clock().now();
        if row.is_none_or(|row| row.chain_pem.is_none()) {
            // Something has to be served until the order is through, or TLS itself would fail.
            self.local.issue(host).await?;
        }
        let ordered = tokio::time::timeout(ORDER_DEADLINE, authority.order(host, &self.publisher)).await;
        let reason = match ordered {
            Ok(Ok(issued)) => {
                let mut tx = self.store.begin().await?;
                tx.upsert_certificate(&issued).await?;
                tx.wake();
                tx.commit().await?;
                self.publisher.publish().await?;
                return Ok(true);
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("the order took longer than {} s", ORDER_DEADLINE.as_secs()),
        };
        let attempts = row.map_or(0, |row| row.attempts) + 1;
        let mut tx = self.store.begin().await?;
        tx.fail_certificate(host, &reason, attempts, now + wait_after(attempts)).await?;
        tx.commit().await?;
        tracing::warn!(host, reason, "no certificate for `{host}`");
        Ok(false)
    }
}

fn wait_after(attempts: u32) -> jiff::SignedDuration {
    let wait = FIRST_WAIT.saturating_mul(1 << attempts.saturating_sub(1).min(12)).min(LONGEST_WAIT);
    jiff::SignedDuration::try_from(wait).expect("a day fits")
}

#[async_trait]
impl Reconciler for Certificates {
    fn name(&self) -> &'static str {
        "certificates"
    }

    async fn activate(&self) -> Outcome {
        match self.renew().await {
            Ok(0) => Outcome::Skipped,
            Ok(_) => Outcome::Applied,
            Err(error) => Outcome::failed("certificates", &error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failed_orders_stay_below_the_authorities_limit() {
        let in_the_first_hour = (1..10).scan(0, |sum, n| {
            *sum += wait_after(n).as_secs();
            Some(*sum)
        });
        assert!(in_the_first_hour.filter(|at| *at < 3600).count() < 5);
        assert_eq!(wait_after(40).as_secs(), 24 * 3600);
    }

    #[test]
    fn hosts_below_localhost_never_go_to_a_public_authority() {
        assert!(is_local("panda.localhost") && is_local("localhost") && !is_local("localhost.example.com"));
    }
}
