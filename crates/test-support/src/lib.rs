//! What the tests of several crates share.

#[cfg(feature = "cluster")]
pub mod api_gateway;
#[cfg(feature = "dns")]
pub mod dns;
#[cfg(feature = "runtime")]
pub mod exported;
#[cfg(feature = "panda")]
pub mod panda;
#[cfg(feature = "processes")]
pub mod prober;
#[cfg(feature = "processes")]
pub mod process;
#[cfg(feature = "runtime")]
pub mod runtime_conformance;
pub mod skip;
#[cfg(feature = "processes")]
pub mod spare_builder;
