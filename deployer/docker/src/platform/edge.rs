//! Replacing the edge without losing a request: the new one listens beside the old one, then the old one drains.

use std::path::Path;
use std::time::{Duration, Instant};

use panda_deployer::runtime::{RuntimeError, RuntimeResult};
use panda_edge::client::EdgeClient;

use super::{Component, Ensured, PlatformContainerSpec, PlatformHost};

/// How long an edge that is taken for healthy may take to answer.
const GLANCE: Duration = Duration::from_secs(3);

impl PlatformHost {
    /// Makes the edge be there as asked. One that differs is replaced by one beside it on the same ports; it gets
    /// SIGTERM only after the new one answers on `control`. A new one that doesn't within `limit` is removed again.
    pub async fn ensure_edge(
        &self,
        spec: &PlatformContainerSpec,
        control: &Path,
        limit: Duration,
    ) -> RuntimeResult<Ensured> {
        let name = self.container_name(Component::Edge);
        let next = format!("{name}-next");
        self.settle(&name, &next).await?;
        if !self.observe(Component::Edge).await?.is_some_and(|found| found.running) {
            // Nobody is served by it, so there is nothing to hand over.
            let ensured = self.ensure(spec).await?;
            self.wait_for_edge(control, None, limit).await?;
            return Ok(ensured);
        }
        // One that serves but lost its control socket is replaced too, and just as gently.
        if self.is_current(spec).await? && self.wait_for_edge(control, None, GLANCE).await.is_ok() {
            return Ok(Ensured::Unchanged);
        }
        let started = Instant::now();
        self.create(spec, &next).await?;
        self.start(&next).await?;
        if let Err(error) = self.wait_for_edge(control, Some(started), limit).await {
            let said = self.last_lines(&next, 5).await.unwrap_or_default();
            self.remove(&next).await?;
            return Err(RuntimeError::Rejected {
                doing: "start the new edge beside the old one, which serves on".to_owned(),
                reason: format!("{error}; it said: {}", said.trim()),
            });
        }
        self.take_over(&name, &next, spec.grace_s).await?;
        Ok(Ensured::Replaced)
    }

    /// Ends what a killed replacement left half done.
    async fn settle(&self, name: &str, next: &str) -> RuntimeResult<()> {
        let Some(found) = self.observe_named(next).await? else { return Ok(()) };
        if found.running || self.observe_named(name).await?.is_none() {
            return self.take_over(name, next, 70).await;
        }
        self.remove(next).await
    }

    async fn take_over(&self, name: &str, next: &str, grace_s: u32) -> RuntimeResult<()> {
        self.stop(name, grace_s).await?;
        self.remove(name).await?;
        self.rename(next, name).await
    }

    /// Waits until an edge answers that started after `since`.
    async fn wait_for_edge(
        &self,
        control: &Path,
        since: Option<Instant>,
        limit: Duration,
    ) -> RuntimeResult<()> {
        let client = EdgeClient::new(control).with_deadline(Duration::from_secs(2));
        let begun = Instant::now();
        let is_new =
            |uptime_ms: u64| since.is_none_or(|since| u128::from(uptime_ms) <= since.elapsed().as_millis());
        loop {
            let answer = client.status().await;
            match answer {
                Ok(status) if is_new(status.uptime_ms) => return Ok(()),
                _ if begun.elapsed() < limit => tokio::time::sleep(Duration::from_millis(50)).await,
                outcome => {
                    let reason =
                        outcome.err().map_or("only the old one answers".to_owned(), |e| e.to_string());
                    return Err(RuntimeError::Rejected {
                        doing: format!("wait {} s for the edge", limit.as_secs()),
                        reason,
                    });
                }
            }
        }
    }
}
