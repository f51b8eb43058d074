//! Replicas and size of each process.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use crate::autoscale::Autoscale;
use crate::names::ProcessName;

/// The most replicas that one process may have.
pub const MAX_REPLICAS: u32 = 1000;
/// How many thousandths of a core a replica may have.
pub const CPU_MILLIS: RangeInclusive<u32> = 10..=256_000;
/// How many bytes of memory a replica may have: 16 MiB to 1 TiB.
pub const MEMORY_BYTES: RangeInclusive<u64> = 16 << 20..=1 << 40;

/// How much one replica may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Size {
    /// Thousandths of a core.
    pub cpu_millis: u32,
    /// Bytes of memory, swap included.
    pub memory_bytes: u64,
}

impl Default for Size {
    fn default() -> Self {
        Self { cpu_millis: 1000, memory_bytes: 512 << 20 }
    }
}

/// Replicas and size of one process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scale {
    /// How many instances are wanted; 0 stops the process. While it is autoscaled this is only what it starts with.
    pub replicas: u32,
    /// The size of each.
    pub size: Size,
    /// Between which bounds the replicas change by load, if they do.
    #[serde(default)]
    pub autoscale: Option<Autoscale>,
}

impl Default for Scale {
    fn default() -> Self {
        Self { replicas: 1, size: Size::default(), autoscale: None }
    }
}

/// The scale of each process of a placement. Belongs to the environment: a rollback keeps it.
pub type Formation = BTreeMap<ProcessName, Scale>;
