//! Certificates of hosts that no route leads to any more.

use std::time::Duration;

use panda_store::RoutedRow;

use super::Garbage;
use super::error::GarbageError;
use super::tally::Tally;

/// A domain that is put back within these days, or an app that is made again, needs no new certificate: authorities allow
/// five of the same a week.
const KEPT: Duration = Duration::from_hours(7 * 24);
/// Certificates that one pass forgets at most.
const AT_ONCE: u32 = 100;

impl Garbage {
    /// Forgets them; the next route table takes them from the ingress too.
    pub(super) async fn certificates(&self) -> Result<Tally, GarbageError> {
        let before = self.ago(KEPT);
        let mut tx = self.store.begin().await?;
        let routed = routed_hosts(&tx.routed_rows().await?, &self.settings.platform_host);
        let gone = tx.delete_unrouted_certificates(&routed, before, AT_ONCE).await?;
        if !gone.is_empty() {
            tx.wake();
        }
        tx.commit().await?;
        let mut tally = Tally::bounded(gone.len() == AT_ONCE as usize);
        tally.count("certificates", gone.len() as u64);
        Ok(tally)
    }
}

/// Returns the hosts that routes lead to, each once: the platform's own, the given ones, and proven domains.
fn routed_hosts(rows: &[RoutedRow], platform_host: &str) -> Vec<String> {
    let given = rows.iter().map(|row| row.placement.host.clone());
    let domains = rows.iter().flat_map(|row| row.domains.iter().map(|d| d.host.to_string()));
    let mut hosts: Vec<String> =
        std::iter::once(platform_host.to_owned()).chain(given).chain(domains).collect();
    hosts.sort_unstable();
    hosts.dedup();
    hosts
}
