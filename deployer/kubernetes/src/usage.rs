//! What instances use, from the cluster's metrics: one list for everybody who asks at about the same time.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use kube::ResourceExt;
use panda_deployer::runtime::{EnvironmentKey, RuntimeError, RuntimeResult, Usage};
use panda_domain::ids::PlacementId;
use serde::Deserialize;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::labels;
use crate::objects::container;
use crate::pods;
use crate::quantity;
use crate::runtime::Driver;

/// How long a list is good for. The cluster's own sampling is no quicker.
const GOOD_FOR: Duration = Duration::from_secs(10);

/// The last list, by namespace and pod; cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Figures(Arc<Mutex<Option<List>>>);

/// A list, and when it was asked for.
type List = (Instant, Arc<Known>);
type Known = HashMap<(String, String), Used>;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Used {
    cpu_millis: Option<u32>,
    memory_bytes: Option<u64>,
}

#[derive(Deserialize)]
struct PodMetricsList {
    items: Vec<PodMetrics>,
}

#[derive(Deserialize)]
struct PodMetrics {
    metadata: k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta,
    #[serde(default)]
    containers: Vec<ContainerMetrics>,
}

#[derive(Deserialize)]
struct ContainerMetrics {
    name: String,
    usage: HashMap<String, String>,
}

impl Driver {
    /// Returns what each running instance of the placement uses. Without metrics only the limits are told.
    pub(crate) async fn usage(
        &self,
        environment: &EnvironmentKey,
        placement: &PlacementId,
    ) -> RuntimeResult<Vec<Usage>> {
        self.view.fresh()?;
        let running = self.pods_of(environment, placement).into_iter().map(|(_, pod)| pod);
        let running: Vec<_> = running.filter(|pod| pods::running_since(pod).is_some()).collect();
        if running.is_empty() {
            return Ok(Vec::new());
        }
        let known = self.metrics().await?;
        let used = running.into_iter().filter_map(|pod| {
            let place = (pod.namespace().unwrap_or_default(), pod.name_any());
            let used = known.get(&place).copied().unwrap_or_default();
            Some(Usage {
                instance: pods::id(&pod)?,
                cpu_millis: used.cpu_millis,
                memory_bytes: used.memory_bytes,
                memory_limit_bytes: pods::memory_limit(&pod),
            })
        });
        Ok(used.collect())
    }

    /// Returns the figures of all our pods, at most [`GOOD_FOR`] old.
    async fn metrics(&self) -> RuntimeResult<Arc<Known>> {
        let mut last = self.figures.0.lock().await;
        if let Some((at, known)) = &*last
            && at.elapsed() < GOOD_FOR
        {
            return Ok(Arc::clone(known));
        }
        let selector = format!("{}%3D{}", labels::INSTALLATION.replace('/', "%2F"), self.owner.installation);
        let path = format!("/apis/metrics.k8s.io/v1beta1/pods?labelSelector={selector}");
        let request = Request::get(path).body(Vec::new()).map_err(|error| RuntimeError::Internal {
            doing: "ask for metrics".to_owned(),
            source: Box::new(error),
        })?;
        let asked = self.cluster.client.request::<PodMetricsList>(request);
        let known = match self.cluster.call("ask for metrics", asked).await {
            Ok(list) => list.items.into_iter().map(read).collect(),
            // This cluster has none, or not yet.
            Err(RuntimeError::NotFound { .. } | RuntimeError::Unavailable { .. }) => Known::default(),
            Err(error) => return Err(error),
        };
        let known = Arc::new(known);
        *last = Some((Instant::now(), Arc::clone(&known)));
        Ok(known)
    }
}

fn read(metrics: PodMetrics) -> ((String, String), Used) {
    let ours = metrics.containers.iter().find(|one| one.name == container::NAME);
    let figure = |name: &str| ours.and_then(|one| one.usage.get(name));
    let used = Used {
        cpu_millis: figure("cpu").and_then(|cpu| quantity::millis(cpu)),
        memory_bytes: figure("memory").and_then(|memory| quantity::bytes(memory)),
    };
    let place = (metrics.metadata.namespace.unwrap_or_default(), metrics.metadata.name.unwrap_or_default());
    (place, used)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_containers_figures_count() {
        let text = r#"{"metadata":{"name":"p","namespace":"n"},"containers":[
            {"name":"mesh","usage":{"cpu":"9","memory":"9Gi"}},
            {"name":"app","usage":{"cpu":"12345678n","memory":"10Mi"}}]}"#;
        let (place, used) = read(serde_json::from_str(text).unwrap());
        assert_eq!(place, ("n".to_owned(), "p".to_owned()));
        assert_eq!(used, Used { cpu_millis: Some(13), memory_bytes: Some(10 << 20) });
    }
}
