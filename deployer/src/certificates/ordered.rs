//! Certificates that the runtime orders by itself, as a cluster's cert-manager does: which hosts it may order for, and where they
//! stand. What people are told is what was observed; a renewal that doesn't come is told before the certificate ends.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use panda_domain::event::Actor;
use panda_domain::route::CertificateState;
use panda_edge::local_ca::LocalCa;
use panda_jobs::{Outcome, Reconciler};
use panda_store::{CertificateRow, NewEvent, Store};
use serde_json::json;

use super::RENEW_BEFORE;
use super::local::{LocalAuthority, is_local};
use super::own;
use super::preflight::{Preflight, Refusal};
use crate::error::DeployError;
use crate::routes::RoutePublisher;
use crate::runtime::{OrderedCertificate, Runtime};

/// A renewal may take this long until somebody is told.
const LATE: Duration = Duration::from_hours(24);
/// The wait after the first look that found an obstacle; it doubles.
const FIRST_LOOK_AGAIN: Duration = Duration::from_secs(20);
/// The longest wait.
const LAST_LOOK_AGAIN: Duration = Duration::from_hours(1);
/// Rows of certificates that the runtime looks after aren't looked at by time again.
const NEVER: Timestamp = Timestamp::constant(32_503_680_000, 0); // the year 3000

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
        let now = self.store.clock().now();
        let until = now + SignedDuration::try_from(RENEW_BEFORE).expect("30 days fit");
        let due = {
            let mut tx = self.store.read().await?;
            let mut due = Vec::new();
            for host in tx.hosts_without_certificate(until).await? {
                let attempts = tx.certificate(&host).await?.map_or(0, |row| row.attempts);
                due.push((host, attempts));
            }
            due
        };
        let mut changed = 0;
        for (host, attempts) in due {
            if is_local(&host) {
                self.local.issue(&host).await?;
                changed += 1;
                continue;
            }
            match self.preflight.look(&host).await {
                Ok(()) => {
                    self.write(&host, CertificateState::Ordering).await?;
                    self.lock().remove(&host);
                    changed += 1;
                }
                Err(Refusal(reason)) => {
                    let mut tx = self.store.begin().await?;
                    tx.fail_certificate(&host, &reason, attempts + 1, now + look_again_after(attempts))
                        .await?;
                    tx.commit().await?;
                    tracing::warn!(host, reason, "no certificate is ordered for `{host}`");
                }
            }
        }
        Ok(changed)
    }

    /// Notes where the runtime's certificates stand. Returns how many changed.
    async fn note_observed(&self) -> Result<usize, DeployError> {
        let now = self.store.clock().now();
        let mut changed = 0;
        for observed in self.runtime.ordered_certificates().await? {
            let noted = Noted { state: observed.state.clone(), late: is_late(&observed, now) };
            let before = self.lock().get(&observed.host).cloned();
            if before.as_ref() == Some(&noted) {
                continue;
            }
            let was_late = before.is_some_and(|before| before.late);
            changed += usize::from(self.note(&observed, noted.late && !was_late).await?);
            self.lock().insert(observed.host, noted);
        }
        Ok(changed)
    }

    async fn note(&self, observed: &OrderedCertificate, tell_late: bool) -> Result<bool, DeployError> {
        let host = observed.host.as_str();
        let row = self.store.read().await?.certificate(host).await?;
        // Its host was taken off meanwhile, or has a certificate of another kind.
        let Some(row) = row.filter(|row| row.chain_pem.is_none()) else { return Ok(false) };
        let moved = row.state != observed.state;
        if moved {
            self.write(host, observed.state.clone()).await?;
        }
        match &observed.state {
            CertificateState::Failed { reason } if moved => {
                tracing::warn!(host, reason, "no certificate for `{host}`");
                let text = format!("no certificate for `{host}`: {reason}");
                self.tell(host, "certificate.failed", text).await?;
            }
            CertificateState::Issued { .. } if tell_late => {
                tracing::warn!(host, "the certificate of `{host}` isn't renewed");
                let text =
                    format!("the certificate of `{host}` should have been renewed a day ago and wasn't");
                self.tell(host, "certificate.renewal_late", text).await?;
            }
            _ => {}
        }
        Ok(moved)
    }

    async fn write(&self, host: &str, state: CertificateState) -> Result<(), DeployError> {
        let not_after = match &state {
            CertificateState::Issued { not_after } => Timestamp::from_second(*not_after).ok(),
            _ => None,
        };
        let mut tx = self.store.begin().await?;
        tx.upsert_certificate(&CertificateRow {
            host: host.to_owned(),
            state,
            chain_pem: None,
            key: None,
            not_after,
            attempts: 0,
            next_attempt_at: NEVER,
            challenge: None,
        })
        .await?;
        tx.wake();
        tx.commit().await?;
        Ok(())
    }

    async fn tell(&self, host: &str, kind: &str, text: String) -> Result<(), DeployError> {
        let mut tx = self.store.begin().await?;
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
        tx.commit().await?;
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Noted>> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
