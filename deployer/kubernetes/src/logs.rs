//! Logs: the nodes' files of all instances of a placement, as one stream. Nodes keep the two streams of a process in one, so
//! that every line is told as standard output.

mod follow;
mod line;

use std::sync::Arc;

use futures_util::stream::BoxStream;
use futures_util::{AsyncBufReadExt, StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::LogParams;
use panda_deployer::runtime::{LogChunk, LogQuery, LogTarget, RuntimeError, RuntimeResult};
use panda_domain::ids::InstanceId;

use crate::objects::container;
use crate::pods;
use crate::runtime::Driver;

/// How many lines wait for a slow reader before the node has to.
const BUFFER: usize = 256;

type Lines = BoxStream<'static, RuntimeResult<LogChunk>>;

/// One run of one container whose lines are wanted.
#[derive(Debug, Clone)]
struct Source {
    namespace: String,
    pod: String,
    instance: Option<InstanceId>,
    process: String,
    /// Whether it is the run before the one that the node calls the present one.
    previous: bool,
}

/// Which lines of a source.
#[derive(Debug, Clone, Copy, Default)]
struct Span {
    since: Option<Timestamp>,
    tail: Option<usize>,
    follow: bool,
}

impl Driver {
    /// Streams the lines that a query asks for.
    pub(crate) async fn logs(&self, query: &LogQuery) -> RuntimeResult<Lines> {
        self.view.fresh()?;
        let sources = self.sources(&query.target);
        let earlier = match query.tail {
            None => self.all(&sources, query.since),
            Some(tail) => self.newest(&sources, query.since, tail as usize).await?,
        };
        if !query.follow {
            return Ok(earlier);
        }
        Ok(follow::start(self.clone(), query.clone(), earlier, BUFFER))
    }

    /// Returns the runs that a query means, oldest first.
    fn sources(&self, target: &LogTarget) -> Vec<Source> {
        let pods = self.pods_meant(target).into_iter();
        pods.flat_map(|(instance, process, pod)| runs(&pod, instance, &process)).collect()
    }

    fn pods_meant(&self, target: &LogTarget) -> Vec<(Option<InstanceId>, String, Arc<Pod>)> {
        match target {
            LogTarget::Task(key) => {
                self.task_pod(key).map(|pod| (None, String::new(), pod)).into_iter().collect()
            }
            LogTarget::Placement { environment, placement, process, instance } => {
                let all = self.pods_of(environment, placement).into_iter();
                let wanted = all.filter(|(key, pod)| {
                    process.as_ref().is_none_or(|process| *process == key.process)
                        && instance.as_ref().is_none_or(|instance| pods::has_id(pod, instance))
                });
                wanted.map(|(key, pod)| (pods::id(&pod), key.process.to_string(), pod)).collect()
            }
        }
    }

    /// Streams everything, run after run.
    fn all(&self, sources: &[Source], since: Option<Timestamp>) -> Lines {
        let span = Span { since, ..Span::default() };
        let streams: Vec<_> = sources.iter().map(|source| self.read(source, span)).collect();
        stream::iter(streams).flatten().boxed()
    }

    /// Returns the newest lines of all runs together.
    async fn newest(
        &self,
        sources: &[Source],
        since: Option<Timestamp>,
        tail: usize,
    ) -> RuntimeResult<Lines> {
        let span = Span { since, tail: Some(tail), follow: false };
        let mut lines = Vec::new();
        for source in sources {
            lines.extend(self.read(source, span).try_collect::<Vec<_>>().await?);
        }
        // Stable: lines of one run stay in order.
        lines.sort_by_key(|line| line.at);
        let skip = lines.len().saturating_sub(tail);
        Ok(stream::iter(lines.into_iter().skip(skip).map(Ok)).boxed())
    }

    /// Reads one run's lines. The node counts `since` in seconds; the rest is left out here.
    fn read(&self, source: &Source, span: Span) -> Lines {
        let (driver, source) = (self.clone(), source.clone());
        let params = LogParams {
            container: Some(container::NAME.to_owned()),
            follow: span.follow,
            previous: source.previous,
            since_time: span.since,
            tail_lines: span.tail.and_then(|tail| i64::try_from(tail).ok()),
            timestamps: true,
            ..LogParams::default()
        };
        let opened = async move {
            let api = driver.cluster.within::<Pod>(&source.namespace);
            let doing = format!("read the log of pod `{}`", source.pod);
            let opened = driver.cluster.call(&doing, api.log_stream(&source.pod, &params)).await;
            match opened {
                Ok(lines) => Ok(of(source, lines, span.since, doing)),
                // Gone meanwhile, or its container isn't there yet: it has no lines.
                Err(RuntimeError::NotFound { .. } | RuntimeError::Rejected { .. }) => {
                    Ok(stream::empty().boxed())
                }
                Err(error) => Err(error),
            }
        };
        stream::once(opened).try_flatten().boxed()
    }
}

/// The runs of a pod whose lines its node still has.
fn runs(pod: &Pod, instance: Option<InstanceId>, process: &str) -> Vec<Source> {
    let Some(status) = pods::status(pod) else { return Vec::new() };
    let state = status.state.clone().unwrap_or_default();
    let ended_before = status.last_state.as_ref().is_some_and(|last| last.terminated.is_some());
    let present = Source {
        namespace: pod.namespace().unwrap_or_default(),
        pod: pod.name_any(),
        instance,
        process: process.to_owned(),
        previous: false,
    };
    if state.waiting.is_some() {
        // While it waits for its next start, the node takes the last run for the present one.
        return if ended_before { vec![present] } else { Vec::new() };
    }
    let before = Source { previous: true, ..present.clone() };
    if ended_before { vec![before, present] } else { vec![present] }
}

fn of(
    source: Source,
    lines: impl futures_util::AsyncBufRead + Send + 'static,
    since: Option<Timestamp>,
    doing: String,
) -> Lines {
    let lines = Box::pin(lines);
    let read = stream::try_unfold(lines, move |mut lines| {
        let doing = doing.clone();
        async move {
            let mut line = Vec::new();
            match lines.read_until(b'\n', &mut line).await {
                Ok(0) => Ok(None),
                Ok(_) => Ok(Some((line, lines))),
                Err(error) => Err(RuntimeError::Unavailable { doing, source: Some(Box::new(error)) }),
            }
        }
    });
    read.try_filter_map(move |line| {
        let line = line::read(&source, line).filter(|line| since.is_none_or(|at| line.at > at));
        async move { Ok(line) }
    })
    .boxed()
}
