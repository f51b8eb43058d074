//! Commands inside instances, and the terminals of tasks.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{SinkExt, StreamExt, stream};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use kube::ResourceExt;
use kube::api::{AttachParams, AttachedProcess, LogParams, TerminalSize};
use panda_deployer::runtime::{
    EnvironmentKey, ExecRequest, ExecSession, ExecSize, LogStream, RuntimeError, RuntimeResult, TaskKey,
    TaskStatus,
};
use panda_domain::ids::InstanceId;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, oneshot};
use tokio_util::io::ReaderStream;

use crate::objects::container;
use crate::runtime::Driver;
use crate::{pods, reasons};

/// Bytes that wait for a slow reader.
const BUFFER: usize = 64 << 10;
/// How many sizes may wait.
const SIZES: usize = 8;
/// How long a task may take to get a node, its image and its start before an attachment gives up.
const START: Duration = Duration::from_mins(2);
/// A shell's exit code for a command that can't be executed.
const NOT_EXECUTABLE: i64 = 126;

type Output = BoxStream<'static, RuntimeResult<(LogStream, Bytes)>>;
type Exit = Pin<Box<dyn Future<Output = RuntimeResult<i64>> + Send>>;

impl Driver {
    /// Runs a command inside an instance.
    pub(crate) async fn exec(
        &self,
        environment: &EnvironmentKey,
        instance: &InstanceId,
        request: &ExecRequest,
    ) -> RuntimeResult<ExecSession> {
        let pod = self.pod_of(environment, instance)?;
        let params = params(request.tty, true);
        let api = self.cluster.within::<Pod>(&pod.namespace().unwrap_or_default());
        let doing = format!("run a command in instance `{instance}`");
        let name = pod.name_any();
        let started = self.cluster.call(&doing, api.exec(&name, request.command.clone(), &params)).await?;
        let program = request.command.first().cloned().unwrap_or_default();
        Ok(session(self, started, program, request.size.filter(|_| request.tty)))
    }

    /// Attaches to a task, what it printed before included. Only a task with a terminal takes input.
    pub(crate) async fn attach_task(
        &self,
        key: &TaskKey,
        size: Option<ExecSize>,
    ) -> RuntimeResult<ExecSession> {
        let pod = self.started_task(key).await?;
        let (name, namespace) = (pod.name_any(), pod.namespace().unwrap_or_default());
        let api = self.cluster.within::<Pod>(&namespace);
        let tty = pods::spec(&pod).and_then(|spec| spec.tty) == Some(true);
        if !tty || pods::running_since(&pod).is_none() {
            return self.followed_task(key, &namespace, &name).await;
        }
        let doing = format!("attach to task `{}`", key.task);
        let before = LogParams { container: Some(container::NAME.to_owned()), ..LogParams::default() };
        let before = self.cluster.call(&doing, api.logs(&name, &before)).await?;
        let attached = self.cluster.call(&doing, api.attach(&name, &params(true, true))).await?;
        let mut session = session(self, attached, String::new(), size);
        let printed = stream::iter([Ok((LogStream::Out, Bytes::from(before)))]);
        session.output = printed.chain(session.output).boxed();
        session.exit = self.exit_of(key);
        Ok(session)
    }

    /// A task without a terminal is heard by its log, from its first line to its last.
    async fn followed_task(&self, key: &TaskKey, namespace: &str, pod: &str) -> RuntimeResult<ExecSession> {
        let api = self.cluster.within::<Pod>(namespace);
        let params =
            LogParams { container: Some(container::NAME.to_owned()), follow: true, ..LogParams::default() };
        let doing = format!("attach to task `{}`", key.task);
        let lines = self.cluster.call(&doing, api.log_stream(pod, &params)).await?;
        let output = ReaderStream::new(tokio_util::compat::FuturesAsyncReadCompatExt::compat(lines));
        let output = output.map(move |bytes| match bytes {
            Ok(bytes) => Ok((LogStream::Out, bytes)),
            Err(error) => Err(broken(error)),
        });
        let (resize, _) = mpsc::channel(SIZES);
        let input = Box::pin(tokio::io::sink());
        Ok(ExecSession { input, output: output.boxed(), resize, exit: self.exit_of(key) })
    }

    fn exit_of(&self, key: &TaskKey) -> Exit {
        let (driver, key) = (self.clone(), key.clone());
        Box::pin(async move {
            let mut ended = None;
            let mut look = || {
                ended = match driver.seen_task(&key) {
                    Ok(TaskStatus::Running) => None,
                    other => Some(other),
                };
                ended.is_some()
            };
            // A task always ends: it has a deadline of its own.
            while !driver.view.until(START, &mut look).await {}
            match ended {
                Some(Ok(TaskStatus::Ended { code, .. })) => Ok(code),
                Some(Err(error)) => Err(error),
                _ => Err(RuntimeError::NotFound { what: format!("task `{}`", key.task) }),
            }
        })
    }

    /// Waits until a task's process came about, or is known never to.
    async fn started_task(&self, key: &TaskKey) -> RuntimeResult<Arc<Pod>> {
        let mut found = None;
        let look = || {
            found = match self.seen_task(key) {
                Ok(TaskStatus::Absent) => {
                    Some(Err(RuntimeError::NotFound { what: format!("task `{}`", key.task) }))
                }
                Ok(_) => self.task_pod(key).filter(|pod| has_begun(pod)).map(Ok),
                Err(error) => Some(Err(error)),
            };
            found.is_some()
        };
        self.view.until(START, look).await;
        found.unwrap_or_else(|| {
            let source = Some(format!("it didn't start within {} s", START.as_secs()).into());
            Err(RuntimeError::Unavailable { doing: format!("attach to task `{}`", key.task), source })
        })
    }

    /// Returns the pod of an instance, one of another environment's is as unknown as any.
    fn pod_of(&self, environment: &EnvironmentKey, instance: &InstanceId) -> RuntimeResult<Arc<Pod>> {
        self.view.fresh()?;
        let namespaces = self.view.namespaces_of(environment).into_iter();
        let mut pods = namespaces.flat_map(|namespace| self.live_pods(&namespace));
        pods.find(|pod| pods::has_id(pod, instance))
            .ok_or_else(|| RuntimeError::NotFound { what: format!("instance `{instance}`") })
    }
}

fn has_begun(pod: &Pod) -> bool {
    pods::running_since(pod).is_some() || pods::last_end(pod).is_some()
}

fn params(tty: bool, stdin: bool) -> AttachParams {
    AttachParams {
        container: Some(container::NAME.to_owned()),
        stdin,
        stdout: true,
        // A terminal has one stream.
        stderr: !tty,
        tty,
        max_stdin_buf_size: Some(BUFFER),
        max_stdout_buf_size: Some(BUFFER),
        max_stderr_buf_size: Some(BUFFER),
    }
}

/// Makes a session of an attachment, which lives as long as its output is read.
fn session(
    driver: &Driver,
    mut attached: AttachedProcess,
    program: String,
    size: Option<ExecSize>,
) -> ExecSession {
    let input: Pin<Box<dyn AsyncWrite + Send>> = match attached.stdin() {
        Some(input) => Box::pin(input),
        None => Box::pin(tokio::io::sink()),
    };
    let resize = resizer(driver, &mut attached, size);
    let out = attached.stdout().map(|out| heard(out, LogStream::Out));
    let err = attached.stderr().map(|err| heard(err, LogStream::Err));
    let printed = stream::select(
        out.unwrap_or_else(|| stream::empty().boxed()),
        err.unwrap_or_else(|| stream::empty().boxed()),
    );
    let (told, ended) = oneshot::channel();
    let status = attached.take_status();
    let last = stream::once(async move {
        let ended = match status {
            Some(status) => status.await,
            None => None,
        };
        // Kept until here: dropping it would end the attachment.
        drop(attached);
        let (exit, words) = exit(ended, &program);
        let _ = told.send(exit);
        words
    });
    let last = last.filter_map(|words| async { words.map(|words| Ok((LogStream::Err, words.into()))) });
    let exit =
        Box::pin(async move { ended.await.unwrap_or_else(|_| Err(broken("the attachment was left"))) });
    ExecSession { input, output: printed.chain(last).boxed(), resize, exit }
}

/// Reads a command's end: its exit code, and words of ours when it couldn't be started.
fn exit(status: Option<Status>, program: &str) -> (RuntimeResult<i64>, Option<String>) {
    let Some(status) = status else { return (Err(broken("the connection to it was lost")), None) };
    if status.status.as_deref() == Some("Success") {
        return (Ok(0), None);
    }
    let causes = status.details.and_then(|details| details.causes).unwrap_or_default();
    let code = causes.iter().find(|cause| cause.reason.as_deref() == Some("ExitCode"));
    if let Some(code) = code.and_then(|cause| cause.message.as_deref()?.parse().ok()) {
        return (Ok(code), None);
    }
    let message = status.message.unwrap_or_default();
    match reasons::not_started(&message, program) {
        Some((code, words)) => (Ok(code), Some(format!("{words}\n"))),
        None => (Ok(NOT_EXECUTABLE), Some(format!("`{program}` can't be started: {message}\n"))),
    }
}

fn heard(from: impl AsyncRead + Send + 'static, as_stream: LogStream) -> Output {
    let bytes = ReaderStream::new(from);
    bytes.map(move |bytes| bytes.map(|bytes| (as_stream, bytes)).map_err(broken)).boxed()
}

/// Starts the task that passes sizes on; it ends when the session is dropped.
fn resizer(
    driver: &Driver,
    attached: &mut AttachedProcess,
    first: Option<ExecSize>,
) -> mpsc::Sender<ExecSize> {
    let (sender, mut sizes) = mpsc::channel(SIZES);
    let Some(mut terminal) = attached.terminal_size() else { return sender };
    driver.spawn(async move {
        let mut next = first;
        loop {
            if let Some(size) = next {
                let size = TerminalSize { width: size.columns, height: size.rows };
                if terminal.send(size).await.is_err() {
                    return;
                }
            }
            next = match sizes.recv().await {
                Some(size) => Some(size),
                None => return,
            };
        }
    });
    sender
}

fn broken(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> RuntimeError {
    RuntimeError::Unavailable { doing: "read a command's output".to_owned(), source: Some(error.into()) }
}
