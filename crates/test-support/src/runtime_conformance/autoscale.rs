//! Contracts of runtimes that change the number of instances by load. Where the capability isn't, there is nothing to keep.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use panda_deployer::runtime::{ObservedWorkload, WorkloadSpec};
use panda_domain::autoscale::Autoscale;
use panda_domain::instance::InstanceState;

use super::{App, Harness, Place};

/// Returns a spec with bounds that an idle app never leaves by itself while a test runs.
fn bounded(harness: &Harness, place: &Place, replicas: u32, (min, max): (u32, u32)) -> WorkloadSpec {
    let bounds = Autoscale { min, max, cpu_percent: Some(90), memory_percent: None };
    WorkloadSpec { autoscale: Some(bounds), ..harness.spec(place, App::Web, replicas) }
}

/// Ensures until as many are wanted and ready, and no other is there.
async fn reaches(harness: &Harness, spec: &WorkloadSpec, count: u32) -> Result<ObservedWorkload> {
    let wanted = spec.autoscale.map(|_| count);
    harness
        .until(&format!("{count} are ready"), || async {
            harness.runtime.ensure_workload(spec).await?;
            let seen = harness.observed(&spec.key).await?;
            Ok(seen.filter(|w| {
                w.wanted == wanted && w.ready() == count as usize && w.instances.len() == count as usize
            }))
        })
        .await
}

fn ids(workload: &ObservedWorkload) -> BTreeSet<String> {
    let staying = workload.instances.iter().filter(|one| one.state != InstanceState::Draining);
    staying.map(|one| one.id.to_string()).collect()
}

/// A workload starts with the number that it is given, within its bounds; after that the number isn't the caller's.
pub async fn an_autoscaled_workload_starts_as_told_and_keeps_its_number(
    harness: &mut Harness,
    place: &Place,
) -> Result<()> {
    if !harness.runtime.capabilities().autoscale {
        return Ok(());
    }
    let spec = bounded(harness, place, 3, (2, 4));
    let three = reaches(harness, &spec, 3).await?;
    for replicas in [1, 2, 9] {
        harness.runtime.ensure_workload(&WorkloadSpec { replicas, ..spec.clone() }).await?;
        let now = reaches(harness, &spec, 3).await?;
        ensure!(ids(&now) == ids(&three), "{replicas} was none of the caller's to say: {now:?}");
    }
    harness.runtime = (harness.reconnect)().await?;
    let adopted = reaches(harness, &spec, 3).await?;
    ensure!(ids(&adopted) == ids(&three));
    Ok(())
}

/// Bounds that move take the number along, and nobody who needn't go.
pub async fn an_autoscaled_workload_stays_within_its_bounds(
    harness: &mut Harness,
    place: &Place,
) -> Result<()> {
    if !harness.runtime.capabilities().autoscale {
        return Ok(());
    }
    let spec = bounded(harness, place, 1, (2, 4));
    let two = reaches(harness, &spec, 2).await?;
    let moved = |min, max| {
        let autoscale = spec.autoscale.map(|bounds| Autoscale { min, max, ..bounds });
        WorkloadSpec { autoscale, ..spec.clone() }
    };
    let three = reaches(harness, &moved(3, 4), 3).await?;
    ensure!(ids(&two).is_subset(&ids(&three)), "{two:?} {three:?}");
    let one = reaches(harness, &moved(1, 1), 1).await?;
    ensure!(ids(&one).is_subset(&ids(&three)), "{one:?} {three:?}");
    Ok(())
}

/// Turning it on and off changes no instance.
pub async fn autoscaling_begins_and_ends_without_a_jump(harness: &mut Harness, place: &Place) -> Result<()> {
    if !harness.runtime.capabilities().autoscale {
        return Ok(());
    }
    let on = bounded(harness, place, 2, (1, 4));
    let off = WorkloadSpec { autoscale: None, ..on.clone() };
    let fixed = reaches(harness, &off, 2).await?;
    let begun = reaches(harness, &on, 2).await?;
    ensure!(ids(&begun) == ids(&fixed), "{begun:?}");
    let told = harness.runtime.autoscalers(&place.key, &place.placement).await?;
    ensure!(told.len() == 1 && told[0].key == on.key && told[0].wanted == Some(2), "{told:?}");
    let ended = reaches(harness, &off, 2).await?;
    ensure!(ids(&ended) == ids(&fixed), "{ended:?}");
    ensure!(harness.runtime.autoscalers(&place.key, &place.placement).await?.is_empty());
    // Now the number is the caller's again.
    reaches(harness, &WorkloadSpec { replicas: 1, ..off }, 1).await?;
    Ok(())
}
