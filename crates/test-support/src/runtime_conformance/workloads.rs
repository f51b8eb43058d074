//! Contracts of environments and workloads.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use futures_util::StreamExt;
use panda_deployer::runtime::{EnvironmentSpec, Progress, RuntimeError, WorkloadSpec};
use panda_domain::instance::InstanceState;
use panda_domain::names::EnvironmentName;

use super::{App, Harness, Place};

/// Ensuring the same spec again changes nothing.
pub async fn ensuring_a_workload_twice_starts_it_once(harness: &mut Harness, place: &Place) -> Result<()> {
    let spec = harness.spec(place, App::Web, 2);
    let first = harness.serve(&spec).await?;
    ensure!(harness.runtime.ensure_workload(&spec).await? == Progress::Converged);
    let second = harness.serve(&spec).await?;
    ensure!(ids(&first) == ids(&second), "other instances: {first:?} {second:?}");
    ensure!(second.iter().all(|i| i.restarts == 0 && i.address.is_some() && i.ready_at.is_some()));
    Ok(())
}

/// Replicas follow the spec; who stays isn't touched.
pub async fn a_workload_shrinks_and_grows(harness: &mut Harness, place: &Place) -> Result<()> {
    let spec = harness.spec(place, App::Web, 3);
    let three = ids(&harness.serve(&spec).await?);
    let one = ids(&harness.serve(&WorkloadSpec { replicas: 1, ..spec.clone() }).await?);
    ensure!(one.is_subset(&three) && one.len() == 1);
    let two = ids(&harness.serve(&WorkloadSpec { replicas: 2, ..spec.clone() }).await?);
    ensure!(one.is_subset(&two) && two.len() == 2);
    harness.converge(&WorkloadSpec { replicas: 0, ..spec.clone() }).await?;
    ensure!(harness.observed(&spec.key).await?.is_none(), "none is left");
    Ok(())
}

/// Surplus is told to be draining for the drain time.
pub async fn surplus_is_drained_before_it_is_gone(harness: &mut Harness, place: &Place) -> Result<()> {
    let spec = harness.spec(place, App::Web, 2);
    harness.serve(&spec).await?;
    let less = WorkloadSpec { replicas: 1, ..spec.clone() };
    ensure!(harness.runtime.ensure_workload(&less).await? == Progress::Working);
    let now = harness.observed(&spec.key).await?.context("the workload is there")?;
    let draining = now.instances.iter().filter(|i| i.state == InstanceState::Draining).count();
    ensure!((draining, now.ready()) == (1, 1), "{:?}", now.instances);
    harness.converge(&less).await
}

/// Removing what isn't there is fine.
pub async fn removing_what_is_absent_has_converged(harness: &mut Harness, place: &Place) -> Result<()> {
    let spec = harness.spec(place, App::Web, 1);
    ensure!(harness.runtime.remove_workload(&spec.key, &spec.shutdown).await? == Progress::Converged);
    let other = harness.place().await?;
    harness.runtime.remove_environment(&other.key).await?;
    harness.runtime.remove_environment(&other.key).await?;
    Ok(())
}

/// Removal drains, then nothing is left.
pub async fn a_removed_workload_is_observed_draining_and_then_gone(
    harness: &mut Harness,
    place: &Place,
) -> Result<()> {
    let spec = harness.spec(place, App::Web, 1);
    harness.serve(&spec).await?;
    ensure!(harness.runtime.remove_workload(&spec.key, &spec.shutdown).await? == Progress::Working);
    let now = harness.observed(&spec.key).await?.context("it drains first")?;
    ensure!(now.instances.iter().all(|i| i.state == InstanceState::Draining), "{:?}", now.instances);
    harness
        .until("it is gone", || async {
            let progress = harness.runtime.remove_workload(&spec.key, &spec.shutdown).await?;
            Ok((progress == Progress::Converged).then_some(()))
        })
        .await?;
    ensure!(harness.observed(&spec.key).await?.is_none());
    Ok(())
}

/// An environment goes last.
pub async fn an_environment_with_workloads_is_not_removed(
    harness: &mut Harness,
    place: &Place,
) -> Result<()> {
    let spec = harness.spec(place, App::Web, 1);
    harness.serve(&spec).await?;
    let outcome = harness.runtime.remove_environment(&place.key).await;
    ensure!(matches!(outcome, Err(RuntimeError::Conflict { .. })), "{outcome:?}");
    ensure!(harness.runtime.inventory().await?.environments.contains(&place.key));
    Ok(())
}

/// An environment that goes while another app comes is made again: what fails meanwhile may pass, and then does.
pub async fn an_environment_that_goes_and_comes_at_once_takes_workloads(
    harness: &mut Harness,
    place: &Place,
) -> Result<()> {
    let spec = harness.spec(place, App::Web, 1);
    let ground = EnvironmentSpec { key: place.key.clone(), name: EnvironmentName::production() };
    for _ in 0..5 {
        let runtime = &harness.runtime;
        let (gone, made, again) = tokio::join!(
            runtime.remove_environment(&place.key),
            runtime.ensure_environment(&ground),
            runtime.remove_environment(&place.key),
        );
        for outcome in [gone, made, again] {
            ensure!(outcome.as_ref().err().is_none_or(RuntimeError::is_transient), "{outcome:?}");
        }
    }
    harness.runtime.remove_environment(&place.key).await?;
    let refused = harness.runtime.ensure_workload(&spec).await;
    ensure!(matches!(&refused, Err(error) if error.is_transient()), "{refused:?}");
    harness.runtime.ensure_environment(&ground).await?;
    harness.serve(&spec).await?;
    Ok(())
}

/// A new driver object finds what the old one left, ready at once, and starts nothing anew.
pub async fn a_new_driver_adopts_what_runs(harness: &mut Harness, place: &Place) -> Result<()> {
    let spec = harness.spec(place, App::Web, 2);
    let before = harness.serve(&spec).await?;
    harness.runtime = (harness.reconnect)().await?;
    let after = harness.observed(&spec.key).await?.context("the workload is found")?;
    ensure!(after.release_number == 12 && after.ready() == 2, "ready at the first look: {after:?}");
    ensure!(ids(&before) == ids(&after.instances));
    let started = |of: &[panda_deployer::runtime::ObservedInstance]| -> Vec<_> {
        of.iter().map(|i| (i.started_at, i.address.clone())).collect()
    };
    ensure!(started(&before) == started(&after.instances));
    ensure!(harness.runtime.ensure_workload(&spec).await? == Progress::Converged);
    Ok(())
}

/// What a crashed server forgot is still told.
pub async fn workloads_that_nobody_wants_any_more_are_observed(
    harness: &mut Harness,
    place: &Place,
) -> Result<()> {
    let orphan = harness.spec(place, App::Web, 1);
    harness.serve(&orphan).await?;
    harness.runtime = (harness.reconnect)().await?;
    ensure!(harness.runtime.inventory().await?.environments.contains(&place.key));
    let found = harness.observed(&orphan.key).await?.context("the orphan is observed")?;
    ensure!(found.key == orphan.key);
    Ok(())
}

/// Workloads and tasks are listed without knowing where to look, until they are gone.
pub async fn everything_that_is_held_is_in_the_inventory(harness: &mut Harness, place: &Place) -> Result<()> {
    let (spec, task) = (harness.spec(place, App::Web, 1), harness.task(place, "exit 0"));
    let before = harness.runtime.inventory().await?;
    ensure!(!before.workloads.contains(&spec.key) && !before.tasks.contains_key(&task.key), "{before:?}");
    harness.serve(&spec).await?;
    harness.runtime.start_task(&task).await?;
    harness.runtime = (harness.reconnect)().await?;
    let held = harness.runtime.inventory().await?;
    ensure!(held.environments.contains(&place.key) && held.workloads.contains(&spec.key), "{held:?}");
    ensure!(held.tasks.get(&task.key) == Some(&place.placement), "{held:?}");

    harness.runtime.remove_task(&task.key).await?;
    harness
        .until("the workload is gone", || async {
            let gone = harness.runtime.remove_workload(&spec.key, &spec.shutdown).await?;
            Ok((gone == Progress::Converged).then_some(()))
        })
        .await?;
    harness.runtime.remove_environment(&place.key).await?;
    let after = harness.runtime.inventory().await?;
    ensure!(!after.environments.contains(&place.key), "{after:?}");
    ensure!(!after.workloads.contains(&spec.key) && !after.tasks.contains_key(&task.key), "{after:?}");
    Ok(())
}

/// The old release serves beside the new one, and goes alone.
pub async fn two_releases_of_a_process_run_side_by_side(harness: &mut Harness, place: &Place) -> Result<()> {
    let old = harness.spec(place, App::Web, 1);
    let new = harness.spec(place, App::Web, 1);
    let before = harness.serve(&old).await?;
    harness.serve(&new).await?;
    let mut restarted = new.clone();
    restarted.key.revision = 1;
    harness.serve(&restarted).await?;
    ensure!(harness.runtime.observe(&place.key).await?.len() == 3);
    harness.runtime.remove_workload(&new.key, &new.shutdown).await?;
    let after = harness.observed(&old.key).await?.context("the old one is there")?;
    ensure!(after.ready() == 1 && ids(&after.instances) == ids(&before));
    Ok(())
}

/// A route that is a moment out of date must not reach somebody else.
pub async fn an_address_is_not_given_again(harness: &mut Harness, place: &Place) -> Result<()> {
    let mut seen = BTreeSet::new();
    for _ in 0..3 {
        let spec = harness.spec(place, App::Web, 1);
        let address = harness.serve(&spec).await?[0].address.clone().context("it has an address")?;
        ensure!(seen.insert(address.clone()), "{address} was given twice");
        harness
            .until("it is gone", || async {
                let progress = harness.runtime.remove_workload(&spec.key, &spec.shutdown).await?;
                Ok((progress == Progress::Converged).then_some(()))
            })
            .await?;
    }
    Ok(())
}

/// A process without a port needs no probe.
pub async fn a_worker_is_ready_once_it_runs(harness: &mut Harness, place: &Place) -> Result<()> {
    let mut spec = harness.spec(place, App::Web, 1);
    spec.port = None;
    spec.key.process = "worker".parse()?;
    let instances = harness.serve(&spec).await?;
    ensure!(instances[0].address.is_none(), "nothing is routed to it");
    Ok(())
}

/// Who watches is told to look.
pub async fn a_change_is_hinted(harness: &mut Harness, place: &Place) -> Result<()> {
    let mut hints = harness.runtime.watch();
    let spec = harness.spec(place, App::Web, 1);
    harness.converge(&spec).await?;
    let ours = async {
        while let Some(hint) = hints.next().await {
            if hint.placement.is_none_or(|placement| placement == place.placement) {
                return true;
            }
        }
        false
    };
    ensure!(tokio::time::timeout(super::PATIENCE, ours).await.context("no hint came")?);
    Ok(())
}

fn ids(instances: &[panda_deployer::runtime::ObservedInstance]) -> BTreeSet<String> {
    let live = instances.iter().filter(|i| i.state != InstanceState::Draining);
    live.map(|i| i.id.to_string()).collect()
}
