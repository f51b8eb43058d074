//! What an app was last seen to be doing: a word, a reason, counts. Claims nothing that wasn't observed (P6).

use std::collections::BTreeMap;

use panda_deployer::autoscale::Standing;
use panda_deployer::plan::Attempt;
use panda_deployer::runtime::ObservedWorkload;
use panda_domain::instance::InstanceState;
use panda_store::PlacedRow;

use super::status::{observed, reason};

/// An app as it was last seen.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// One of the words of [`panda_api_types::App::state`].
    pub state: String,
    /// Why it isn't `running`, for people.
    pub reason: Option<String>,
    /// The number of the release that serves.
    pub release: Option<u32>,
    /// Wanted instances by process: as scaled, or as its autoscaler wants now.
    pub wanted: BTreeMap<String, u32>,
    /// Ready instances of that release by process.
    pub ready: BTreeMap<String, u32>,
}

/// Returns what was seen of an app; what was never looked at is told apart from what is down.
pub fn seen(app: &PlacedRow) -> Seen {
    let serves = |w: &ObservedWorkload| {
        app.good_release
            .as_ref()
            .is_some_and(|good| w.key.release == good.id && w.key.revision == good.revision)
    };
    let workloads: Vec<ObservedWorkload> =
        observed(app.observed.as_deref()).into_iter().filter(serves).collect();
    let mut ready = BTreeMap::new();
    for workload in &workloads {
        let count = workload.instances.iter().filter(|i| i.state == InstanceState::Ready).count();
        *ready.entry(workload.key.process.to_string()).or_insert(0) +=
            u32::try_from(count).unwrap_or(u32::MAX);
    }
    let good = app.good_release.as_ref();
    let good = good.map(|good| Attempt { release: good.id.clone(), revision: good.revision });
    let (target, serving) = (good.as_ref(), good.as_ref());
    let standing = Standing { target, serving, rolling: false, observed: &workloads };
    let wanted =
        app.formation.iter().map(|(process, scale)| (process.to_string(), standing.wanted(process, scale)));
    let wanted: BTreeMap<String, u32> = wanted.collect();
    let release = workloads.first().map(|w| w.release_number);
    let state = word(app, &wanted, &ready).to_owned();
    let mut troubled =
        workloads.iter().flat_map(|w| &w.instances).filter(|i| i.state != InstanceState::Ready);
    let reason =
        if matches!(state.as_str(), "running" | "stopped") { None } else { troubled.find_map(reason) };
    Seen { state, reason, release, wanted, ready }
}

fn word(app: &PlacedRow, wanted: &BTreeMap<String, u32>, ready: &BTreeMap<String, u32>) -> &'static str {
    if app.deleting_at.is_some() {
        return "deleting";
    }
    match (app.good_release.as_ref().map(|good| &good.id), &app.desired_release) {
        (None, None) => return "idle",
        (None, Some(_)) => return "deploying",
        (Some(serving), Some(desired)) if serving != desired => return "deploying",
        _ => {}
    }
    let lacking = wanted
        .iter()
        .any(|(process, replicas)| ready.get(process.as_str()).copied().unwrap_or(0) < *replicas);
    let any = ready.values().any(|n| *n > 0);
    match (wanted.values().sum::<u32>(), any, lacking) {
        (0, false, _) => "stopped",
        (_, true, false) => "running",
        (_, true, true) => "degraded",
        (_, false, _) => "down",
    }
}
