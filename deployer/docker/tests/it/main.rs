//! The runtimes' contract, against the runtime in memory always and against a real engine where there is one.

mod docker;
mod export;
mod fake;
