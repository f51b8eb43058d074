//! The side towards the instances: their health, connections that are kept, one exchange at a time.
//!
//! Framing towards an instance is our own, so that a request and its answer stay within one task, and
//! so that it is exactly known whether a byte of an answer was seen before a second attempt is made.

pub(crate) mod body;
pub(crate) mod chunked;
pub(crate) mod connection;
pub(crate) mod exchange;
pub(crate) mod instance;
pub(crate) mod pool;
pub(crate) mod request;
pub(crate) mod response;
