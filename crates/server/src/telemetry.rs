//! The server's own log: to standard error, as text for people or JSON for machines.

use tracing_subscriber::EnvFilter;

use crate::config::Log;

/// Begins to log.
pub(crate) fn start(log: &Log) {
    let filter = EnvFilter::try_new(&log.filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if log.format == "json" {
        builder.json().init();
    } else {
        builder.with_ansi(false).init();
    }
}
