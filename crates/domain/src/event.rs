//! Events: what happened, who did it, to what.

use serde::{Deserialize, Serialize};

use crate::ids::{TokenId, UserId};

/// Who did it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Actor {
    /// A signed-in person.
    User {
        /// Who.
        id: UserId,
        /// The address at the time, for reading.
        email: String,
    },
    /// A token, on behalf of a person.
    Token {
        /// Which token.
        id: TokenId,
        /// Its owner.
        user: UserId,
        /// The token's name at the time.
        name: String,
    },
    /// The platform itself.
    Platform,
}

impl Actor {
    /// Returns the name that lists show.
    pub fn shown(&self) -> &str {
        match self {
            Self::User { email, .. } => email,
            Self::Token { name, .. } => name,
            Self::Platform => "platform",
        }
    }
}
