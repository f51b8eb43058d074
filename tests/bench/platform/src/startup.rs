//! How long the command line takes to say what it can do.

use std::time::{Duration, Instant};

use panda_e2e::Installation;
use panda_e2e::ground::binary;
use panda_test_support::process::Program;

use crate::pair::milliseconds;

const RUNS: usize = 50;

/// Runs `panda --help` often; returns milliseconds.
pub(crate) async fn help(panda: &Installation) -> anyhow::Result<Vec<f64>> {
    let program = Program::new(binary("panda")?).args(["--help"]).env("HOME", panda.folder.join("home"));
    let mut samples = Vec::new();
    for _ in 0..RUNS {
        let begun = Instant::now();
        let done = program.run(Duration::from_secs(10)).await?;
        samples.push(milliseconds(begun.elapsed()));
        anyhow::ensure!(done.code == Some(0), "panda --help: {}", done.stderr);
    }
    Ok(samples)
}
