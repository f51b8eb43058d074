//! The figures: a table to read, and a file with every sample.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::Context;
use serde::Serialize;

use crate::changes::Changes;
use crate::load::Sample;
use crate::memory::Memory;
use crate::process;

/// Everything that was measured.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    machine: BTreeMap<&'static str, String>,
    pub(crate) load: Vec<Sample>,
    pub(crate) changes: Vec<Changes>,
    pub(crate) memory: Vec<Memory>,
}

impl Report {
    pub(crate) fn new() -> Self {
        let first = |program: &str, args: &[&str]| {
            let text = process::output(program, args).unwrap_or_default();
            text.lines().next().unwrap_or("not installed").to_owned()
        };
        let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
        let machine = BTreeMap::from([
            ("cores", cores.to_string()),
            (
                "kernel",
                fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned(),
            ),
            ("load", fs::read_to_string("/proc/loadavg").unwrap_or_default().trim().to_owned()),
            ("nginx", first("nginx", &["-v"])),
            ("haproxy", first("haproxy", &["-v"])),
            ("caddy", first("caddy", &["version"])),
        ]);
        Self { machine, load: Vec::new(), changes: Vec::new(), memory: Vec::new() }
    }

    pub(crate) fn print(&self) {
        println!("machine: {:?}\n", self.machine);
        self.print_load();
        for changes in &self.changes {
            let (effect, acknowledged) = (&changes.effect_micros, &changes.acknowledged_micros);
            println!(
                "{} changes at {} routes: {} of {} requests failed; in effect after {} µs (median), {} µs (99th), \
                 {} µs (most); acknowledged after {} µs (median); first snapshot {} µs",
                changes.count,
                changes.routes,
                changes.failed,
                changes.requests,
                at(effect, 50),
                at(effect, 99),
                at(effect, 100),
                at(acknowledged, 50),
                changes.snapshot_micros
            );
        }
        for memory in &self.memory {
            println!("memory with {} routes: {} KiB", memory.routes, memory.resident_kib);
        }
    }

    fn print_load(&self) {
        let mut cases: Vec<&str> = self.load.iter().map(|sample| sample.case.as_str()).collect();
        cases.dedup();
        cases.truncate(4);
        for case in cases {
            let mut proxies: BTreeMap<&str, Vec<&Sample>> = BTreeMap::new();
            for sample in self.load.iter().filter(|sample| sample.case == case) {
                proxies.entry(sample.proxy).or_default().push(sample);
            }
            let per_core: BTreeMap<&str, f64> = proxies
                .iter()
                .map(|(name, samples)| (*name, median(samples, |sample| sample.per_core)))
                .collect();
            let edge = per_core.get("panda-edge").copied().unwrap_or(f64::NAN);
            println!("{case}");
            for (name, samples) in &proxies {
                println!(
                    "  {name:<10} {:>8.0}/core s  edge is {:>5.2} × it  {:>7.0}/s  p50 {:>7.0} µs  p99 {:>7.0} µs  {:>6} KiB  {} errors",
                    per_core[name],
                    edge / per_core[name],
                    median(samples, |sample| sample.per_second),
                    median(samples, |sample| sample.p50_micros),
                    median(samples, |sample| sample.p99_micros),
                    samples.iter().map(|sample| sample.resident_kib).max().unwrap_or(0),
                    samples.iter().map(|sample| sample.errors).sum::<u64>(),
                );
            }
        }
        println!();
    }

    pub(crate) fn save(&self, path: &Path) -> anyhow::Result<()> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let text = serde_json::to_string_pretty(self)?;
        fs::write(path, text).with_context(|| format!("write `{}`", path.display()))
    }
}

fn median(samples: &[&Sample], value: impl Fn(&Sample) -> f64) -> f64 {
    let mut values: Vec<f64> = samples.iter().map(|sample| value(sample)).collect();
    values.sort_unstable_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        count if count % 2 == 1 => values[count / 2],
        count => f64::midpoint(values[count / 2 - 1], values[count / 2]),
    }
}

fn at(values: &[u64], percent: usize) -> u64 {
    let mut values = values.to_vec();
    values.sort_unstable();
    let index = (values.len() * percent).div_ceil(100).clamp(1, values.len().max(1)) - 1;
    values.get(index).copied().unwrap_or(0)
}
