//! Certificates that the runtime orders by itself, as a cluster's cert-manager does: which hosts it may order for, and where they
//! stand. What people are told is what was observed; a renewal that doesn't come is told before the certificate ends.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::{StreamExt as _, stream};
use jiff::{SignedDuration, Timestamp};
use panda_domain::event::Actor;
use panda_domain::route::CertificateState;
use panda_edge::local_ca::LocalCa;
use panda_jobs::{Outcome, Reconciler};
use panda_store::{CertificateRow, NewEvent, Store, Tx};
use serde_json::json;

use super::local::{LocalAuthority, is_local};
use super::own;
use super::preflight::{Preflight, Refusal};
use super::{NEVER, RENEW_BEFORE};
use crate::error::DeployError;
use crate::routes::{RoutePublisher, is_ordered};
use crate::runtime::{OrderedCertificate, Runtime};

/// A renewal may take this long until somebody is told.
const LATE: Duration = Duration::from_hours(24);
/// How long all that is looked at of one host may take.
const LOOK: Duration = Duration::from_secs(30);
/// How many hosts are looked at at the same time.
const LOOKS: usize = 16;
/// The wait after the first look that found an obstacle; it doubles.
const FIRST_LOOK_AGAIN: Duration = Duration::from_secs(20);
/// The longest wait.
const LAST_LOOK_AGAIN: Duration = Duration::from_hours(1);

/// Keeps the certificates of a runtime that orders by itself.
pub struct OrderedCertificates {
    store: Store,
    runtime: Arc<dyn Runtime>,
    publisher: Arc<RoutePublisher>,
    local: LocalAuthority,
    preflight: Preflight,
    /// What was noted of each host since the start, so that nothing is read for what didn't change.
    noted: Mutex<HashMap<String, Noted>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Noted {
    state: CertificateState,
    late: bool,
}

impl OrderedCertificates {
    /// Makes the reconciler of an installation.
    pub fn new(
        store: Store,
        runtime: Arc<dyn Runtime>,
        publisher: Arc<RoutePublisher>,
        local: LocalCa,
        preflight: Preflight,
    ) -> Self {
        let local = LocalAuthority { store: store.clone(), ca: local };
        Self { store, runtime, publisher, local, preflight, noted: Mutex::default() }
    }

    async fn keep(&self) -> Result<usize, DeployError> {
        let begun = self.begin_orders().await?;
        if begun > 0 {
            self.publisher.publish().await?;
        }
        Ok(begun + self.note_observed().await? + own::warn_of_ends(&self.store).await?)
    }

    /// Lets the runtime order for hosts that have nothing yet, once a look before says that it can work. Twice is once: a host
    /// that may be ordered for has a row that says so.
    async fn begin_orders(&self) -> Result<usize, DeployError> {
        let (local, due): (Vec<_>, Vec<_>) =
            self.due().await?.into_iter().partition(|(host, _)| is_local(host));
        let mut changed = 0;
        for (host, _) in local {
            self.local.issue(&host).await?;
            changed += 1;
        }
        // At the same time: a host whose DNS doesn't answer must not make the others wait.
        let looks = due.into_iter().map(|(host, attempts)| async move {
            let look = tokio::time::timeout(LOOK, self.preflight.look(&host)).await;
            let slow = || Err(Refusal(format!("looking at `{host}` took longer than {} s", LOOK.as_secs())));
            let found = look.unwrap_or_else(|_| slow());
            (host, attempts, found)
        });
        let mut looks = stream::iter(looks).buffer_unordered(LOOKS);
        while let Some((host, attempts, found)) = looks.next().await {
            changed += usize::from(self.decide(&host, attempts, found).await?);
        }
        Ok(changed)
    }

    /// Returns the hosts that need a certificate, or have one of the local authority from before this runtime ordered any, with the
    /// looks so far.
    async fn due(&self) -> Result<Vec<(String, u32)>, DeployError> {
        let until = self.store.clock().now() + SignedDuration::try_from(RENEW_BEFORE).expect("30 days fit");
        let mut tx = self.store.read().await?;
        let mut hosts = tx.hosts_without_certificate(until).await?;
        hosts.extend(tx.hosts_issued_locally().await?);
        hosts.sort_unstable();
        hosts.dedup();
        let mut due = Vec::with_capacity(hosts.len());
        for host in hosts {
            let attempts = tx.certificate(&host).await?.map_or(0, |row| row.attempts);
            due.push((host, attempts));
        }
        Ok(due)
    }

    /// Lets the runtime order, or notes what is in the way. Returns whether it may order.
    async fn decide(
        &self,
        host: &str,
        attempts: u32,
        found: Result<(), Refusal>,
    ) -> Result<bool, DeployError> {
        let Err(Refusal(reason)) = found else {
            self.let_order(host).await?;
            self.lock().remove(host);
            return Ok(true);
        };
        let again = self.store.clock().now() + look_again_after(attempts);
        let mut tx = self.store.begin().await?;
        tx.fail_certificate(host, &reason, attempts + 1, again).await?;
        tx.commit().await?;
        tracing::warn!(host, reason, "no certificate is ordered for `{host}`");
        Ok(false)
    }

    /// Notes where the runtime's certificates stand. Returns how many changed.
    async fn note_observed(&self) -> Result<usize, DeployError> {
        let now = self.store.clock().now();
        let mut changed = 0;
        for observed in self.runtime.ordered_certificates().await? {
            let noted = Noted { state: observed.state.clone(), late: is_late(&observed, now) };
            if self.lock().get(&observed.host) == Some(&noted) {
                continue;
            }
            changed += usize::from(self.note(&observed, noted.late).await?);
            self.lock().insert(observed.host, noted);
        }
        Ok(changed)
    }

    async fn note(&self, observed: &OrderedCertificate, late: bool) -> Result<bool, DeployError> {
        let host = observed.host.as_str();
        let mut tx = self.store.begin().await?;
        // Its host was taken off meanwhile, or has a certificate of another kind.
        let Some(row) = tx.certificate(host).await?.filter(is_ordered) else { return Ok(false) };
        let moved = row.state != observed.state;
        let mut row = standing(row, observed.state.clone());
        // Said once a certificate, and that it was said is kept with it: a new start doesn't say it again.
        let issued = matches!(row.state, CertificateState::Issued { .. });
        let tell_late = late && issued && row.attempts == 0;
        row.attempts += u32::from(tell_late);
        if moved || tell_late {
            tx.upsert_certificate(&row).await?;
            tx.wake();
        }
        match &observed.state {
            CertificateState::Failed { reason } if moved => {
                tracing::warn!(host, reason, "no certificate for `{host}`");
                let text = format!("no certificate for `{host}`: {reason}");
                tell(&mut tx, host, "certificate.failed", text).await?;
            }
            CertificateState::Issued { .. } if tell_late => {
                tracing::warn!(host, "the certificate of `{host}` isn't renewed");
                let text =
                    format!("the certificate of `{host}` should have been renewed a day ago and wasn't");
                tell(&mut tx, host, "certificate.renewal_late", text).await?;
            }
            _ => {}
        }
        tx.commit().await?;
        Ok(moved)
    }

    /// Notes that the runtime may order for a host.
    async fn let_order(&self, host: &str) -> Result<(), DeployError> {
        let mut tx = self.store.begin().await?;
        let row = tx.certificate(host).await?.unwrap_or_else(|| CertificateRow {
            host: host.to_owned(),
            state: CertificateState::Pending,
            chain_pem: None,
            key: None,
            not_after: None,
            attempts: 0,
            next_attempt_at: NEVER,
            challenge: None,
        });
        tx.upsert_certificate(&standing(row, CertificateState::Ordering)).await?;
        tx.wake();
        tx.commit().await?;
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Noted>> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A row as it is with this state. What was served before is kept and served until the runtime has a certificate of its own. Its
/// attempts are the renewals that didn't come: none for a certificate that is new.
fn standing(before: CertificateRow, state: CertificateState) -> CertificateRow {
    let issued = match &state {
        CertificateState::Issued { not_after } => Timestamp::from_second(*not_after).ok(),
        _ => None,
    };
    let same = match &state {
        CertificateState::Issued { .. } => issued == before.not_after,
        CertificateState::Failed { .. } => true,
        _ => false,
    };
    let attempts = if same { before.attempts } else { 0 };
    let row = CertificateRow { state, attempts, next_attempt_at: NEVER, challenge: None, ..before };
    match issued {
        Some(end) => CertificateRow { chain_pem: None, key: None, not_after: Some(end), ..row },
        None => row,
    }
}

/// Tells those whose app a host leads to.
async fn tell(tx: &mut Tx, host: &str, kind: &str, text: String) -> Result<(), DeployError> {
    let Some((team, app)) = tx.owner_of_host(host).await? else { return Ok(()) };
    tx.add_event(&NewEvent {
        team: Some(team),
        app: Some(app),
        kind,
        actor: &Actor::Platform,
        text,
        data: json!({ "host": host }),
    })
    .await?;
    Ok(())
}

/// Looking costs no authority anything, and people who mend a record wait for it.
fn look_again_after(looks: u32) -> SignedDuration {
    let wait = FIRST_LOOK_AGAIN.saturating_mul(1 << looks.min(12)).min(LAST_LOOK_AGAIN);
    SignedDuration::try_from(wait).expect("an hour fits")
}

/// Tells whether a renewal should long have been done.
fn is_late(observed: &OrderedCertificate, now: Timestamp) -> bool {
    let late = SignedDuration::try_from(LATE).expect("a day fits");
    observed.renewal_at.is_some_and(|renewal| renewal + late < now)
}

#[async_trait]
impl Reconciler for OrderedCertificates {
    fn name(&self) -> &'static str {
        "certificates"
    }

    async fn activate(&self) -> Outcome {
        match self.keep().await {
            Ok(0) => Outcome::Skipped,
            Ok(_) => Outcome::Applied,
            Err(error) => Outcome::failed("certificates", &error),
        }
    }
}
