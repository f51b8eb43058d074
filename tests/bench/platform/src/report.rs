//! The figures: a table for people, JSON with every sample for everybody else.

use std::fs;
use std::path::Path;

use serde::Serialize;
use serde_json::json;

use crate::memory::Look;
use crate::pair::{Pair, median, quantile};
use crate::reads::Reads;

/// Everything that was measured.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    machine: Machine,
    pairs: Vec<Pair>,
    pub(crate) startup_ms: Vec<f64>,
    pub(crate) reads: Option<Reads>,
    pub(crate) memory: Vec<Look>,
}

/// What it was measured on.
#[derive(Debug, Serialize)]
struct Machine {
    processor: String,
    cores: usize,
    kernel: String,
    load_before: String,
    load_after: String,
}

impl Report {
    pub(crate) fn begin() -> Self {
        let about = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = about.lines().find_map(|line| {
            line.strip_prefix("model name")?.split_once(": ").map(|(_, name)| name.to_owned())
        });
        let machine = Machine {
            processor: model.unwrap_or_default(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned(),
            load_before: load(),
            load_after: String::new(),
        };
        Self { machine, pairs: Vec::new(), startup_ms: Vec::new(), reads: None, memory: Vec::new() }
    }

    pub(crate) fn add(&mut self, pair: Pair) {
        self.pairs.push(pair);
    }

    pub(crate) fn end(&mut self) {
        self.machine.load_after = load();
    }

    pub(crate) fn print(&self) {
        let machine = &self.machine;
        println!(
            "{}, {} cores, Linux {}; load {} before, {} after\n",
            machine.processor, machine.cores, machine.kernel, machine.load_before, machine.load_after
        );
        if !self.pairs.is_empty() {
            println!(
                "| what | rounds | panda, ms (p95) | by hand, ms (p95) | ratio of medians | median of ratios | wanted |"
            );
            println!("|---|--:|--:|--:|--:|--:|--:|");
        }
        for pair in &self.pairs {
            let side = |samples: &[f64]| format!("{:.0} ({:.0})", median(samples), quantile(samples, 0.95));
            println!(
                "| {} | {} | {} | {} | {:.2} | {:.2} | ≤ {} |",
                pair.name,
                pair.ours_ms.len(),
                side(&pair.ours_ms),
                side(&pair.theirs_ms),
                pair.ratio(),
                pair.paired_ratio(),
                pair.target
            );
        }
        if let Some(reads) = &self.reads {
            let side = |side: &crate::reads::Side| {
                format!("{:.0} a second, p99 {:.1} ms", median(&side.per_second), median(&side.p99_ms))
            };
            println!(
                "\nreading one app: panda {}; bare handler {}; ratio {:.2} (wanted ≥ 0.8)",
                side(&reads.ours),
                side(&reads.bare),
                reads.ratio()
            );
        }
        if !self.startup_ms.is_empty() {
            println!(
                "\n`panda --help`: {:.1} ms, p95 {:.1} ms (wanted ≤ 20)",
                median(&self.startup_ms),
                quantile(&self.startup_ms, 0.95)
            );
        }
        self.print_memory();
    }

    fn print_memory(&self) {
        let Some(first) = self.memory.first() else { return };
        println!("\n| apps | server, MiB | edge, MiB | both, MiB | kB an app |\n|--:|--:|--:|--:|--:|");
        for look in &self.memory {
            #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
            let (server, edge, apps) =
                (look.server_kib as f64, look.edge_kib as f64, (look.apps - first.apps) as f64);
            #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
            let more = server + edge - (first.server_kib + first.edge_kib) as f64;
            let each = if apps > 0.0 { format!("{:.1}", more * 1.024 / apps) } else { "–".to_owned() };
            println!(
                "| {} | {:.1} | {:.1} | {:.1} | {each} |",
                look.apps,
                server / 1024.0,
                edge / 1024.0,
                (server + edge) / 1024.0
            );
        }
        println!("(wanted: ≤ 60 MiB idle, ≤ 15 kB an app)");
    }

    pub(crate) fn save(&self, path: &Path) -> anyhow::Result<()> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(path, serde_json::to_vec_pretty(&json!(self))?)?;
        println!("\nevery sample: {}", path.display());
        Ok(())
    }
}

fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().next().unwrap_or_default().to_owned()
}
