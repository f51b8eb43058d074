//! The edge through its public doors: real sockets on free ports, real TLS, real processes.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod abuse;
mod control;
mod hold;
mod process;
mod routing;
mod streams;
mod support;
mod tcp;
mod tls;
