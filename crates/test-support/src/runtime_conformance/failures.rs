//! Contracts of apps that fail: each tells why.

use anyhow::{Context, Result, bail, ensure};
use panda_deployer::runtime::{ImageUser, RuntimeError};
use panda_domain::instance::InstanceState;

use super::{App, Harness, Place};

/// Runs, listens nowhere.
pub async fn an_app_that_never_listens_is_not_ready_and_says_so(
    harness: &mut Harness,
    place: &Place,
) -> Result<()> {
    let spec = harness.spec(place, App::NeverReady, 1);
    harness.converge(&spec).await?;
    let seen = harness.first(&spec.key, "its probe failed", |i| i.probe.is_some()).await?;
    ensure!(seen.state == InstanceState::Starting && seen.listening.is_empty(), "{seen:?}");
    ensure!(seen.probe.as_deref() == Some("connection refused"), "{seen:?}");
    ensure!(seen.ready_at.is_none());
    Ok(())
}

/// Listens where nobody can reach it.
pub async fn an_app_on_localhost_is_not_ready_and_its_port_is_found(
    harness: &mut Harness,
    place: &Place,
) -> Result<()> {
    let spec = harness.spec(place, App::Localhost, 1);
    harness.converge(&spec).await?;
    let found = |i: &panda_deployer::runtime::ObservedInstance| i.listening == [(8080, true)];
    let seen = harness.first(&spec.key, "its port is found", found).await?;
    ensure!(seen.state == InstanceState::Starting, "{seen:?}");
    Ok(())
}

/// Listens where nobody asks.
pub async fn an_app_on_another_port_is_not_ready_and_its_port_is_found(
    harness: &mut Harness,
    place: &Place,
) -> Result<()> {
    let spec = harness.spec(place, App::OtherPort, 1);
    harness.converge(&spec).await?;
    let found = |i: &panda_deployer::runtime::ObservedInstance| i.listening == [(3999, false)];
    let seen = harness.first(&spec.key, "its port is found", found).await?;
    ensure!(seen.state == InstanceState::Starting, "{seen:?}");
    Ok(())
}

/// Exits at once, is started again with a growing pause.
pub async fn an_app_that_exits_is_crashing_with_its_exit_code(
    harness: &mut Harness,
    place: &Place,
) -> Result<()> {
    let spec = harness.spec(place, App::Exits, 1);
    harness.converge(&spec).await?;
    let crashing = |i: &panda_deployer::runtime::ObservedInstance| {
        i.state == InstanceState::Crashing && i.restarts >= 2 && i.last_exit.is_some()
    };
    let seen = harness.first(&spec.key, "it is crashing", crashing).await?;
    let exit = seen.last_exit.context("its end is known")?;
    ensure!((exit.code, exit.oom) == (1, false), "{exit:?}");
    ensure!(
        harness.observed(&spec.key).await?.is_some_and(|w| w.instances.len() == 1),
        "one, not one a crash"
    );
    Ok(())
}

/// Is killed by the kernel, which is told apart from a crash.
pub async fn an_app_that_eats_its_memory_is_killed_and_says_so(
    harness: &mut Harness,
    place: &Place,
) -> Result<()> {
    let spec = harness.spec(place, App::EatsMemory, 1);
    harness.converge(&spec).await?;
    let killed = |i: &panda_deployer::runtime::ObservedInstance| i.last_exit.as_ref().is_some_and(|e| e.oom);
    let seen = harness.first(&spec.key, "it was killed for its memory", killed).await?;
    ensure!(seen.last_exit.is_some_and(|exit| exit.code == 137));
    ensure!(seen.memory_peak_bytes == Some(spec.size.memory_bytes), "{:?}", seen.memory_peak_bytes);
    harness.first(&spec.key, "its state says so", |i| i.state == InstanceState::Oom).await?;
    Ok(())
}

/// The reason is in words, and nothing was started.
pub async fn an_image_that_no_registry_has_is_refused_with_words(
    harness: &mut Harness,
    place: &Place,
) -> Result<()> {
    let mut spec = harness.spec(place, App::Web, 1);
    spec.image = harness.absent.clone();
    let reason = harness
        .until("the image is refused", || async {
            match harness.runtime.ensure_workload(&spec).await {
                Err(RuntimeError::Rejected { reason, .. }) => Ok(Some(reason)),
                Err(error) => bail!("another error: {error}"),
                Ok(_) => {
                    let waiting = harness.observed(&spec.key).await?;
                    Ok(waiting.and_then(|w| w.instances.into_iter().find_map(|i| i.waiting)))
                }
            }
        })
        .await?;
    ensure!(reason.contains("isn't in the registry"), "{reason}");
    let direct = harness.runtime.ensure_image(&harness.absent).await;
    ensure!(direct.is_err_and(|error| !error.is_transient()));
    Ok(())
}

/// Root is told, and a team that refuses it gets the fix.
pub async fn a_root_image_is_marked_and_refused_where_root_is(
    harness: &mut Harness,
    place: &Place,
) -> Result<()> {
    let mut spec = harness.spec(place, App::Root, 1);
    let seen = harness.serve(&spec).await?;
    ensure!(seen[0].runs_as_root);
    let mut plain = harness.spec(place, App::Web, 1);
    plain.user = ImageUser::ForeignRestricted;
    ensure!(!harness.serve(&plain).await?[0].runs_as_root);
    spec.key.release = harness.ids.next();
    spec.user = ImageUser::ForeignRestricted;
    let refused = harness
        .until("it is refused", || async {
            match harness.runtime.ensure_workload(&spec).await {
                Err(RuntimeError::Rejected { reason, .. }) => Ok(Some(reason)),
                Err(error) => bail!("another error: {error}"),
                Ok(_) => Ok(None),
            }
        })
        .await?;
    ensure!(refused.contains("root"), "{refused}");
    ensure!(harness.observed(&spec.key).await?.is_none(), "nothing was started");
    Ok(())
}
