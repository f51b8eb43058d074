//! Whether the server on this machine answers, and waiting until it does.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde_json::Value;

use super::{Failure, Outcome, http};
use crate::config::Config;

const LIMIT: Duration = Duration::from_secs(5);

/// Asks once; the exit code is the answer.
pub(super) async fn run(config: &Config) -> Outcome {
    match http::get(config.listen.api, "/healthz", LIMIT).await {
        Ok((200, _)) => Ok(()),
        Ok((status, _)) => Err(Failure::new(format!("/healthz answers {status}"), "panda-server doctor")),
        Err(error) => Err(Failure::of(error, "panda-server doctor")),
    }
}

/// Tells whether the server is ready to serve.
pub(super) async fn ready(config: &Config) -> Result<()> {
    match http::get(config.listen.api, "/readyz", LIMIT).await? {
        (200, _) => Ok(()),
        (status, body) => bail!("/readyz answers {status}: {}", body.trim()),
    }
}

/// Waits until the server is ready.
pub(super) async fn wait_ready(config: &Config, limit: Duration) -> Result<()> {
    let begun = Instant::now();
    loop {
        match ready(config).await {
            Ok(()) => return Ok(()),
            Err(error) if begun.elapsed() >= limit => {
                return Err(error.context(format!("wait {} s for the server", limit.as_secs())));
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

/// Returns what the server tells anybody about itself.
pub(super) async fn server_info(config: &Config) -> Result<Value> {
    match http::get(config.listen.api, "/api/v1/server", LIMIT).await? {
        (200, body) => Ok(serde_json::from_str(&body)?),
        (status, _) => bail!("/api/v1/server answers {status}"),
    }
}
