//! Address ranges for the installations' networks: no two at once have the same, in whatever run.

use std::fs;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use panda_test_support::process::Program;

/// Shared by all runs of this machine.
const LOCKS: &str = "/tmp/panda-test-ranges";
/// Second octets; those of private engines lie above.
const OCTETS: std::ops::Range<u8> = 20..100;
/// How many ports apps may publish.
const PORTS: u32 = 20;

/// `10.N.0.0/16`, taken until it is dropped.
#[derive(Debug)]
pub(crate) struct Range {
    octet: u8,
    lock: PathBuf,
}

impl Range {
    /// Takes a range that no interface of this machine and no other test has.
    pub(crate) fn take() -> anyhow::Result<Self> {
        fs::create_dir_all(LOCKS).with_context(|| format!("making `{LOCKS}`"))?;
        let used = Program::new("ip").args(["-4", "-o", "addr"]).output()?;
        for octet in OCTETS {
            let lock = Path::new(LOCKS).join(octet.to_string());
            if !used.contains(&format!("inet 10.{octet}.")) && lock_file(&lock)? {
                return Ok(Self { octet, lock });
            }
        }
        bail!("no range 10.{}.0.0/16 to 10.{}.0.0/16 is free; see `{LOCKS}`", OCTETS.start, OCTETS.end - 1)
    }

    /// Returns it as `10.N.0.0/16`.
    pub(crate) fn subnet(&self) -> String {
        format!("10.{}.0.0/16", self.octet)
    }

    /// Returns published ports of its own, as a setting: below those that the machine gives out by itself, or among a cluster's.
    pub(crate) fn tcp_ports(&self, of_nodes: bool) -> String {
        let first = if of_nodes { 30_000 } else { 20_000 } + u32::from(self.octet) * PORTS;
        format!("{first}-{}", first + PORTS - 1)
    }

    /// Returns what its addresses begin with.
    pub(crate) fn prefix(&self) -> String {
        format!("10.{}.", self.octet)
    }
}

impl Drop for Range {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.lock);
    }
}

/// Makes the file with our process id; `false` when a living process has it.
fn lock_file(path: &Path) -> anyhow::Result<bool> {
    if let Ok(holder) = fs::read_to_string(path)
        && !holder.is_empty()
        && !Path::new("/proc").join(&holder).exists()
    {
        let _ = fs::remove_file(path);
    }
    match fs::File::options().write(true).create_new(true).open(path) {
        Ok(mut file) => Ok(file.write_all(std::process::id().to_string().as_bytes()).map(|()| true)?),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error).with_context(|| format!("making `{}`", path.display())),
    }
}
