//! Whether this machine has memory for more instances, by what is seen now. Limits say nothing about it: more is promised than
//! there is.

use futures_util::{StreamExt, stream};
use panda_deployer::runtime::{RuntimeError, RuntimeResult, WorkloadSpec};

use crate::labels;
use crate::runtime::Driver;
use crate::workloads::PARALLEL;

/// What an instance takes at least, when none of its process runs that could be looked at.
const LEAST_BYTES: u64 = 16 << 20;
/// What is left to everything else on the machine: a twentieth of its memory, but no more than this.
const MOST_SPARE_BYTES: u64 = 256 << 20;

/// The machine's memory, bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Memory {
    total: u64,
    available: u64,
}

impl Driver {
    /// Refuses instances that this machine has no memory for now. Without this they would start, and the kernel would kill
    /// whatever it likes, of other apps too. What can't be seen refuses nothing.
    pub(crate) async fn room_for(&self, spec: &WorkloadSpec, missing: usize) -> RuntimeResult<()> {
        let Some(memory) = look().await else { return Ok(()) };
        let each = self
            .used_by_one(spec)
            .await?
            .unwrap_or(0)
            .clamp(LEAST_BYTES, spec.size.memory_bytes.max(LEAST_BYTES));
        refusal(memory, each, missing).map_or(Ok(()), |reason| {
            let doing = format!("run process `{}` of app `{}`", spec.key.process, spec.app);
            Err(RuntimeError::Rejected { doing, reason })
        })
    }

    /// What the largest running instance of this release's process uses; `None` when none runs. Others say nothing: the
    /// release that has to go may be the one that eats the memory.
    async fn used_by_one(&self, spec: &WorkloadSpec) -> RuntimeResult<Option<u64>> {
        let environment = &spec.key.environment;
        let mut select =
            labels::select_environment(&self.host.installation, environment, labels::KIND_INSTANCE);
        select.push(format!("{}={}", labels::PLACEMENT, spec.key.placement));
        let others = self.listed(select).await?.into_iter();
        let others = others.filter(|one| {
            one.identity.key.process == spec.key.process && one.identity.key.release == spec.key.release
        });
        let used = stream::iter(others.collect::<Vec<_>>())
            .map(|one| async move { self.usage_of(one.identity.instance, &one.container).await });
        let used: Vec<_> = used.buffer_unordered(PARALLEL).collect().await;
        // One that can't be looked at is no reason to start nothing.
        Ok(used.into_iter().flatten().flatten().filter_map(|usage| usage.memory_bytes).max())
    }
}

async fn look() -> Option<Memory> {
    read(&tokio::fs::read_to_string("/proc/meminfo").await.ok()?)
}

fn read(meminfo: &str) -> Option<Memory> {
    let figure = |name: &str| {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? << 10)
    };
    Some(Memory { total: figure("MemTotal")?, available: figure("MemAvailable")? })
}

/// Says why there is no room, `None` when there is.
fn refusal(memory: Memory, each: u64, missing: usize) -> Option<String> {
    let needed = each.saturating_mul(u64::try_from(missing).unwrap_or(u64::MAX));
    let spare = (memory.total / 20).min(MOST_SPARE_BYTES);
    if needed.saturating_add(spare) <= memory.available {
        return None;
    }
    let mebibytes = |bytes: u64| bytes >> 20;
    Some(format!(
        "this machine has {} MiB of memory left, {} MiB of it for itself; {missing} more instances beside those that run take about {} MiB",
        mebibytes(memory.available),
        mebibytes(spare),
        mebibytes(needed)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn instances_are_refused_when_what_is_left_is_less_than_what_their_like_use() {
        let memory = Memory { total: 2048 * MIB, available: 500 * MIB };
        assert_eq!(refusal(memory, 100 * MIB, 3), None);
        let reason = refusal(memory, 100 * MIB, 4).unwrap();
        assert_eq!(
            reason,
            "this machine has 500 MiB of memory left, 102 MiB of it for itself; 4 more instances beside those that run take about 400 MiB"
        );
        assert!(refusal(memory, u64::MAX, 2).is_some());
    }

    #[test]
    fn the_kernels_figures_are_read_and_others_refuse_nothing() {
        let text = "MemTotal:       24683412 kB\nMemFree:         9667000 kB\nMemAvailable:   22124928 kB\n";
        assert_eq!(read(text), Some(Memory { total: 24_683_412 << 10, available: 22_124_928 << 10 }));
        assert_eq!(read("MemTotal: 1 kB\n"), None);
    }
}
