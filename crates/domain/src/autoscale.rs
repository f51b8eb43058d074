//! Autoscaling: between which bounds, and at what load, the replicas of a process change by themselves.

use serde::{Deserialize, Serialize};

use crate::formation::MAX_REPLICAS;

/// The share of its cores that instances are held at when nobody says another, percent.
pub const DEFAULT_CPU_PERCENT: u32 = 70;
/// Loads that can be held. At more than the highest an instance is full before another one comes.
pub const PERCENTS: std::ops::RangeInclusive<u32> = 5..=95;

/// Bounds and loads of one process. Loads are percent of an instance's size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Autoscale {
    /// The fewest replicas.
    pub min: u32,
    /// The most.
    pub max: u32,
    /// The processor's load to hold.
    pub cpu_percent: Option<u32>,
    /// The memory's load to hold.
    pub memory_percent: Option<u32>,
}

/// A figure that can't be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAutoscale {
    /// The fewest aren't in range.
    #[error("has to be from 1 to {MAX_REPLICAS}")]
    Min,
    /// The most aren't in range.
    #[error("has to be from 1 to {MAX_REPLICAS}")]
    Max,
    /// The bounds are the wrong way round.
    #[error("has to be at least `min`")]
    Bounds,
    /// The processor's load isn't in range.
    #[error("has to be from {} to {} percent", PERCENTS.start(), PERCENTS.end())]
    Cpu,
    /// The memory's load isn't in range.
    #[error("has to be from {} to {} percent", PERCENTS.start(), PERCENTS.end())]
    Memory,
}

impl InvalidAutoscale {
    /// Returns which key is wrong, as `panda.toml` calls it.
    pub fn key(self) -> &'static str {
        match self {
            Self::Min => "min",
            Self::Max | Self::Bounds => "max",
            Self::Cpu => "cpu",
            Self::Memory => "memory",
        }
    }
}

impl Autoscale {
    /// Makes bounds that can be kept. Without any load it is the processor's that counts.
    pub fn new(
        min: u32,
        max: u32,
        cpu_percent: Option<u32>,
        memory_percent: Option<u32>,
    ) -> Result<Self, InvalidAutoscale> {
        if !(1..=MAX_REPLICAS).contains(&min) {
            return Err(InvalidAutoscale::Min);
        }
        if !(1..=MAX_REPLICAS).contains(&max) {
            return Err(InvalidAutoscale::Max);
        }
        if max < min {
            return Err(InvalidAutoscale::Bounds);
        }
        let odd = |percent: Option<u32>| percent.is_some_and(|percent| !PERCENTS.contains(&percent));
        if odd(cpu_percent) {
            return Err(InvalidAutoscale::Cpu);
        }
        if odd(memory_percent) {
            return Err(InvalidAutoscale::Memory);
        }
        let cpu_percent = cpu_percent.or(memory_percent.is_none().then_some(DEFAULT_CPU_PERCENT));
        Ok(Self { min, max, cpu_percent, memory_percent })
    }

    /// Brings a number of replicas within the bounds.
    pub fn within(&self, replicas: u32) -> u32 {
        replicas.max(self.min).min(self.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_that_cant_be_kept_are_refused_by_the_key_that_is_wrong() {
        for (min, max, cpu, memory, wrong) in [
            (0, 3, None, None, InvalidAutoscale::Min),
            (2, 1001, None, None, InvalidAutoscale::Max),
            (4, 3, None, None, InvalidAutoscale::Bounds),
            (1, 3, Some(4), None, InvalidAutoscale::Cpu),
            (1, 3, None, Some(96), InvalidAutoscale::Memory),
        ] {
            assert_eq!(Autoscale::new(min, max, cpu, memory), Err(wrong));
        }
    }

    #[test]
    fn the_processors_load_counts_when_none_is_said() {
        assert_eq!(Autoscale::new(1, 3, None, None).unwrap().cpu_percent, Some(70));
        assert_eq!(Autoscale::new(1, 3, None, Some(80)).unwrap().cpu_percent, None);
        let bounds = Autoscale::new(2, 4, Some(50), None).unwrap();
        assert_eq!((bounds.within(1), bounds.within(3), bounds.within(9)), (2, 3, 4));
    }
}
