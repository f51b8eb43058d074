//! The rollout reconciler: brings what runs to what is wished, for every app, for ever.
//!
//! It takes no arguments: a notice only makes it look sooner. What it does to one app is one pass: load, observe, decide
//! ([`crate::plan::plan`]), act. Passes repeat at once while they change the state, so a deploy goes through without waiting
//! for the next tick.

mod act;
mod command;
mod image;
mod load;
mod outcome;
mod progress;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use panda_domain::ids::{DeploymentId, PlacementId};
use panda_jobs::{Outcome, Reconciler};
use panda_store::{PlacementRow, Store};

use self::load::Neighbours;
use crate::desired::environment_of;
use crate::error::DeployError;
use crate::routes::RoutePublisher;
use crate::runtime::{EnvironmentKey, ObservedWorkload, Runtime};
use crate::settings::DeploySettings;
use crate::waiting::Wait;

/// Every app is looked at this often, whether or not anything was heard of it.
const FULL_LOOK: Duration = Duration::from_secs(15);
/// Environments that are worked on at the same time.
const AT_ONCE: usize = 8;
/// Passes over one app in one activation; a deploy needs five.
const PASSES: usize = 8;

/// Brings what runs to what is wished.
pub struct Rollouts {
    store: Store,
    runtime: Arc<dyn Runtime>,
    publisher: Arc<RoutePublisher>,
    settings: DeploySettings,
    hints: Arc<Mutex<Hints>>,
    shown: Mutex<HashMap<String, String>>,
    /// What deployments wait for. Only for people; found again by the next try.
    held_up: Mutex<HashMap<DeploymentId, Wait>>,
}

/// What was heard since the last look. Only ever makes a look earlier.
#[derive(Debug)]
struct Hints {
    placements: HashSet<PlacementId>,
    full_look_at_ms: i64,
}

impl Rollouts {
    /// Makes the reconciler of an installation.
    pub fn new(
        store: Store,
        runtime: Arc<dyn Runtime>,
        publisher: Arc<RoutePublisher>,
        settings: DeploySettings,
    ) -> Self {
        let hints = Arc::new(Mutex::new(Hints { placements: HashSet::new(), full_look_at_ms: 0 }));
        Self {
            store,
            runtime,
            publisher,
            settings,
            hints,
            shown: Mutex::default(),
            held_up: Mutex::default(),
        }
    }

    /// Notes that something happened to an app, or to nobody knows which.
    pub fn hint(&self, placement: Option<PlacementId>) {
        let mut hints = self.hints.lock().expect("nothing panics while holding the hints");
        match placement {
            Some(placement) => drop(hints.placements.insert(placement)),
            None => hints.full_look_at_ms = 0,
        }
    }

    /// Returns the apps to look at now, by environment.
    async fn due(&self) -> Result<BTreeMap<EnvironmentKey, Vec<PlacementRow>>, DeployError> {
        let now_ms = self.store.clock().now_ms();
        let (hinted, full) = {
            let mut hints = self.hints.lock().expect("nothing panics while holding the hints");
            let full = now_ms >= hints.full_look_at_ms;
            if full {
                hints.full_look_at_ms = now_ms + i64::try_from(FULL_LOOK.as_millis()).expect("15 s fit");
            }
            (std::mem::take(&mut hints.placements), full)
        };
        let mut tx = self.store.read().await?;
        let mut rows = if full { tx.all_placements().await? } else { tx.unsettled_placements().await? };
        if !full {
            let known: HashSet<_> = rows.iter().map(|r| r.placement.id.clone()).collect();
            for id in hinted.difference(&known) {
                rows.extend(tx.placement_by_id(id).await?);
            }
        }
        let mut by_environment: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for row in rows {
            by_environment.entry(environment_of(&row.placement)).or_default().push(row);
        }
        Ok(by_environment)
    }

    /// Looks at one environment once and settles each of its apps.
    async fn settle_environment(
        &self,
        key: EnvironmentKey,
        rows: Vec<PlacementRow>,
    ) -> Result<bool, DeployError> {
        let observed = self.runtime.observe(&key).await?;
        let Some(any) = rows.first() else { return Ok(false) };
        let of = any.placement.clone();
        let mut neighbours = load::neighbours(&self.store, &of).await?;
        let mut changed = false;
        for row in rows {
            let own = own_workloads(&observed, &row.placement.id);
            match self.settle(&row.placement.id, &neighbours, own).await {
                Ok(false) => {}
                Ok(true) => {
                    changed = true;
                    // It may serve only now: who starts after it is to know its URL.
                    neighbours = load::neighbours(&self.store, &of).await?;
                }
                Err(error) if error.is_transient() => {
                    tracing::info!(app.name = %row.placement.app_name, error = &error as &dyn std::error::Error, "waiting for `{}`", row.placement.app_name);
                    self.hint(Some(row.placement.id.clone()));
                }
                Err(error) => {
                    tracing::error!(app.name = %row.placement.app_name, error = &error as &dyn std::error::Error, "can't settle `{}`", row.placement.app_name);
                }
            }
        }
        Ok(changed)
    }

    /// Works on one app until nothing more can be done at once. Returns whether anything was changed.
    async fn settle(
        &self,
        id: &PlacementId,
        neighbours: &Arc<Neighbours>,
        mut observed: Vec<ObservedWorkload>,
    ) -> Result<bool, DeployError> {
        let mut changed = false;
        for pass in 0..PASSES {
            let loaded = load::load(&self.store, &self.settings, id, neighbours).await?;
            let Some(mut state) = loaded else { return Ok(changed) };
            if !self.runtime.capabilities().autoscale {
                // The wish may have come from another installation.
                state.formation.values_mut().for_each(|scale| scale.autoscale = None);
            }
            if pass > 0 {
                observed =
                    own_workloads(&self.runtime.observe(&environment_of(&state.row.placement)).await?, id);
            }
            let acted = self.act(&state, &observed).await;
            // Above all when it failed: who watches is to know what it waits for.
            self.show_progress(&state, &observed).await?;
            let acted = acted?;
            self.store_observed(&state, &observed).await?;
            changed |= acted;
            if !acted {
                break;
            }
        }
        Ok(changed)
    }
}

fn own_workloads(observed: &[ObservedWorkload], placement: &PlacementId) -> Vec<ObservedWorkload> {
    observed.iter().filter(|w| w.key.placement == *placement).cloned().collect()
}

#[async_trait]
impl Reconciler for Rollouts {
    fn name(&self) -> &'static str {
        "rollouts"
    }

    async fn activate(&self) -> Outcome {
        let due = match self.due().await {
            Ok(due) => due,
            Err(error) => return Outcome::failed("placements", &error),
        };
        let mut work = futures_util::stream::iter(due)
            .map(|(key, rows)| async move { (key.clone(), self.settle_environment(key, rows).await) })
            .buffer_unordered(AT_ONCE);
        let (mut changed, mut failed) = (false, None);
        while let Some((key, result)) = work.next().await {
            match result {
                Ok(acted) => changed |= acted,
                Err(error) => failed = Some((key, error)),
            }
        }
        drop(work);
        if let Err(error) = self.publisher.publish().await {
            return Outcome::failed("routes", &error);
        }
        match failed {
            Some((key, error)) => Outcome::failed(key.environment.as_str(), &error),
            None if changed => Outcome::Applied,
            None => Outcome::Skipped,
        }
    }
}
