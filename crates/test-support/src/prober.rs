//! The availability prober: asks a URL at a steady rate, counts every failure, and remembers which version answered when.
//!
//! The rate doesn't follow the answers (an open loop): a server that stalls gets more requests at once, not fewer. Half of
//! the requests reuse connections, half open a new one each.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use reqwest::{Certificate, Client};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

/// How long one request may take before it counts as failed.
const PATIENCE: Duration = Duration::from_secs(15);
/// How much of a body is remembered, in characters: versions are short.
const REMEMBERED: usize = 48;

/// What is asked.
#[derive(Debug, Clone)]
pub struct Target {
    /// The address as a browser has it.
    pub url: String,
    /// Where the connection goes, whatever the name says.
    pub address: SocketAddr,
    /// The authority that is trusted, PEM; none for plain HTTP.
    pub ca: Option<String>,
}

/// One request.
#[derive(Debug, Clone)]
pub struct Sample {
    /// When it was sent, since the start.
    pub sent: Duration,
    /// How long the whole answer took.
    pub took: Duration,
    /// Whether it had a new connection.
    pub new_connection: bool,
    /// What came.
    pub outcome: Outcome,
}

/// What came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// A success, with the body's beginning: which version answered.
    Answered(String),
    /// Any other status, with the body's beginning.
    Refused(u16, String),
    /// No answer: the chain of causes.
    Broken(String),
}

/// A running prober.
#[derive(Debug)]
pub struct Prober {
    stop: Arc<AtomicBool>,
    samples: Arc<Mutex<Vec<Sample>>>,
    begun: Instant,
    thread: Option<JoinHandle<()>>,
}

/// All requests, in the order in which they were sent.
#[derive(Debug, Clone)]
pub struct Report {
    /// The requests.
    pub samples: Vec<Sample>,
}

/// Makes a client that trusts this authority and connects to this address whatever the name.
fn client(target: &Target, reuse: bool) -> anyhow::Result<Client> {
    let host = url_host(&target.url).context("the prober's URL has no host")?;
    let mut builder = Client::builder()
        .http1_only()
        .no_proxy()
        .timeout(PATIENCE)
        .redirect(reqwest::redirect::Policy::none())
        .resolve(&host, target.address);
    if !reuse {
        builder = builder.pool_max_idle_per_host(0);
    }
    if let Some(pem) = &target.ca {
        builder = builder.tls_certs_only([Certificate::from_pem(pem.as_bytes())?]);
    }
    Ok(builder.build()?)
}

fn url_host(url: &str) -> Option<String> {
    Some(reqwest::Url::parse(url).ok()?.host_str()?.to_owned())
}

impl Prober {
    /// Starts to send `rate` requests a second, on a thread of its own.
    pub fn start(target: &Target, rate: u32) -> anyhow::Result<Self> {
        let (kept, fresh) = (client(target, true)?, client(target, false)?);
        let (stop, samples, begun) =
            (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())), Instant::now());
        let (url, gap) = (target.url.clone(), Duration::from_secs(1) / rate.max(1));
        let (ending, list) = (stop.clone(), samples.clone());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = std::thread::Builder::new().name("prober".into()).spawn(move || {
            runtime.block_on(send_all([kept, fresh], &url, gap, begun, &ending, &list));
        })?;
        Ok(Self { stop, samples, begun, thread: Some(thread) })
    }

    /// Returns the time since the start, on the clock of the samples.
    pub fn now(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Returns what was seen so far.
    pub fn so_far(&self) -> Report {
        let mut samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner).clone();
        samples.sort_by_key(|sample| sample.sent);
        Report { samples }
    }

    /// Waits until a request that was sent from now on is answered with this body.
    pub async fn until_answers(&self, body: &str, deadline: Duration) -> anyhow::Result<Duration> {
        let from = self.now();
        let answer = Outcome::Answered(body.to_owned());
        loop {
            let seen = self.so_far();
            if let Some(sample) =
                seen.samples.iter().find(|sample| sample.sent >= from && sample.outcome == answer)
            {
                return Ok(sample.sent);
            }
            anyhow::ensure!(
                self.now() < from + deadline,
                "`{body}` didn't answer within {deadline:?}\n{seen}"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Stops sending, waits for the last answers, and prints the result.
    pub fn stop(mut self) -> Report {
        self.finish();
        let report = self.so_far();
        println!("{report}");
        report
    }

    fn finish(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        self.finish();
    }
}

async fn send_all(
    clients: [Client; 2],
    url: &str,
    gap: Duration,
    begun: Instant,
    stop: &AtomicBool,
    samples: &Arc<Mutex<Vec<Sample>>>,
) {
    let mut ticks = tokio::time::interval(gap);
    // A machine that stalls owes the requests of that time: they are sent at once when it goes on.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut running = JoinSet::new();
    let mut number = 0_usize;
    while !stop.load(Ordering::Relaxed) {
        ticks.tick().await;
        let (client, url, samples) = (clients[number % 2].clone(), url.to_owned(), samples.clone());
        let new_connection = number % 2 == 1;
        running.spawn(async move {
            let sent = begun.elapsed();
            let outcome = ask(&client, &url).await;
            let sample = Sample { sent, took: begun.elapsed().saturating_sub(sent), new_connection, outcome };
            samples.lock().unwrap_or_else(PoisonError::into_inner).push(sample);
        });
        while running.try_join_next().is_some() {}
        number += 1;
    }
    running.join_all().await;
}

async fn ask(client: &Client, url: &str) -> Outcome {
    let whole = async {
        let answer = client.get(url).send().await?;
        let status = answer.status();
        Ok::<_, reqwest::Error>((status, answer.text().await?))
    };
    match whole.await {
        Ok((status, body)) => {
            let body: String = body.trim().chars().take(REMEMBERED).collect();
            if status.is_success() {
                Outcome::Answered(body)
            } else {
                Outcome::Refused(status.as_u16(), body)
            }
        }
        Err(error) => Outcome::Broken(chain(&error)),
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

impl Report {
    /// Returns the requests that failed.
    pub fn failures(&self) -> Vec<&Sample> {
        self.samples.iter().filter(|sample| !matches!(sample.outcome, Outcome::Answered(_))).collect()
    }

    /// Returns when the first and the last request with this body were sent.
    pub fn span(&self, body: &str) -> Option<(Duration, Duration)> {
        let mut sent = self
            .samples
            .iter()
            .filter(|s| matches!(&s.outcome, Outcome::Answered(b) if b == body))
            .map(|s| s.sent);
        let first = sent.next()?;
        Some((first, sent.next_back().unwrap_or(first)))
    }

    /// Demands that every request was answered, and that there were some.
    #[track_caller]
    pub fn assert_no_failures(&self) {
        assert!(!self.samples.is_empty(), "the prober sent nothing");
        assert!(self.failures().is_empty(), "requests failed\n{self}");
    }

    /// Demands that nothing was answered by `old` later than `slack` after the first answer of `new`.
    #[track_caller]
    pub fn assert_switched(&self, old: &str, new: &str, slack: Duration) {
        let (first, _) = self.span(new).unwrap_or_else(|| panic!("`{new}` never answered\n{self}"));
        if let Some((_, last)) = self.span(old) {
            assert!(
                last <= first + slack,
                "`{old}` still answered {:?} after `{new}` began\n{self}",
                last.saturating_sub(first)
            );
        }
    }

    /// Demands that only this body ever came.
    #[track_caller]
    pub fn assert_only(&self, body: &str) {
        self.assert_no_failures();
        let other = self.samples.iter().find(|s| !matches!(&s.outcome, Outcome::Answered(b) if b == body));
        assert!(other.is_none(), "{other:?} came instead of `{body}`\n{self}");
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let failures = self.failures();
        let slowest = self.samples.iter().map(|sample| sample.took).max().unwrap_or_default();
        write!(
            f,
            "prober: {} requests, {} failed, slowest {slowest:.0?}",
            self.samples.len(),
            failures.len()
        )?;
        let mut bodies: BTreeMap<&str, (usize, Duration, Duration)> = BTreeMap::new();
        for sample in &self.samples {
            if let Outcome::Answered(body) = &sample.outcome {
                let entry = bodies.entry(body).or_insert((0, sample.sent, sample.sent));
                *entry = (entry.0 + 1, entry.1, sample.sent);
            }
        }
        for (body, (count, first, last)) in bodies.iter().take(30) {
            write!(f, "\n  `{body}` {count} times, from {first:.1?} to {last:.1?}")?;
        }
        for sample in failures.iter().take(10) {
            let connection = if sample.new_connection { "new" } else { "kept" };
            write!(
                f,
                "\n  failed at {:.2?} after {:.0?}, {connection} connection: {:?}",
                sample.sent, sample.took, sample.outcome
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// Answers v1, then refuses once, then v2.
    async fn serve(listener: TcpListener) {
        let answered = Arc::new(Mutex::new(0));
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let answered = answered.clone();
            tokio::spawn(async move {
                let mut buffer = [0; 1024];
                while stream.read(&mut buffer).await.is_ok_and(|read| read > 0) {
                    let number = {
                        let mut answered = answered.lock().unwrap();
                        *answered += 1;
                        *answered
                    };
                    let (status, body) = match number {
                        1..20 => ("200 OK", "v1"),
                        20 => ("503 Service Unavailable", "no"),
                        _ => ("200 OK", "v2"),
                    };
                    let text = format!("HTTP/1.1 {status}\r\ncontent-length: 2\r\n\r\n{body}");
                    if stream.write_all(text.as_bytes()).await.is_err() {
                        return;
                    }
                }
            });
        }
    }

    #[tokio::test]
    async fn each_failure_is_counted_and_each_version_dated() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(serve(listener));
        let target = Target { url: format!("http://app.localhost:{}/", address.port()), address, ca: None };
        let prober = Prober::start(&target, 100).unwrap();
        prober.until_answers("v2", Duration::from_secs(10)).await.unwrap();
        let report = tokio::task::spawn_blocking(|| prober.stop()).await.unwrap();
        server.abort();
        assert_eq!(report.failures().len(), 1, "{report}");
        assert_eq!(report.failures()[0].outcome, Outcome::Refused(503, "no".to_owned()));
        report.assert_switched("v1", "v2", Duration::from_secs(1));
        assert!(report.samples.iter().any(|sample| sample.new_connection));
    }

    #[tokio::test]
    async fn a_port_where_nobody_listens_is_a_failure_with_its_cause() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let prober =
            Prober::start(&Target { url: format!("http://{free}/"), address: free, ca: None }, 50).unwrap();
        tokio::time::sleep(Duration::from_millis(200)).await;
        let report = tokio::task::spawn_blocking(|| prober.stop()).await.unwrap();
        assert_eq!(report.failures().len(), report.samples.len());
        assert!(report.to_string().to_lowercase().contains("refused"), "{report}");
    }
}
