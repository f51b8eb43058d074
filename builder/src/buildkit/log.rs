//! Turns the daemon's status messages into build events and remembers what a failure needs.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use bollard_buildkit_proto::google::protobuf::Timestamp;
use bollard_buildkit_proto::moby::buildkit::v1::{StatusRequest, StatusResponse, Vertex, VertexLog};

use super::Buildkitd;
use crate::log::{BuildEvent, LineBuffer, LogLimits, LogSink, Mask, StepEnd, StepTiming};

/// How many of a step's last lines are kept for the failure.
const TAIL_LINES: usize = 50;
/// The daemon's second stream of a step.
const STDERR: i64 = 2;

/// The state of one build's log.
#[derive(Debug)]
pub(crate) struct Recorder {
    mask: Mask,
    limits: LogLimits,
    by_digest: HashMap<String, usize>,
    steps: Vec<Step>,
    /// When the first step that only this build can have began, by the daemon's clock.
    began_ms: Option<i64>,
    written_bytes: u64,
    dropped_lines: u64,
}

#[derive(Debug)]
struct Step {
    name: String,
    announced: bool,
    started_ms: i64,
    duration_ms: u64,
    end: Option<StepEnd>,
    completed: Option<Timestamp>,
    out: LineBuffer,
    err: LineBuffer,
    tail: VecDeque<String>,
}

/// What a failed build leaves behind.
#[derive(Debug, Default, Clone)]
pub(crate) struct Evidence {
    /// The step that failed, or the one that ran last.
    pub(crate) step: Option<String>,
    /// Its last lines.
    pub(crate) tail: Vec<String>,
}

impl Recorder {
    pub(crate) fn new(mask: Mask, limits: LogLimits) -> Self {
        Self {
            mask,
            limits,
            by_digest: HashMap::new(),
            steps: Vec::new(),
            began_ms: None,
            written_bytes: 0,
            dropped_lines: 0,
        }
    }

    /// Takes in one message and returns the events it stands for, in order.
    pub(crate) fn absorb(&mut self, message: StatusResponse) -> Vec<BuildEvent> {
        let mut events = Vec::new();
        let (ended, running): (Vec<Vertex>, Vec<Vertex>) =
            message.vertexes.into_iter().partition(|vertex| vertex.completed.is_some());
        for vertex in &running {
            self.start(vertex, &mut events);
        }
        // A step's last lines come in the same message as its end.
        for vertex in &ended {
            self.start(vertex, &mut events);
        }
        for log in message.logs {
            self.output(&log, &mut events);
        }
        for vertex in &ended {
            self.finish(vertex, &mut events);
        }
        events
    }

    /// Returns what is still to be said when the daemon has stopped talking.
    pub(crate) fn close(&mut self) -> Vec<BuildEvent> {
        let mut events = Vec::new();
        for place in 0..self.steps.len() {
            self.flush(place, 0, &mut events);
            let step = &mut self.steps[place];
            if step.announced && step.end.is_none() {
                step.end = Some(StepEnd::Canceled);
                events.push(BuildEvent::StepFinished {
                    step: number(place),
                    name: step.name.clone(),
                    end: StepEnd::Canceled,
                    duration_ms: step.duration_ms,
                });
            }
        }
        if self.dropped_lines > 0 {
            let text = format!(
                "the log reached its limit of {} MB; {} more lines were left out",
                self.limits.total_bytes >> 20,
                self.dropped_lines
            );
            events.push(BuildEvent::Notice { text });
        }
        events
    }

    /// Returns the steps that ran or were cached, in the order they appeared.
    pub(crate) fn timings(&self) -> Vec<StepTiming> {
        let ended = self.steps.iter().filter(|step| step.announced);
        ended
            .map(|step| StepTiming {
                name: step.name.clone(),
                duration_ms: step.duration_ms,
                cached: step.end == Some(StepEnd::Cached),
            })
            .collect()
    }

    /// Returns what is known about the step that failed, else about the one that runs.
    pub(crate) fn evidence(&self) -> Evidence {
        let failed = self.steps.iter().find(|step| matches!(step.end, Some(StepEnd::Failed { .. })));
        // Between two steps the last one tells most.
        let running = || {
            let mut begun = self.steps.iter().rev().filter(|step| step.announced);
            begun.clone().find(|step| step.end.is_none()).or_else(|| begun.next())
        };
        let Some(step) = failed.or_else(running) else { return Evidence::default() };
        Evidence { step: Some(step.name.clone()), tail: step.tail.iter().cloned().collect() }
    }

    /// Replaces secrets in any other text.
    pub(crate) fn mask(&self, text: &str) -> String {
        self.mask.apply(text)
    }

    fn place(&mut self, vertex: &Vertex) -> usize {
        if let Some(place) = self.by_digest.get(&vertex.digest) {
            return *place;
        }
        let step = Step {
            name: self.mask.apply(&vertex.name),
            announced: false,
            started_ms: 0,
            duration_ms: 0,
            end: None,
            completed: None,
            out: LineBuffer::default(),
            err: LineBuffer::default(),
            tail: VecDeque::new(),
        };
        self.steps.push(step);
        self.by_digest.insert(vertex.digest.clone(), self.steps.len() - 1);
        self.steps.len() - 1
    }

    fn start(&mut self, vertex: &Vertex, events: &mut Vec<BuildEvent>) {
        let place = self.place(vertex);
        let step = &mut self.steps[place];
        if step.announced || (vertex.started.is_none() && vertex.completed.is_none()) {
            return;
        }
        step.announced = true;
        step.started_ms = vertex.started.as_ref().map_or(0, epoch_ms);
        if self.began_ms.is_none() && step.name.starts_with("[internal] load build definition") {
            self.began_ms = Some(step.started_ms);
        }
        events.push(BuildEvent::StepStarted { step: number(place), name: step.name.clone() });
    }

    fn output(&mut self, log: &VertexLog, events: &mut Vec<BuildEvent>) {
        let Some(&place) = self.by_digest.get(&log.vertex) else { return };
        let stderr = log.stream == STDERR;
        let step = &mut self.steps[place];
        let buffer = if stderr { &mut step.err } else { &mut step.out };
        let lines = buffer.push(&log.msg, &self.mask);
        let at_ms = log.timestamp.as_ref().map_or(0, epoch_ms);
        for text in lines {
            self.line(place, stderr, at_ms, text, events);
        }
    }

    fn line(&mut self, place: usize, stderr: bool, at_ms: i64, text: String, events: &mut Vec<BuildEvent>) {
        let tail = &mut self.steps[place].tail;
        if tail.len() == TAIL_LINES {
            tail.pop_front();
        }
        tail.push_back(text.chars().take(500).collect());
        if self.written_bytes + text.len() as u64 > self.limits.total_bytes {
            self.dropped_lines += 1;
            return;
        }
        self.written_bytes += text.len() as u64 + 1;
        events.push(BuildEvent::Line { step: number(place), stderr, at_ms, text });
    }

    fn flush(&mut self, place: usize, at_ms: i64, events: &mut Vec<BuildEvent>) {
        let rest = [
            (false, self.steps[place].out.flush(&self.mask)),
            (true, self.steps[place].err.flush(&self.mask)),
        ];
        for (stderr, text) in rest {
            if let Some(text) = text {
                self.line(place, stderr, at_ms, text, events);
            }
        }
    }

    fn finish(&mut self, vertex: &Vertex, events: &mut Vec<BuildEvent>) {
        let place = self.place(vertex);
        let Some(completed) = &vertex.completed else { return };
        if self.steps[place].completed.as_ref() == Some(completed) {
            return;
        }
        self.flush(place, epoch_ms(completed), events);
        // The daemon hands on a step that another build has just done without calling it cached.
        let reused = self.began_ms.is_some_and(|began| epoch_ms(completed) < began);
        let end = match (vertex.error.as_str(), vertex.cached || reused) {
            ("", true) => StepEnd::Cached,
            ("", false) => StepEnd::Done,
            (error, _) if error.contains("context canceled") => StepEnd::Canceled,
            (error, _) => StepEnd::Failed { error: self.mask.apply(error) },
        };
        let step = &mut self.steps[place];
        let started = vertex.started.as_ref().map_or(step.started_ms, epoch_ms);
        step.duration_ms = u64::try_from(epoch_ms(completed) - started).unwrap_or(0);
        step.end = Some(end.clone());
        step.completed = Some(*completed);
        let (name, duration_ms) = (step.name.clone(), step.duration_ms);
        events.push(BuildEvent::StepFinished { step: number(place), name, end, duration_ms });
    }
}

fn number(place: usize) -> u32 {
    u32::try_from(place + 1).unwrap_or(u32::MAX)
}

fn epoch_ms(time: &Timestamp) -> i64 {
    time.seconds.saturating_mul(1000).saturating_add(i64::from(time.nanos) / 1_000_000)
}

/// A recorder that the following task and the build share.
#[derive(Clone)]
pub(crate) struct SharedRecorder(Arc<Mutex<Recorder>>);

impl SharedRecorder {
    pub(crate) fn new(recorder: Recorder) -> Self {
        Self(Arc::new(Mutex::new(recorder)))
    }

    /// Runs `work` on the recorder; never across an await.
    pub(crate) fn with<T>(&self, work: impl FnOnce(&mut Recorder) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Follows one build until the daemon ends the stream.
pub(crate) async fn follow(daemon: Buildkitd, reference: String, recorder: SharedRecorder, sink: LogSink) {
    let Ok(answer) = daemon.client().status(StatusRequest { r#ref: reference }).await else { return };
    let mut messages = answer.into_inner();
    while let Ok(Some(message)) = messages.message().await {
        send(&sink, recorder.with(|recorder| recorder.absorb(message))).await;
    }
}

/// Sends events to a receiver that may be gone.
pub(crate) async fn send(sink: &LogSink, events: Vec<BuildEvent>) {
    for event in events {
        if sink.send(event).await.is_err() {
            return;
        }
    }
}
