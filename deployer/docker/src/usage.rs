//! What instances use, from the engine's statistics on either version of cgroups.

use bollard::models::{ContainerMemoryStats, ContainerStatsResponse};
use bollard::query_parameters::StatsOptions;
use futures_util::{StreamExt, TryStreamExt, stream};
use panda_deployer::runtime::{EnvironmentKey, RuntimeResult, Usage};
use panda_domain::ids::{InstanceId, PlacementId};

use crate::engine::absent;
use crate::labels;
use crate::runtime::Driver;
use crate::workloads::PARALLEL;

/// The processor time that an instance had used at some moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CpuSample {
    used_ns: u64,
    at_ns: i64,
}

impl Driver {
    /// Returns what each running instance of the placement uses.
    pub(crate) async fn usage(
        &self,
        environment: &EnvironmentKey,
        placement: &PlacementId,
    ) -> RuntimeResult<Vec<Usage>> {
        let installation = &self.host.installation;
        let mut select = labels::select_environment(installation, environment, labels::KIND_INSTANCE);
        select.push(format!("{}={placement}", labels::PLACEMENT));
        let running = self
            .listed(select)
            .await?
            .into_iter()
            .filter(|one| one.summary.state == Some(bollard::models::ContainerSummaryStateEnum::RUNNING));
        let used = stream::iter(running.collect::<Vec<_>>())
            .map(|one| async move { self.usage_of(one.identity.instance, &one.container).await });
        used.buffered(PARALLEL).try_filter_map(|usage| async { Ok(usage) }).try_collect().await
    }

    /// Returns what one container uses, `None` when it is gone.
    pub(crate) async fn usage_of(
        &self,
        instance: InstanceId,
        container: &str,
    ) -> RuntimeResult<Option<Usage>> {
        let options = StatsOptions { stream: false, one_shot: true };
        let stats = async { self.engine.docker.stats(container, Some(options)).try_next().await };
        let Some(stats) = absent(self.engine.call("read statistics", stats).await)?.flatten() else {
            return Ok(None);
        };
        let memory = stats.memory_stats.clone().unwrap_or_default();
        // A container that ended meanwhile has no figures at all.
        let cpu_millis = sample(&stats).and_then(|now| self.cpu.millis(&instance, now));
        Ok(Some(Usage {
            instance,
            cpu_millis,
            memory_bytes: working_set(&memory),
            memory_limit_bytes: memory.limit,
        }))
    }
}

fn sample(stats: &ContainerStatsResponse) -> Option<CpuSample> {
    let used_ns = stats.cpu_stats.as_ref()?.cpu_usage.as_ref()?.total_usage?;
    Some(CpuSample { used_ns, at_ns: stats.read?.timestamp_nanos_opt()? })
}

/// Memory without what the kernel would give back at once: cgroup v1 and v2 name it differently.
fn working_set(memory: &ContainerMemoryStats) -> Option<u64> {
    let stats = memory.stats.as_ref();
    let cache = stats.and_then(|s| s.get("total_inactive_file").or_else(|| s.get("inactive_file")));
    Some(memory.usage?.saturating_sub(cache.copied().unwrap_or(0)))
}

/// The last sample of each instance: usage is a difference.
#[derive(Debug, Clone, Default)]
pub(crate) struct CpuSamples(
    std::sync::Arc<std::sync::Mutex<std::collections::HashMap<InstanceId, CpuSample>>>,
);

impl CpuSamples {
    /// Returns thousandths of a core since the last sample, `None` for the first.
    fn millis(&self, instance: &InstanceId, now: CpuSample) -> Option<u32> {
        let mut samples = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let before = samples.insert(instance.clone(), now)?;
        drop(samples);
        let span = u64::try_from(now.at_ns - before.at_ns).ok().filter(|span| *span > 0)?;
        let used = now.used_ns.checked_sub(before.used_ns)?;
        u32::try_from(u128::from(used) * 1000 / u128::from(span)).ok()
    }

    /// Forgets instances that are gone.
    pub(crate) fn retain(&self, alive: &[InstanceId]) {
        let mut samples = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        samples.retain(|instance, _| alive.contains(instance));
    }
}
