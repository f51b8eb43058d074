//! Draining: out of the routes, the drain time, the signal, the grace, kill, gone. Each step is owned by a task and
//! kept on disk, so that a driver that dies half way goes on where it was.

use std::collections::BTreeMap;
use std::time::Duration;

use bollard::query_parameters::{KillContainerOptions, RemoveContainerOptions};
use panda_deployer::runtime::{RuntimeError, RuntimeResult};
use panda_domain::ids::{InstanceId, PlacementId};
use panda_domain::release::Shutdown;
use serde::{Deserialize, Serialize};

use crate::engine::absent;
use crate::labels::Identity;
use crate::runtime::Driver;

/// How often a drain that can't go on tries again.
const RETRY: Duration = Duration::from_secs(1);
/// How often the end of the process is looked for.
const LOOK: Duration = Duration::from_millis(200);

/// Every drain that isn't finished.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Drains(BTreeMap<InstanceId, Drain>);

/// One instance on its way out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Drain {
    container: String,
    placement: PlacementId,
    since_ms: i64,
    shutdown: Shutdown,
}

impl Drains {
    /// Tells whether the instance is on its way out.
    pub(crate) fn has(&self, instance: &InstanceId) -> bool {
        self.0.contains_key(instance)
    }
}

impl Driver {
    /// Starts draining instances; those that drain already are left alone.
    pub(crate) async fn drain(
        &self,
        victims: Vec<(Identity, String)>,
        shutdown: &Shutdown,
    ) -> RuntimeResult<()> {
        let since_ms = self.clock.now_ms();
        let shutdown = shutdown.clone();
        let new = self.drains.change(move |drains| {
            let mut new = Vec::new();
            for (identity, container) in victims {
                if drains.has(&identity.instance) {
                    continue;
                }
                let mut shutdown = shutdown.clone();
                // Nobody routes to a process without a port: there is nothing to wait for.
                if identity.facts.port.is_none() {
                    shutdown.drain_s = 0;
                }
                let placement = identity.key.placement.clone();
                let drain = Drain { container, placement, since_ms, shutdown };
                drains.0.insert(identity.instance.clone(), drain.clone());
                new.push((identity.instance, drain));
            }
            Ok(new)
        });
        for (instance, drain) in new.await? {
            self.instances.drain(&instance);
            self.spawn_drain(instance, drain);
        }
        Ok(())
    }

    /// Goes on with the drains that a former driver began.
    pub(crate) fn resume_drains(&self) {
        for (instance, drain) in self.drains.look(|drains| drains.0.clone()) {
            self.instances.drain(&instance);
            self.spawn_drain(instance, drain);
        }
    }

    fn spawn_drain(&self, instance: InstanceId, drain: Drain) {
        let driver = self.clone();
        self.tasks.spawn(async move {
            let work = async {
                while let Err(error) = finish(&driver, &instance, &drain).await {
                    tracing::warn!(instance.id = %instance, %error, "instance {instance} can't be stopped yet");
                    tokio::time::sleep(RETRY).await;
                }
            };
            tokio::select! {
                () = driver.cancel.cancelled() => {}
                () = work => {}
            }
        });
    }
}

/// Takes one instance through what is left of its drain.
async fn finish(driver: &Driver, instance: &InstanceId, drain: &Drain) -> RuntimeResult<()> {
    if running(driver, &drain.container).await? {
        let signal_at = drain.since_ms + i64::from(drain.shutdown.drain_s) * 1000;
        tokio::time::sleep(until(driver, signal_at)).await;
        kill(driver, &drain.container, &drain.shutdown.signal).await?;
        let kill_at = signal_at + i64::from(drain.shutdown.grace_s) * 1000;
        while running(driver, &drain.container).await? {
            let left = until(driver, kill_at);
            if left.is_zero() {
                break;
            }
            tokio::time::sleep(left.min(LOOK)).await;
        }
    }
    discard(driver, &drain.container).await?;
    driver.addresses.release(instance.as_str()).await?;
    let gone = instance.clone();
    driver
        .drains
        .change(move |drains| {
            drains.0.remove(&gone);
            Ok(())
        })
        .await?;
    driver.instances.forget(instance);
    driver.instances.ended(instance, Some(drain.placement.clone()));
    Ok(())
}

fn until(driver: &Driver, at_ms: i64) -> Duration {
    Duration::from_millis(u64::try_from(at_ms - driver.clock.now_ms()).unwrap_or(0))
}

async fn running(driver: &Driver, container: &str) -> RuntimeResult<bool> {
    let inspect = driver.engine.docker.inspect_container(container, None);
    let found = absent(driver.engine.call(format!("look at container `{container}`"), inspect).await)?;
    let state = found.and_then(|found| found.state);
    // One that waits for its next start is stopped by removing it.
    Ok(state.is_some_and(|state| state.running == Some(true) && state.restarting != Some(true)))
}

async fn kill(driver: &Driver, container: &str, signal: &str) -> RuntimeResult<()> {
    let options = KillContainerOptions { signal: signal.to_owned() };
    let call = driver.engine.docker.kill_container(container, Some(options));
    match driver.engine.call(format!("signal container `{container}`"), call).await {
        // 409: it ended by itself meanwhile.
        Ok(()) | Err(RuntimeError::NotFound { .. } | RuntimeError::Conflict { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Kills and removes a container; absent is fine.
pub(crate) async fn discard(driver: &Driver, container: &str) -> RuntimeResult<()> {
    let options = RemoveContainerOptions { v: true, force: true, link: false };
    let call = driver.engine.docker.remove_container(container, Some(options));
    match driver.engine.call(format!("remove container `{container}`"), call).await {
        Ok(()) | Err(RuntimeError::NotFound { .. }) => Ok(()),
        // Somebody removes it already: the next look tells.
        Err(error) => Err(error),
    }
}
