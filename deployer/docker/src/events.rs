//! The engine's events: followed by one owned task, and made up for by a full look after each gap.

use std::collections::HashMap;
use std::time::Duration;

use bollard::models::EventMessage;
use bollard::query_parameters::EventsOptions;
use futures_util::TryStreamExt;
use jiff::Timestamp;
use panda_deployer::runtime::RuntimeResult;
use panda_domain::instance::LastExit;
use tokio_util::sync::CancellationToken;

use crate::engine::translate;
use crate::labels;
use crate::runtime::Driver;

/// How long to wait before reconnecting, at first and at most.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// A full look every so often, whatever events said: the engine may drop some.
const RESYNC: Duration = Duration::from_secs(30);

/// Follows the engine until cancelled.
pub(crate) async fn follow(driver: Driver, cancel: CancellationToken) {
    tokio::select! {
        () = cancel.cancelled() => {}
        () = follow_for_ever(&driver) => {}
    }
}

async fn follow_for_ever(driver: &Driver) {
    let mut pause = RETRY.0;
    // The engine remembers some hundred events: how instances ended while we were away is among them.
    let mut since = driver.clock.now_ms() / 1000 - 600;
    loop {
        let began = driver.clock.now_ms() / 1000;
        let outcome = listen(driver, since).await;
        if let Err(error) = outcome {
            tracing::debug!(%error, "the engine's events broke off");
        } else {
            pause = RETRY.0;
        }
        since = began;
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(RETRY.1);
    }
}

/// Follows one connection to its end.
async fn listen(driver: &Driver, since: i64) -> RuntimeResult<()> {
    let filters = HashMap::from([
        ("type".to_owned(), vec!["container".to_owned()]),
        ("label".to_owned(), vec![format!("{}={}", labels::INSTALLATION, driver.host.installation)]),
    ]);
    let options = EventsOptions { since: Some(since.to_string()), until: None, filters: Some(filters) };
    let mut events = Box::pin(driver.engine.docker.events(Some(options)));
    driver.adopt().await?;
    driver.instances.hint(None);
    let mut resync = tokio::time::interval(RESYNC);
    resync.tick().await;
    loop {
        tokio::select! {
            event = events.try_next() => {
                match event.map_err(|error| translate("follow the engine's events".to_owned(), error))? {
                    Some(event) => take(driver, event).await?,
                    None => return Ok(()),
                }
            }
            _ = resync.tick() => driver.adopt().await?,
        }
    }
}

async fn take(driver: &Driver, event: EventMessage) -> RuntimeResult<()> {
    let Some(actor) = event.actor else { return Ok(()) };
    let (container, attributes) = (actor.id.unwrap_or_default(), actor.attributes.unwrap_or_default());
    let placement = labels::placement(&attributes);
    let at = event.time_nano.and_then(|ns| Timestamp::from_nanosecond(i128::from(ns)).ok());
    let Some(instance) = attributes.get(labels::INSTANCE).and_then(|id| id.parse().ok()) else {
        driver.instances.hint(placement);
        return Ok(());
    };
    match event.action.as_deref().unwrap_or_default() {
        "start" => driver.look_at(&container).await?,
        "die" => {
            let code = attributes.get("exitCode").and_then(|code| code.parse().ok()).unwrap_or(-1);
            let before = driver.instances.last_exit(&instance);
            // The kernel's verdict comes as an event of its own, a moment before the end.
            let oom = before.is_some_and(|exit| exit.oom && close(exit.at, at));
            driver.instances.exited(&instance, LastExit { code, oom, at });
            // An old event must not end a newer run: the engine is asked what is so now.
            driver.look_at(&container).await?;
        }
        "oom" => {
            driver.instances.out_of_memory(&instance, at);
            driver.instances.hint(placement);
        }
        "destroy" => driver.instances.ended(&instance, placement),
        _ => {}
    }
    Ok(())
}

fn close(a: Option<Timestamp>, b: Option<Timestamp>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => (a.as_millisecond() - b.as_millisecond()).abs() < 5_000,
        _ => false,
    }
}
