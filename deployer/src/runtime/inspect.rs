//! Looking inside: capabilities, checks, logs, exec, usage.

use std::pin::Pin;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use jiff::Timestamp;
use panda_domain::ids::{InstanceId, PlacementId};
use panda_domain::names::ProcessName;
use tokio::io::AsyncWrite;
use tokio::sync::mpsc;

use super::RuntimeResult;
use super::tasks::TaskKey;
use super::workloads::{EnvironmentKey, WorkloadKey};

/// What this runtime can do; what it can't is refused when it is asked for, not when it fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each can be there without the others")]
pub struct Capabilities {
    /// `docker` or `kubernetes`.
    pub name: &'static str,
    /// Changes replicas by load.
    pub autoscale: bool,
    /// Holds requests while an app has no ready instance.
    pub request_holding: bool,
    /// Orders, serves and renews certificates for the hosts of [`super::RouteTable::orders`].
    pub orders_certificates: bool,
    /// Tells requests, latencies and statuses per app.
    pub http_metrics: bool,
}

/// How one of doctor's looks ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckState {
    /// As it should be.
    Ok,
    /// Works, but.
    Warning,
    /// Doesn't work.
    Failed,
}

/// One of doctor's looks at the runtime.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// What was looked at.
    pub name: String,
    /// How it ended.
    pub state: CheckState,
    /// What was seen.
    pub seen: String,
    /// What to do, empty when all is well.
    pub fix: String,
}

/// Whose logs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogTarget {
    /// All instances of a placement, or of one process, or one instance; earlier instances too while the runtime has them.
    Placement {
        /// Where.
        environment: EnvironmentKey,
        /// Which app there.
        placement: PlacementId,
        /// Only this process.
        process: Option<ProcessName>,
        /// Only this instance.
        instance: Option<InstanceId>,
    },
    /// One task.
    Task(TaskKey),
}

/// Which lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogQuery {
    /// Whose.
    pub target: LogTarget,
    /// Go on with new lines, of instances that start later too.
    pub follow: bool,
    /// Only lines after this.
    pub since: Option<Timestamp>,
    /// At most so many of the newest earlier lines.
    pub tail: Option<u32>,
}

/// Which of the two streams a line came by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogStream {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

/// One line of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogChunk {
    /// When the engine got it.
    pub at: Timestamp,
    /// From whom, `None` for a task.
    pub instance: Option<InstanceId>,
    /// Its process, empty for a task.
    pub process: String,
    /// By which stream.
    pub stream: LogStream,
    /// The line without its end; not necessarily UTF-8, control codes still in it.
    pub line: Bytes,
}

/// A command to run inside a running instance or to attach to a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecRequest {
    /// argv.
    pub command: Vec<String>,
    /// Whether it gets a terminal.
    pub tty: bool,
    /// The terminal's size.
    pub size: Option<ExecSize>,
}

/// Columns and rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExecSize {
    /// Columns.
    pub columns: u16,
    /// Rows.
    pub rows: u16,
}

/// A running exec: write input, read output, learn its exit code. Dropping it ends the attachment.
pub struct ExecSession {
    /// Its standard input.
    pub input: Pin<Box<dyn AsyncWrite + Send>>,
    /// What it prints; ends when the command has ended.
    pub output: BoxStream<'static, RuntimeResult<(LogStream, Bytes)>>,
    /// Takes new sizes of the terminal.
    pub resize: mpsc::Sender<ExecSize>,
    /// Gives the exit code, after the output has ended.
    pub exit: Pin<Box<dyn Future<Output = RuntimeResult<i64>> + Send>>,
}

/// What an instance uses now. A figure that the runtime can't tell is `None`, never invented.
#[derive(Debug, Clone, PartialEq)]
pub struct Usage {
    /// Whose.
    pub instance: InstanceId,
    /// Thousandths of a core, averaged since the last sample.
    pub cpu_millis: Option<u32>,
    /// Bytes.
    pub memory_bytes: Option<u64>,
    /// The limit, bytes.
    pub memory_limit_bytes: Option<u64>,
}

/// What the autoscaler of a workload sees and wants now. What it can't tell is `None`, never invented.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservedAutoscaler {
    /// Whose.
    pub key: WorkloadKey,
    /// How many instances it wants.
    pub wanted: Option<u32>,
    /// Thousandths of a core that each instance uses, on average.
    pub cpu_millis: Option<u32>,
    /// Bytes that each instance uses, on average.
    pub memory_bytes: Option<u64>,
    /// What keeps it from changing the number as the load says; words for people.
    pub trouble: Option<String>,
}

/// Looking inside.
#[async_trait]
pub trait Inspect: Send + Sync {
    /// Tells what this runtime can do.
    fn capabilities(&self) -> Capabilities;
    /// Looks for what doctor should tell.
    async fn check(&self) -> Vec<Check>;
    /// Streams log lines, oldest first within an instance.
    async fn logs(&self, query: &LogQuery) -> RuntimeResult<BoxStream<'static, RuntimeResult<LogChunk>>>;
    /// Runs a command inside an instance.
    async fn exec(
        &self,
        environment: &EnvironmentKey,
        instance: &InstanceId,
        request: &ExecRequest,
    ) -> RuntimeResult<ExecSession>;
    /// Attaches to a task's terminal and streams.
    async fn attach_task(&self, key: &TaskKey, size: Option<ExecSize>) -> RuntimeResult<ExecSession>;
    /// Tells what each running instance of the placement uses.
    async fn usage(&self, environment: &EnvironmentKey, placement: &PlacementId)
    -> RuntimeResult<Vec<Usage>>;
    /// Tells what the autoscalers of the placement see; none where the runtime has none.
    async fn autoscalers(
        &self,
        _environment: &EnvironmentKey,
        _placement: &PlacementId,
    ) -> RuntimeResult<Vec<ObservedAutoscaler>> {
        Ok(Vec::new())
    }
    /// Returns the generated objects of a placement as people may read them, secrets as holes: Docker's create
    /// requests as JSON, or Kubernetes' objects as YAML.
    async fn manifest(&self, environment: &EnvironmentKey, placement: &PlacementId) -> RuntimeResult<String>;
}
