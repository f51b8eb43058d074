//! `panda-server doctor`: looks at everything that an installation stands on, and says how to mend it.

mod cluster;
mod docker;

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result};
use panda_builder::buildkit::Buildkitd;
use panda_deployer::runtime::{Check, CheckState};
use panda_domain::clock::Clock;
use panda_domain::route::CertificateState;
use panda_store::Keyring;

use super::opening;
use crate::config::{Config, RuntimeKind, check};
use crate::platform_containers::Installation;
use crate::wiring;
pub(super) use docker::{answers, registry_listens};

const LIMIT: Duration = Duration::from_secs(5);
/// Free room below which a look warns, and below which it fails.
const LITTLE_MB: u64 = 5_000;
const TOO_LITTLE_MB: u64 = 500;
/// How long before its end a certificate should have been replaced.
const RENEWED_BEFORE_DAYS: i64 = 14;
/// The same for one that people gave, and have to order themselves.
const GIVEN_BEFORE_DAYS: i64 = 30;

/// Looks, tells, and fails if anything failed.
pub(super) async fn run(config: &Config) -> ExitCode {
    let mut checks = configuration(config);
    checks.extend(match config.runtime.kind {
        RuntimeKind::Docker => docker::looks(config).await,
        RuntimeKind::Kubernetes => cluster::looks(config).await,
    });
    checks.push(disk(&config.data_dir));
    checks.push(clock(config));
    checks.push(key(config).await);
    checks.extend(state(config).await);
    for check in &checks {
        println!("{:<8} {:<18} {}", word(check.state), check.name, check.seen);
        if !check.fix.is_empty() {
            println!("{:<8} {:<18} fix: {}", "", "", check.fix);
        }
    }
    let failed = checks.iter().filter(|check| check.state == CheckState::Failed).count();
    let warned = checks.iter().filter(|check| check.state == CheckState::Warning).count();
    println!("{} looks, {warned} warnings, {failed} failed", checks.len());
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn word(state: CheckState) -> &'static str {
    match state {
        CheckState::Ok => "ok",
        CheckState::Warning => "warning",
        CheckState::Failed => "FAILED",
    }
}

fn look(name: &str, state: CheckState, seen: impl Into<String>, fix: impl Into<String>) -> Check {
    Check { name: name.to_owned(), state, seen: seen.into(), fix: fix.into() }
}

fn ok(name: &str, seen: impl Into<String>) -> Check {
    look(name, CheckState::Ok, seen, "")
}

fn configuration(config: &Config) -> Vec<Check> {
    let findings = check(config);
    if findings.is_empty() {
        return vec![ok("configuration", "nothing to say")];
    }
    let told = findings.into_iter().map(|finding| {
        let state = if finding.fatal { CheckState::Failed } else { CheckState::Warning };
        look("configuration", state, format!("{}: {}", finding.setting, finding.problem), finding.fix)
    });
    told.collect()
}

/// Asks the builder for its version.
async fn builder_version(config: &Config) -> Result<String> {
    let daemon = Buildkitd::new(&wiring::buildkit(config)?)?;
    let version = tokio::time::timeout(LIMIT, daemon.version()).await;
    let version = version.with_context(|| format!("no answer from {}", config.builder.address))??;
    Ok(format!("BuildKit {version}"))
}

fn disk(data_dir: &Path) -> Check {
    let fix = "docker system df; docker image prune; or a bigger disk";
    match rustix::fs::statvfs(data_dir) {
        Ok(found) => {
            let free_mb = found.f_bavail.saturating_mul(found.f_frsize) >> 20;
            let seen = format!("{free_mb} MB free in {}", data_dir.display());
            match free_mb {
                0..TOO_LITTLE_MB => look("disk", CheckState::Failed, seen, fix),
                TOO_LITTLE_MB..LITTLE_MB => look("disk", CheckState::Warning, seen, fix),
                _ => ok("disk", seen),
            }
        }
        Err(error) => {
            let seen = format!("look at {}: {error}", data_dir.display());
            look("disk", CheckState::Failed, seen, "panda-server install")
        }
    }
}

/// A clock that went back shows in files that are newer than now; one that nobody sets shows with systemd.
fn clock(config: &Config) -> Check {
    const FIX: &str = "timedatectl set-ntp true, or set the clock";
    let now = SystemTime::now();
    let newest = [Installation::file(&config.data_dir), config.keys.file.clone()]
        .iter()
        .filter_map(|file| file.metadata().ok()?.modified().ok())
        .max();
    if let Some(ahead) =
        newest.and_then(|at| at.duration_since(now).ok()).filter(|ahead| ahead.as_secs() > 60)
    {
        let seen = format!("{} s behind the time at which this was installed", ahead.as_secs());
        return look("clock", CheckState::Failed, seen, FIX);
    }
    let timesync = Path::new("/run/systemd/timesync");
    if timesync.exists() && !timesync.join("synchronized").exists() {
        return look("clock", CheckState::Warning, "systemd-timesyncd hasn't reached a time server", FIX);
    }
    ok("clock", Clock::system().now().to_string())
}

async fn key(config: &Config) -> Check {
    match Keyring::load(opening::key_source(config)).await {
        Ok(keyring) => ok("key", format!("readable from {}", keyring.source())),
        Err(error) => {
            let seen = format!("{:#}", anyhow::Error::from(error));
            look("key", CheckState::Failed, seen, "put the key file back (docs/operating.md, \"The key\")")
        }
    }
}

async fn state(config: &Config) -> Vec<Check> {
    let read = async {
        let store = opening::look(config).await?;
        store.check().await?;
        let certificates = store.read().await?.all_certificates().await?;
        store.close().await;
        Ok::<_, panda_store::StoreError>(certificates)
    };
    let certificates = match read.await {
        Ok(certificates) => certificates,
        Err(error) => {
            let seen = format!("{:#}", anyhow::Error::from(error));
            let fix = "docs/operating.md, \"Backup and restore\"";
            return vec![look("database", CheckState::Failed, seen, fix)];
        }
    };
    let mut checks = vec![ok("database", config.redacted().database.url)];
    let now = Clock::system().now();
    let count = certificates.len();
    for certificate in certificates {
        let host = &certificate.host;
        if let CertificateState::Failed { reason } = &certificate.state {
            let fix = format!("see that {host} leads to this machine on port 80");
            checks.push(look("certificates", CheckState::Warning, format!("{host}: {reason}"), fix));
        }
        let (days, fix) = match &certificate.state {
            CertificateState::Own { name, .. } => (
                GIVEN_BEFORE_DAYS,
                format!("its owner gives a new one: panda certs add '{name}' --cert FILE --key FILE"),
            ),
            _ => (RENEWED_BEFORE_DAYS, "docker logs panda-server shows why it isn't replaced".to_owned()),
        };
        let soon = now + jiff::SignedDuration::from_hours(24 * days);
        if let Some(end) = certificate.not_after.filter(|end| *end < soon) {
            let ends = if end < now { "ended" } else { "ends" };
            checks.push(look("certificates", CheckState::Warning, format!("{host} {ends} {end}"), fix));
        }
    }
    if checks.len() == 1 {
        checks.push(ok("certificates", format!("{count}, none of them about to end")));
    }
    checks
}
