//! Who is asking and what they may do: passwords, secrets, sessions, tokens, scopes, limits.

pub mod attempts;
pub mod known;
pub mod password;
pub mod peer;
pub mod principal;
pub mod scope;
pub mod secret;

pub use known::KnownTokens;
pub use password::Passwords;
pub use peer::{Forwarders, Peer};
pub use principal::{Principal, Via};
