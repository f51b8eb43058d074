//! Following: one owned task that reads every pod of the query, those that start later too, until nobody listens.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use jiff::Timestamp;
use panda_deployer::runtime::{LogChunk, LogQuery, LogTarget, RuntimeResult};
use tokio::sync::{broadcast, mpsc};
use tokio_stream::wrappers::ReceiverStream;

use super::{Lines, Source, Span};
use crate::runtime::Driver;

/// The pause before a pod whose log ended is read again, should it have started anew.
const AGAIN: Duration = Duration::from_secs(1);

type Sender = mpsc::Sender<RuntimeResult<LogChunk>>;

/// Starts following after the earlier lines.
pub(super) fn start(driver: Driver, query: LogQuery, earlier: Lines, buffer: usize) -> Lines {
    let (lines, stream) = mpsc::channel(buffer);
    driver.clone().spawn(async move {
        let closed = lines.clone();
        // Listening starts before the first look, so that no start falls in between.
        let hints = driver.view.signals.listen();
        tokio::select! {
            () = closed.closed() => {}
            () = Following::new(driver, query, lines).run(earlier, hints) => {}
        }
    });
    ReceiverStream::new(stream).boxed()
}

struct Following {
    driver: Driver,
    query: LogQuery,
    lines: Sender,
    began: Timestamp,
    /// Where each pod's lines went on to; what starts later is read from its beginning.
    reached: HashMap<String, Timestamp>,
    /// Pods that are read now.
    active: HashSet<String>,
}

impl Following {
    fn new(driver: Driver, query: LogQuery, lines: Sender) -> Self {
        let began = driver.config.clock.now();
        Self { driver, query, lines, began, reached: HashMap::new(), active: HashSet::new() }
    }

    async fn run(
        mut self,
        mut earlier: Lines,
        mut hints: broadcast::Receiver<panda_deployer::runtime::RuntimeEvent>,
    ) {
        let known: HashMap<_, _> = self
            .driver
            .sources(&self.query.target)
            .into_iter()
            .map(|source| (source.instance.clone(), source.pod))
            .collect();
        let mut newest = self.query.since;
        while let Some(line) = earlier.next().await {
            if let Ok(line) = &line {
                newest = newest.max(Some(line.at));
                if let Some(pod) = known.get(&line.instance) {
                    self.reached.insert(pod.clone(), line.at);
                }
            }
            if self.lines.send(line).await.is_err() {
                return;
            }
        }
        // What a `tail` left out of pods that were there must not come now.
        if self.query.tail.is_some() {
            let floor = if self.query.tail == Some(0) { newest.max(Some(self.began)) } else { newest };
            for pod in known.into_values() {
                if let Some(floor) = floor {
                    self.reached.entry(pod).or_insert(floor);
                }
            }
        }
        let mut reading = FuturesUnordered::new();
        loop {
            for source in self.driver.sources(&self.query.target).into_iter().filter(|s| !s.previous) {
                if self.active.insert(source.pod.clone()) {
                    let since = self.reached.get(&source.pod).copied().or(self.query.since);
                    reading.push(read(self.driver.clone(), source, since, self.lines.clone()));
                }
            }
            tokio::select! {
                Some((source, last)) = reading.next(), if !reading.is_empty() => {
                    // A task runs once: with its process its log is over.
                    if matches!(self.query.target, LogTarget::Task(_)) {
                        return;
                    }
                    if let Some(at) = last {
                        self.reached.insert(source.pod.clone(), at);
                    }
                    self.active.remove(&source.pod);
                }
                _ = hints.recv() => {}
            }
        }
    }
}

/// Reads a pod until its process ends; returns the time of the last line.
async fn read(
    driver: Driver,
    source: Source,
    since: Option<Timestamp>,
    lines: Sender,
) -> (Source, Option<Timestamp>) {
    let mut last = since;
    let mut stream = driver.read(&source, Span { since, tail: None, follow: true });
    // An error ends this reading; the next look starts another where it stopped.
    while let Some(Ok(line)) = stream.next().await {
        last = Some(line.at);
        if lines.send(Ok(line)).await.is_err() {
            break;
        }
    }
    tokio::time::sleep(AGAIN).await;
    (source, last)
}
