//! `panda` as people run it: the real binary against a real HTTP server that answers from the book.
#![expect(clippy::unwrap_used, reason = "the helpers of tests fail the test by it")]

mod deploy;
mod doctor;
mod env;
mod exec;
mod export;
mod fake;
mod link;
mod local;
mod login;
mod logs;
mod moving;
mod npm;
mod usage;
mod verbs;
