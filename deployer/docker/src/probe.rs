//! The readiness probe: one owned task for each run of an instance, from the host straight to the container's address.

use std::time::Duration;

use panda_domain::clock::Clock;
use panda_domain::release::HealthCheck;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::engine::Engine;
use crate::instances::{Instances, Readiness, Run};

/// How often a starting instance is asked at first.
const EAGER: Duration = Duration::from_millis(100);
/// For how long.
const EAGER_FOR: Duration = Duration::from_secs(10);
/// How often after that, and after readiness was lost.
const PATIENT: Duration = Duration::from_secs(1);
/// How long a process without a port has to run to count as ready.
const WORKER_READY: Duration = Duration::from_secs(2);
/// The longest status line that is read.
const LINE: usize = 256;

/// Probes one run until it is over.
pub(crate) async fn watch(run: Run, instances: Instances, engine: Engine, clock: Clock) {
    let cancel = run.cancel.clone();
    let probing = async {
        match run.identity.endpoint() {
            Some(endpoint) => watch_port(&run, &endpoint, &instances, &engine, &clock).await,
            None => watch_worker(&run, &instances, &clock).await,
        }
    };
    tokio::select! {
        () = cancel.cancelled() => {}
        () = probing => {}
    }
}

/// A worker has nothing to ask: it is ready once it has run for a while, and stays so until its process ends.
async fn watch_worker(run: &Run, instances: &Instances, clock: &Clock) {
    let started: Option<jiff::Timestamp> = run.started.parse().ok();
    let ran = started.map_or(0, |at| clock.now_ms() - at.as_millisecond());
    let left = WORKER_READY.saturating_sub(Duration::from_millis(u64::try_from(ran).unwrap_or(0)));
    tokio::time::sleep(left).await;
    let readiness = Readiness { ready: true, ready_at: Some(clock.now()), probed: true, said: None };
    instances.found(run, &readiness);
}

async fn watch_port(run: &Run, endpoint: &str, instances: &Instances, engine: &Engine, clock: &Clock) {
    let health = &run.identity.facts.health;
    let began = Instant::now();
    let mut readiness = Readiness::default();
    let mut failures = 0;
    loop {
        let outcome = ask(endpoint, health).await;
        readiness.probed = true;
        if let Err(said) = outcome {
            failures += 1;
            readiness.said = Some(said);
            if failures >= health.failures.max(1) {
                readiness.ready = false;
            }
        } else {
            failures = 0;
            readiness.said = None;
            readiness.ready = true;
            readiness.ready_at.get_or_insert_with(|| clock.now());
        }
        instances.found(run, &readiness);
        if hung(health, &readiness, failures) {
            restart(run, engine).await;
            failures = 0;
        }
        tokio::time::sleep(pause(health, &readiness, failures, began.elapsed())).await;
    }
}

fn pause(health: &HealthCheck, readiness: &Readiness, failures: u32, running: Duration) -> Duration {
    let interval = Duration::from_secs(u64::from(health.interval_s.max(1)));
    match readiness.ready_at {
        None if running < EAGER_FOR => EAGER,
        Some(_) if readiness.ready && failures == 0 => interval,
        _ => PATIENT.min(interval),
    }
}

/// A liveness check speaks only once the instance was ready: starting slowly isn't hanging.
fn hung(health: &HealthCheck, readiness: &Readiness, failures: u32) -> bool {
    health.liveness
        && health.path.is_some()
        && readiness.ready_at.is_some()
        && failures >= health.failures.max(1)
}

async fn restart(run: &Run, engine: &Engine) {
    let options = bollard::query_parameters::RestartContainerOptions {
        t: Some(i32::try_from(run.identity.facts.shutdown.grace_s).unwrap_or(30)),
        ..Default::default()
    };
    let grace = Duration::from_secs(u64::from(run.identity.facts.shutdown.grace_s) + 30);
    let call = engine.docker.restart_container(&run.container, Some(options));
    let instance = &run.identity.instance;
    match engine.call_within(grace, format!("restart hung instance `{instance}`"), call).await {
        Ok(()) => {
            tracing::warn!(instance.id = %instance, "restarted instance {instance}: its health path failed");
        }
        Err(error) => {
            tracing::warn!(instance.id = %instance, %error, "instance {instance} hangs and can't be restarted");
        }
    }
}

/// Asks once; an error is for people.
async fn ask(endpoint: &str, health: &HealthCheck) -> Result<(), String> {
    let limit = Duration::from_secs(u64::from(health.timeout_s.max(1)));
    let asked = async {
        let mut stream = TcpStream::connect(endpoint).await.map_err(|error| in_words(&error))?;
        match &health.path {
            None => Ok(()),
            Some(path) => ask_http(&mut stream, endpoint, path, health).await,
        }
    };
    let late = || Err(format!("no answer within {} s", limit.as_secs()));
    tokio::time::timeout(limit, asked).await.unwrap_or_else(|_| late())
}

async fn ask_http(
    stream: &mut TcpStream,
    endpoint: &str,
    path: &str,
    health: &HealthCheck,
) -> Result<(), String> {
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {endpoint}\r\nUser-Agent: panda-probe\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.map_err(|error| in_words(&error))?;
    // Only the first line matters; the rest is the app's own affair.
    let mut line = Vec::with_capacity(LINE);
    while !line.contains(&b'\n') && line.len() < LINE {
        let read = stream.read_buf(&mut line).await.map_err(|error| in_words(&error))?;
        if read == 0 {
            break;
        }
    }
    let status = status(&line).ok_or_else(|| format!("GET {path} gave no HTTP answer"))?;
    if (health.ok_from..=health.ok_to).contains(&status) {
        Ok(())
    } else {
        Err(format!("GET {path} gave {status}"))
    }
}

fn status(line: &[u8]) -> Option<u16> {
    let text = std::str::from_utf8(line.split(|b| *b == b'\n').next()?).ok()?;
    let mut words = text.split_ascii_whitespace();
    words.next().filter(|version| version.starts_with("HTTP/1."))?;
    words.next()?.parse().ok()
}

fn in_words(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        std::io::ErrorKind::ConnectionReset => "connection reset".to_owned(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_http_answers_have_a_status() {
        assert_eq!(status(b"HTTP/1.1 204 No Content\r\n"), Some(204));
        assert_eq!(status(b"HTTP/1.0 503\r\n"), Some(503));
        assert_eq!(status(b"SSH-2.0-OpenSSH\r\n"), None);
        assert_eq!(status(b""), None);
    }

    #[test]
    fn a_starting_instance_is_asked_often_and_a_hung_one_only_after_it_was_ready() {
        let health = HealthCheck { liveness: true, path: Some("/".into()), ..HealthCheck::default() };
        let mut readiness = Readiness::default();
        assert_eq!(pause(&health, &readiness, 9, Duration::from_secs(1)), EAGER);
        assert_eq!(pause(&health, &readiness, 9, Duration::from_secs(11)), PATIENT);
        assert!(!hung(&health, &readiness, 9));
        readiness.ready_at = Some(jiff::Timestamp::UNIX_EPOCH);
        assert!(hung(&health, &readiness, 3) && !hung(&health, &readiness, 2));
    }
}
