//! Logs: the engine's files of all instances of a placement, as one stream.

mod follow;
mod line;

use bollard::query_parameters::LogsOptions;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use panda_deployer::runtime::{LogChunk, LogQuery, LogTarget, RuntimeResult};
use panda_domain::ids::InstanceId;

use crate::engine::translate;
use crate::labels::{self, Identity};
use crate::runtime::Driver;

/// How many lines wait for a slow reader before the engine has to.
const BUFFER: usize = 256;

/// One container whose lines are wanted.
#[derive(Debug, Clone)]
struct Source {
    container: String,
    instance: Option<InstanceId>,
    process: String,
}

impl Driver {
    /// Streams the lines that a query asks for.
    pub(crate) async fn logs(
        &self,
        query: &LogQuery,
    ) -> RuntimeResult<BoxStream<'static, RuntimeResult<LogChunk>>> {
        // Listening starts before the first look, so that no start falls in between.
        let hints = self.instances.listen();
        let sources = self.sources(&query.target).await?;
        let earlier = match query.tail {
            None => self.all(&sources, query.since),
            Some(tail) => self.newest(&sources, query.since, tail as usize).await?,
        };
        if !query.follow {
            return Ok(earlier);
        }
        Ok(follow::start(self.clone(), query.clone(), earlier, hints, BUFFER))
    }

    /// Returns the containers that a query means, oldest first.
    async fn sources(&self, target: &LogTarget) -> RuntimeResult<Vec<Source>> {
        let (environment, placement, process, instance) = match target {
            LogTarget::Task(key) => {
                let container = self.task_container(key).await?;
                let source =
                    container.map(|container| Source { container, instance: None, process: String::new() });
                return Ok(source.into_iter().collect());
            }
            LogTarget::Placement { environment, placement, process, instance } => {
                (environment, placement, process, instance)
            }
        };
        let installation = &self.host.installation;
        let mut select = labels::select_environment(installation, environment, labels::KIND_INSTANCE);
        select.push(format!("{}={placement}", labels::PLACEMENT));
        let wanted = |identity: &Identity| {
            process.as_ref().is_none_or(|process| *process == identity.key.process)
                && instance.as_ref().is_none_or(|instance| *instance == identity.instance)
        };
        let listed = self.listed(select).await?.into_iter().filter(|one| wanted(&one.identity));
        let sources = listed.map(|one| Source {
            container: one.container,
            process: one.identity.key.process.to_string(),
            instance: Some(one.identity.instance),
        });
        Ok(sources.collect())
    }

    /// Streams everything, container after container.
    fn all(
        &self,
        sources: &[Source],
        since: Option<Timestamp>,
    ) -> BoxStream<'static, RuntimeResult<LogChunk>> {
        let streams: Vec<_> = sources.iter().map(|source| self.read(source, since, None, false)).collect();
        stream::iter(streams).flatten().boxed()
    }

    /// Returns the newest lines of all containers together.
    async fn newest(
        &self,
        sources: &[Source],
        since: Option<Timestamp>,
        tail: usize,
    ) -> RuntimeResult<BoxStream<'static, RuntimeResult<LogChunk>>> {
        let mut lines = Vec::new();
        for source in sources {
            let read = self.read(source, since, Some(tail), false);
            lines.extend(read.try_collect::<Vec<_>>().await?);
        }
        // Stable: lines of one container stay in order.
        lines.sort_by_key(|line| line.at);
        let skip = lines.len().saturating_sub(tail);
        Ok(stream::iter(lines.into_iter().skip(skip).map(Ok)).boxed())
    }

    /// Reads one container's lines. The engine counts `since` in seconds; the rest is left out here.
    fn read(
        &self,
        source: &Source,
        since: Option<Timestamp>,
        tail: Option<usize>,
        follow: bool,
    ) -> BoxStream<'static, RuntimeResult<LogChunk>> {
        let options = LogsOptions {
            follow,
            stdout: true,
            stderr: true,
            since: since.and_then(|at| i32::try_from(at.as_second()).ok()).unwrap_or(0),
            until: 0,
            timestamps: true,
            tail: tail.map_or_else(|| "all".to_owned(), |n| n.to_string()),
        };
        let output = self.engine.docker.logs(&source.container, Some(options));
        let (source, doing) = (source.clone(), "read a container's log");
        let lines = output.map_err(move |error| translate(doing.to_owned(), error));
        lines
            .try_filter_map(move |output| {
                let line = line::read(&source, output).filter(|line| since.is_none_or(|at| line.at > at));
                async move { Ok(line) }
            })
            .boxed()
    }
}
