//! What can go wrong in the deployer.

use panda_store::StoreError;

use crate::desired::MissingVariable;
use crate::runtime::RuntimeError;

/// A pass over an app that could not be finished.
#[derive(Debug, thiserror::Error)]
pub enum DeployError {
    /// The state can't be read or written.
    #[error("read or write the state")]
    Store(#[from] StoreError),
    /// The runtime didn't do it.
    #[error("ask the runtime")]
    Runtime(#[from] RuntimeError),
    /// The local authority can't issue.
    #[error("issue a certificate by the local authority")]
    LocalCa(#[source] panda_edge::local_ca::LocalCaError),
    /// A file names a variable that isn't set.
    #[error(transparent)]
    Missing(#[from] MissingVariable),
}

impl DeployError {
    /// Tells whether the next pass may well succeed.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Runtime(error) => error.is_transient(),
            Self::Store(error) => matches!(
                error,
                StoreError::Unavailable { .. } | StoreError::DiskFull | StoreError::Stale { .. }
            ),
            Self::Missing(_) | Self::LocalCa(_) => false,
        }
    }
}
