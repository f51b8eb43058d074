//! Writes down what a build says: for those who watch now, and in the kept log.

use std::path::Path;
use std::time::Duration;

use panda_domain::ids::{BuildId, DeploymentId};
use panda_jobs::JobContext;
use panda_store::StoreError;
use serde_json::{Value, json};
use tokio::fs::{File, OpenOptions};
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;

use crate::log::{BuildEvent, StepEnd, sanitize};
use crate::plan::BuildPlan;

/// Lines are written together that come within this time.
const GATHER: Duration = Duration::from_millis(100);
/// So many lines are written together at most.
const LINES_AT_ONCE: usize = 200;
/// Bytes of lines that watchers get; the file has all.
const WATCHED_BYTES: usize = 2 << 20;

/// Writes one build's log.
pub(super) struct Recorder<'a> {
    context: &'a JobContext,
    deployment: DeploymentId,
    file: Option<File>,
    lines: Vec<String>,
    step: u32,
    watched: usize,
}

impl<'a> Recorder<'a> {
    /// Opens the log. A log that was begun before a crash goes on after a mark. A log that can't be written never stops a build.
    pub(super) async fn open(
        context: &'a JobContext,
        deployment: &DeploymentId,
        logs: &Path,
        build: &BuildId,
    ) -> Self {
        let path = logs.join(format!("{build}.log"));
        let begun = tokio::fs::try_exists(&path).await.unwrap_or(false);
        let opened = OpenOptions::new().create(true).append(true).open(&path).await;
        let file = opened
            .inspect_err(
                |error| tracing::warn!(build.id = %build, %error, "the log of `{build}` can't be kept"),
            )
            .ok();
        let mut recorder =
            Self { context, deployment: deployment.clone(), file, lines: Vec::new(), step: 0, watched: 0 };
        if begun {
            recorder.keep("--- the server was started again; so is the build ---").await;
        }
        recorder
    }

    /// Tells how it will be built.
    pub(super) async fn planned(&mut self, plan: &BuildPlan) {
        let text = plan.to_string();
        for line in text.lines() {
            self.keep(line).await;
        }
        let detail = text.lines().next().unwrap_or_default().to_owned();
        self.show(
            "step",
            &json!({ "key": "plan", "title": "plan", "state": "done", "elapsed_ms": 0, "detail": detail }),
        )
        .await;
        for warning in &plan.warnings {
            self.show("log", &json!({ "step": "plan", "lines": [format!("warning: {warning}")] })).await;
        }
    }

    /// Writes events down until the build is over.
    pub(super) async fn follow(mut self, mut events: mpsc::Receiver<BuildEvent>) {
        loop {
            let event = if self.lines.is_empty() {
                events.recv().await
            } else {
                let Ok(event) = tokio::time::timeout(GATHER, events.recv()).await else {
                    self.flush().await;
                    continue;
                };
                event
            };
            let Some(event) = event else { break };
            self.take(event).await;
        }
        self.flush().await;
        if let Some(file) = &mut self.file {
            let _ = file.flush().await;
        }
    }

    async fn take(&mut self, event: BuildEvent) {
        match event {
            BuildEvent::Line { step, text, .. } => {
                if step != self.step || self.lines.len() >= LINES_AT_ONCE {
                    self.flush().await;
                    self.step = step;
                }
                self.keep(&text).await;
                self.lines.push(sanitize(&text));
            }
            BuildEvent::StepStarted { step, name } => {
                self.flush().await;
                self.keep(&format!("#{step} {name}")).await;
                self.show("step", &step_view(step, &name, "running", 0, None)).await;
            }
            BuildEvent::StepFinished { step, name, end, duration_ms } => {
                self.flush().await;
                let (word, detail) = match end {
                    StepEnd::Done => ("done", None),
                    StepEnd::Cached => ("cached", None),
                    StepEnd::Failed { error } => ("failed", Some(sanitize(&error))),
                    StepEnd::Canceled => ("failed", Some("canceled".to_owned())),
                };
                self.keep(&format!(
                    "#{step} {word} {:.1}s",
                    Duration::from_millis(duration_ms).as_secs_f64()
                ))
                .await;
                self.show("step", &step_view(step, &name, word, duration_ms, detail.as_deref())).await;
            }
            BuildEvent::Notice { text } => {
                self.keep(&text).await;
                self.lines.push(sanitize(&text));
            }
        }
    }

    async fn keep(&mut self, line: &str) {
        let Some(file) = &mut self.file else { return };
        if file.write_all(format!("{line}\n").as_bytes()).await.is_err() {
            // A full disk: the build goes on, its log doesn't.
            self.file = None;
        }
    }

    async fn flush(&mut self) {
        if self.lines.is_empty() {
            return;
        }
        let lines = std::mem::take(&mut self.lines);
        if self.watched > WATCHED_BYTES {
            return;
        }
        self.watched += lines.iter().map(String::len).sum::<usize>();
        let step = format!("build/{}", self.step);
        self.show("log", &json!({ "step": step, "lines": lines })).await;
        if self.watched > WATCHED_BYTES {
            let lines = ["the log is long: the whole of it is in `panda logs --build`"];
            self.show("log", &json!({ "step": step, "lines": lines })).await;
        }
    }

    async fn show(&self, kind: &str, body: &Value) {
        let write = async {
            let mut tx = self.context.begin().await?;
            tx.add_progress(&self.deployment, kind, body).await?;
            tx.wake();
            tx.commit().await
        };
        if let Err(error) = write.await {
            let error: StoreError = error;
            tracing::debug!(deployment.id = %self.deployment, %error, "a line of progress was lost");
        }
    }
}

fn step_view(step: u32, name: &str, state: &str, elapsed_ms: u64, detail: Option<&str>) -> Value {
    json!({ "key": format!("build/{step}"), "title": sanitize(name), "state": state, "elapsed_ms": elapsed_ms, "detail": detail })
}
