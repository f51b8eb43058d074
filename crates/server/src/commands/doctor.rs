//! `panda-server doctor`: looks at everything that an installation stands on, and says how to mend it.

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};
use panda_builder::buildkit::{BuildkitConfig, Buildkitd};
use panda_deployer::runtime::{Check, CheckState};
use panda_docker::platform::{Component, PlatformHost};
use panda_domain::clock::Clock;
use panda_domain::route::CertificateState;
use panda_edge::client::EdgeClient;
use panda_registry_token::RegistryKey;
use panda_store::Keyring;

use super::{health, http, opening, ports};
use crate::config::{Config, check};
use crate::platform_containers::{Installation, registry_address};

const LIMIT: Duration = Duration::from_secs(5);
/// Free room below which a look warns, and below which it fails.
const LITTLE_MB: u64 = 5_000;
const TOO_LITTLE_MB: u64 = 500;
/// How long before its end a certificate should have been replaced.
const RENEWED_BEFORE_DAYS: i64 = 14;

/// Looks, tells, and fails if anything failed.
pub(super) async fn run(config: &Config) -> ExitCode {
    let mut checks = configuration(config);
    let installation = Installation::load(&config.data_dir).ok().flatten().unwrap_or_default();
    checks.extend(engine(config, &installation).await);
    for component in Component::ALL {
        checks.push(component_check(config, component, &installation).await);
    }
    checks.extend(registry_login(config).await);
    checks.extend(taken_ports(config).await);
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

async fn engine(config: &Config, installation: &Installation) -> Vec<Check> {
    let looked = async {
        let host = PlatformHost::connect(&config.runtime.docker_socket, &installation.name).await?;
        host.check().await
    };
    looked.await.unwrap_or_else(|error| {
        let seen = format!("{:#}", anyhow::Error::from(error));
        vec![look(
            "Docker engine",
            CheckState::Failed,
            seen,
            "systemctl start docker; then journalctl -u docker",
        )]
    })
}

async fn component_check(config: &Config, component: Component, installation: &Installation) -> Check {
    match answers(config, component).await {
        Ok(seen) => ok(component.word(), seen),
        Err(error) => {
            let name = format!("{}-{}", installation.name, component.word());
            let fix = format!("docker logs {name}; `panda-server install` brings it up again");
            look(component.word(), CheckState::Failed, format!("{error:#}"), fix)
        }
    }
}

/// Asks a component for an answer of its own, and returns what it said.
pub(super) async fn answers(config: &Config, component: Component) -> Result<String> {
    match component {
        Component::Registry => {
            let address = registry_address(config)?;
            let answer = match RegistryKey::load(&config.registry.key_file, Clock::system())? {
                Some(key) => http::get_as(&key.greeting_token(), address, "/v2/", LIMIT).await?,
                None => http::get(address, "/v2/", LIMIT).await?,
            };
            match answer {
                (200, _) => Ok(format!("answers on {address}")),
                (401, _) => bail!("{address} doesn't know this installation's key"),
                (status, _) => bail!("{address} answers {status}"),
            }
        }
        Component::Buildkitd => {
            let settings = BuildkitConfig { address: config.builder.address.clone(), tls: None };
            let daemon = Buildkitd::new(&settings)?;
            let version = tokio::time::timeout(LIMIT, daemon.version()).await;
            let version = version.with_context(|| format!("no answer from {}", config.builder.address))??;
            Ok(format!("BuildKit {version}"))
        }
        Component::Edge => {
            let status = EdgeClient::new(&config.edge.control).with_deadline(LIMIT).status().await?;
            let warnings = status.warnings.join("; ");
            let warnings = if warnings.is_empty() { String::new() } else { format!(", but: {warnings}") };
            Ok(format!(
                "version {}, {} routes, {} certificates{warnings}",
                status.version, status.routes, status.certificates
            ))
        }
        Component::Server => {
            health::ready(config).await?;
            let info = health::server_info(config).await?;
            let version = info.get("version").and_then(|version| version.as_str()).unwrap_or("unknown");
            Ok(format!("version {version}, ready"))
        }
    }
}

/// Warns of a registry that serves everybody: build steps and all programs of this machine reach it.
async fn registry_login(config: &Config) -> Option<Check> {
    let answer = http::get(registry_address(config).ok()?, "/v2/", LIMIT).await.ok()?;
    let seen = "everybody who reaches it, every build step included, can read and replace all images";
    let fix = "panda-server install; it asks for a login from then on, and apps run on";
    match answer.0 {
        401 => Some(ok("registry login", "serves nobody without a token")),
        200 => Some(look("registry login", CheckState::Warning, seen, fix)),
        // What is wrong stands in the look at the registry itself.
        _ => None,
    }
}

/// Tells whether a registry listens there, whatever it thinks of us.
pub(super) async fn registry_listens(config: &Config) -> bool {
    let Ok(address) = registry_address(config) else { return false };
    matches!(http::get(address, "/v2/", LIMIT).await, Ok((200 | 401, _)))
}

/// Names those who hold a port that one of ours needs.
async fn taken_ports(config: &Config) -> Vec<Check> {
    let wanted = match ports::wanted(config) {
        Ok(wanted) => wanted,
        Err(failure) => return vec![look("ports", CheckState::Failed, failure.to_string(), "")],
    };
    let mut checks = Vec::new();
    for port in &wanted {
        if answers(config, port.component).await.is_err()
            && let Err(failure) = ports::check(std::slice::from_ref(port), &[])
        {
            checks.push(look("ports", CheckState::Failed, failure.cause, failure.fix));
        }
    }
    if checks.is_empty() {
        let numbers: Vec<_> = wanted.iter().map(|port| port.address.port().to_string()).collect();
        checks.push(ok("ports", format!("{} are ours or free", numbers.join(", "))));
    }
    checks
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
    let soon = Clock::system().now() + jiff::SignedDuration::from_hours(24 * RENEWED_BEFORE_DAYS);
    let count = certificates.len();
    for certificate in certificates {
        let host = &certificate.host;
        if let CertificateState::Failed { reason } = &certificate.state {
            let fix = format!("see that {host} leads to this machine on port 80");
            checks.push(look("certificates", CheckState::Warning, format!("{host}: {reason}"), fix));
        }
        if let Some(end) = certificate.not_after.filter(|end| *end < soon) {
            let fix = "docker logs panda-server shows why it isn't replaced";
            checks.push(look("certificates", CheckState::Warning, format!("{host} ends {end}"), fix));
        }
    }
    if checks.len() == 1 {
        checks.push(ok("certificates", format!("{count}, none of them about to end")));
    }
    checks
}
