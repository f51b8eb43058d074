//! The local authority: vouches where no public one can, or none is set up.

use std::time::SystemTime;

use panda_domain::route::CertificateState;
use panda_domain::secret::Secret;
use panda_edge::local_ca::LocalCa;
use panda_store::{CertificateRow, Store};

use crate::error::DeployError;

/// Issues at once and keeps what it issued in the state.
pub(super) struct LocalAuthority {
    pub(super) store: Store,
    pub(super) ca: LocalCa,
}

impl LocalAuthority {
    /// Issues a certificate for a host, in the place of the one that it has.
    pub(super) async fn issue(&self, host: &str) -> Result<(), DeployError> {
        let now = self.store.clock().now();
        let leaf = self.ca.issue(&[host.to_owned()], SystemTime::from(now)).map_err(DeployError::LocalCa)?;
        let end = jiff::Timestamp::try_from(leaf.expires_at).expect("the end of a certificate is a time");
        let mut tx = self.store.begin().await?;
        tx.upsert_certificate(&CertificateRow {
            host: host.to_owned(),
            state: CertificateState::Local,
            chain_pem: Some(leaf.chain_pem),
            key: Some(Secret::new(leaf.key_pem.reveal())),
            not_after: Some(end),
            attempts: 0,
            next_attempt_at: now,
            challenge: None,
        })
        .await?;
        tx.wake();
        tx.commit().await?;
        Ok(())
    }
}

/// Tells whether no public authority can vouch for a host.
pub fn is_local(host: &str) -> bool {
    host == "localhost" || host.ends_with(".localhost") || !host.contains('.')
}
