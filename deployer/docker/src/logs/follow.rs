//! Following: one owned task that reads every container of the query, those that start later too, until nobody listens.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::{BoxStream, FuturesUnordered};
use jiff::Timestamp;
use panda_deployer::runtime::{LogChunk, LogQuery, LogTarget, RuntimeEvent, RuntimeResult};
use tokio::sync::{broadcast, mpsc};
use tokio_stream::wrappers::ReceiverStream;

use super::Source;
use crate::runtime::Driver;

/// A look at what runs, should a hint be lost; also the pause before a container that ended is read again.
const LOOK: Duration = Duration::from_secs(1);

type Lines = mpsc::Sender<RuntimeResult<LogChunk>>;

/// Starts following after the earlier lines.
pub(super) fn start(
    driver: Driver,
    query: LogQuery,
    earlier: BoxStream<'static, RuntimeResult<LogChunk>>,
    hints: broadcast::Receiver<RuntimeEvent>,
    buffer: usize,
) -> BoxStream<'static, RuntimeResult<LogChunk>> {
    let (lines, stream) = mpsc::channel(buffer);
    let tasks = driver.tasks.clone();
    tasks.spawn(async move {
        let (cancel, closed) = (driver.cancel.clone(), lines.clone());
        tokio::select! {
            () = cancel.cancelled() => {}
            () = closed.closed() => {}
            () = run(driver, query, earlier, hints, lines) => {}
        }
    });
    ReceiverStream::new(stream).boxed()
}

async fn run(
    driver: Driver,
    query: LogQuery,
    mut earlier: BoxStream<'static, RuntimeResult<LogChunk>>,
    mut hints: broadcast::Receiver<RuntimeEvent>,
    lines: Lines,
) {
    let began = driver.clock.now();
    // Where each instance's lines went on to; what starts later is read from its beginning.
    let mut reached: HashMap<String, Timestamp> = HashMap::new();
    let mut newest = query.since;
    while let Some(line) = earlier.next().await {
        if let Ok(line) = &line {
            newest = newest.max(Some(line.at));
            reached.insert(owner(line), line.at);
        }
        if lines.send(line).await.is_err() {
            return;
        }
    }
    let mut known: HashSet<String> = HashSet::new();
    let mut reading = FuturesUnordered::new();
    let mut active: HashSet<String> = HashSet::new();
    let mut first = true;
    loop {
        for source in driver.sources(&query.target).await.unwrap_or_default() {
            if !active.insert(source.container.clone()) {
                continue;
            }
            let new = known.insert(source.container.clone());
            // A container without earlier lines that a `tail` left out must not bring them now.
            let floor = if first && new {
                newest.filter(|_| query.tail.is_some()).or(query.since)
            } else {
                query.since
            };
            let since = reached.get(&of(&source)).copied().or(floor);
            let since = if first && query.tail == Some(0) { since.max(Some(began)) } else { since };
            reading.push(read(driver.clone(), source, since, lines.clone()));
        }
        first = false;
        tokio::select! {
            Some((source, last)) = reading.next(), if !reading.is_empty() => {
                // A task runs once: with its process its log is over.
                if matches!(query.target, LogTarget::Task(_)) {
                    return;
                }
                if let Some(at) = last {
                    reached.insert(of(&source), at);
                }
                tokio::time::sleep(LOOK).await;
                active.remove(&source.container);
            }
            _ = hints.recv() => {}
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

/// Reads a container until its process ends; returns the time of the last line.
async fn read(
    driver: Driver,
    source: Source,
    since: Option<Timestamp>,
    lines: Lines,
) -> (Source, Option<Timestamp>) {
    let mut last = since;
    let mut stream = driver.read(&source, since, None, true);
    // An error ends this reading; the next look starts another where it stopped.
    while let Some(Ok(line)) = stream.next().await {
        last = Some(line.at);
        if lines.send(Ok(line)).await.is_err() {
            break;
        }
    }
    (source, last)
}

fn of(source: &Source) -> String {
    source.instance.as_ref().map(ToString::to_string).unwrap_or_default()
}

fn owner(line: &LogChunk) -> String {
    line.instance.as_ref().map(ToString::to_string).unwrap_or_default()
}
