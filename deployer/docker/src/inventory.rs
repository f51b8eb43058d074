//! Everything of this installation on the engine, by its labels alone.

use std::collections::HashMap;

use panda_deployer::runtime::{Inventory, RuntimeResult, TaskKey};
use panda_domain::ids::{PlacementId, TaskId};

use crate::environments;
use crate::labels::{self, Identity};
use crate::runtime::Driver;

impl Driver {
    /// Lists networks and containers that carry this installation's label. One whose other labels can't be read is left out:
    /// nobody knows what it is.
    pub(crate) async fn inventory(&self) -> RuntimeResult<Inventory> {
        let installation = &self.host.installation;
        let networks = environments::ours(&self.engine, installation).await?;
        let mut held = Inventory {
            environments: networks.into_iter().map(|(key, _)| key).collect(),
            ..Inventory::default()
        };
        let ours = vec![format!("{}={installation}", labels::INSTALLATION)];
        for labels in self.list(ours).await?.into_iter().filter_map(|summary| summary.labels) {
            if let Some(identity) = Identity::read(&labels) {
                held.workloads.insert(identity.key);
            } else if let Some((key, placement)) = task(&labels) {
                held.tasks.insert(key, placement);
            }
        }
        Ok(held)
    }
}

fn task(labels: &HashMap<String, String>) -> Option<(TaskKey, PlacementId)> {
    if labels.get(labels::KIND)? != labels::KIND_TASK {
        return None;
    }
    let task: TaskId = labels.get(labels::TASK)?.parse().ok()?;
    Some((TaskKey { environment: labels::environment(labels)?, task }, labels::placement(labels)?))
}
