//! Ordering a certificate by ACME (RFC 8555) with the HTTP-01 challenge.

use std::sync::Arc;
use std::time::Duration;

use instant_acme::{
    Account, AccountCredentials, AuthorizationStatus, ChallengeType, Identifier, NewAccount, NewOrder,
    OrderStatus, RetryPolicy,
};
use panda_domain::route::CertificateState;
use panda_domain::secret::Secret;
use panda_store::{CertificateRow, Store, StoreError};

use super::CertificateSettings;
use crate::error::DeployError;
use crate::routes::RoutePublisher;

/// The setting that keeps the account, sealed.
const ACCOUNT: &str = "acme.account";
/// How long the authority may take to look.
const PATIENCE: Duration = Duration::from_mins(1);

/// Why an order failed, in words for the owner of the host.
#[derive(Debug, thiserror::Error)]
pub(super) enum OrderError {
    /// The authority said no, or can't be reached.
    #[error("the certificate authority: {0}")]
    Authority(#[from] instant_acme::Error),
    /// The authority looked and didn't find the answer.
    #[error(
        "the authority couldn't verify `{host}`: check that its DNS points here and that port 80 is open ({status:?})"
    )]
    NotVerified {
        /// The host.
        host: String,
        /// What the order says.
        status: OrderStatus,
    },
    /// It offers no way that we know.
    #[error("the authority offers no HTTP challenge for `{host}`")]
    NoChallenge {
        /// The host.
        host: String,
    },
    /// What it sent is no certificate.
    #[error("the authority's answer for `{host}` is no certificate")]
    Unreadable {
        /// The host.
        host: String,
    },
    /// The state can't be read or written.
    #[error("read or write the state")]
    Store(#[from] StoreError),
    /// The challenge couldn't be put into place.
    #[error("put the challenge into place")]
    Publish(#[from] DeployError),
    /// The kept account can't be read.
    #[error("read the kept ACME account")]
    Account(#[from] serde_json::Error),
}

/// A certificate authority and our account there.
pub(super) struct Authority {
    store: Store,
    directory: String,
    settings: CertificateSettings,
}

impl Authority {
    pub(super) fn new(store: Store, directory: String, settings: CertificateSettings) -> Self {
        Self { store, directory, settings }
    }

    /// Orders a certificate for one host. Running twice makes a second order, which the authority counts.
    pub(super) async fn order(
        &self,
        host: &str,
        publisher: &Arc<RoutePublisher>,
    ) -> Result<CertificateRow, OrderError> {
        let account = self.account().await?;
        let mut order = account.new_order(&NewOrder::new(&[Identifier::Dns(host.to_owned())])).await?;
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization?;
            if authorization.status == AuthorizationStatus::Valid {
                continue;
            }
            let challenge = authorization.challenge(ChallengeType::Http01);
            let mut challenge = challenge.ok_or_else(|| OrderError::NoChallenge { host: host.to_owned() })?;
            let (token, answer) =
                (challenge.token.clone(), challenge.key_authorization().as_str().to_owned());
            self.put_challenge(host, &token, &answer).await?;
            publisher.publish().await?;
            challenge.set_ready().await?;
        }
        let patience = RetryPolicy::new().timeout(PATIENCE).initial_delay(Duration::from_millis(250));
        let status = order.poll_ready(&patience).await?;
        if status != OrderStatus::Ready {
            return Err(OrderError::NotVerified { host: host.to_owned(), status });
        }
        let key_pem = order.finalize().await?;
        let chain_pem = order.poll_certificate(&patience).await?;
        let now = self.store.clock().now();
        let not_after = end_of(&chain_pem).ok_or_else(|| OrderError::Unreadable { host: host.to_owned() })?;
        Ok(CertificateRow {
            host: host.to_owned(),
            state: CertificateState::Issued { not_after: not_after.as_second() },
            chain_pem: Some(chain_pem),
            key: Some(Secret::new(key_pem)),
            not_after: Some(not_after),
            attempts: 0,
            next_attempt_at: now,
            challenge: None,
        })
    }

    async fn put_challenge(&self, host: &str, token: &str, answer: &str) -> Result<(), StoreError> {
        let mut tx = self.store.begin().await?;
        tx.put_challenge(host, token, answer).await?;
        tx.commit().await
    }

    /// Our account, made at the first order and kept sealed.
    async fn account(&self) -> Result<Account, OrderError> {
        let kept = self.store.read().await?.sealed_setting(ACCOUNT).await?;
        let builder = match &self.settings.ca_file {
            Some(file) => Account::builder_with_root(file)?,
            None => Account::builder()?,
        };
        if let Some(kept) = kept {
            let (directory, credentials): (String, AccountCredentials) = serde_json::from_str(kept.reveal())?;
            if directory == self.directory {
                return Ok(builder.from_credentials(credentials).await?);
            }
        }
        let contact = self.settings.email.as_ref().map(|email| format!("mailto:{email}"));
        let contacts: Vec<&str> = contact.as_deref().into_iter().collect();
        let new =
            NewAccount { contact: &contacts, terms_of_service_agreed: true, only_return_existing: false };
        let (account, credentials) = builder.create(&new, self.directory.clone(), None).await?;
        let text = Secret::new(serde_json::to_string(&(&self.directory, &credentials))?);
        let mut tx = self.store.begin().await?;
        tx.set_sealed_setting(ACCOUNT, &text).await?;
        tx.commit().await?;
        Ok(account)
    }
}

/// Returns when the first certificate of a PEM chain stops being valid.
fn end_of(chain_pem: &str) -> Option<jiff::Timestamp> {
    let (_, pem) = x509_parser::pem::parse_x509_pem(chain_pem.as_bytes()).ok()?;
    let seconds = pem.parse_x509().ok()?.validity().not_after.timestamp();
    jiff::Timestamp::from_second(seconds).ok()
}
