//! Environment variables: plain ones that developers may read, and secrets that nobody may.

use std::collections::BTreeMap;

use crate::names::EnvKey;
use crate::secret::Secret;

/// The longest value, bytes.
pub const MAX_VALUE_BYTES: usize = 64 << 10;
/// The most variables of one placement.
pub const MAX_VARIABLES: usize = 1000;

/// One variable with its value. The value never prints, secret or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvValue {
    /// What the app gets.
    pub value: Secret,
    /// Whether it is write-only: never in responses, exports, logs.
    pub secret: bool,
}

/// All variables of a placement at one version.
pub type Env = BTreeMap<EnvKey, EnvValue>;

/// A wished change of one variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EnvChange {
    /// Set it.
    Set(EnvValue),
    /// Remove it.
    Unset,
}
