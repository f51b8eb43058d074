//! Credentials for the platform's own registry: short-lived tokens, each for one repository, signed by a key that only the
//! platform has.
//!
//! The registry (CNCF distribution, `auth: token`) checks a token by itself: there is no token endpoint that anybody could
//! reach, and nothing to ask when the server is away. Whoever has [`RegistryKey`] makes the token that the next call needs.

mod exchange;
mod key;
mod token;

pub use key::{RegistryKey, RegistryKeyError};
pub use token::{Action, ISSUER, LIFETIME, REALM, SERVICE};
