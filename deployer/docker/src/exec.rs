//! Commands inside instances, and the terminals of tasks.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bollard::container::LogOutput;
use bollard::exec::{CreateExecOptions, ResizeExecOptions, StartExecOptions, StartExecResults};
use bollard::query_parameters::{AttachContainerOptions, ResizeContainerTTYOptions};
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use panda_deployer::runtime::{
    EnvironmentKey, ExecRequest, ExecSession, ExecSize, LogStream, RuntimeError, RuntimeResult, TaskKey,
    TaskStatus,
};
use panda_domain::ids::InstanceId;
use tokio::sync::mpsc;

use crate::engine::translate;
use crate::labels;
use crate::runtime::Driver;

/// How often the end of a command is looked for once its output has ended.
const LOOK: Duration = Duration::from_millis(50);
/// How long after the end of a task its last output may take to arrive.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// A shell's exit code for a command that isn't there.
const NOT_FOUND: i64 = 127;
/// A shell's exit code for a command that can't be executed.
const NOT_EXECUTABLE: i64 = 126;
/// How many sizes may wait.
const SIZES: usize = 8;

type Output = BoxStream<'static, RuntimeResult<(LogStream, bytes::Bytes)>>;

impl Driver {
    /// Runs a command inside an instance.
    pub(crate) async fn exec(
        &self,
        environment: &EnvironmentKey,
        instance: &InstanceId,
        request: &ExecRequest,
    ) -> RuntimeResult<ExecSession> {
        let container = self.container_of(environment, instance).await?;
        let options = CreateExecOptions {
            attach_stdin: Some(true),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            tty: Some(request.tty),
            cmd: Some(request.command.clone()),
            ..CreateExecOptions::default()
        };
        let doing = format!("run a command in instance `{instance}`");
        let id = self.engine.call(&doing, self.engine.docker.create_exec(&container, options)).await?.id;
        let start = StartExecOptions { tty: request.tty, ..StartExecOptions::default() };
        let started = self.engine.call(&doing, self.engine.docker.start_exec(&id, Some(start))).await?;
        let StartExecResults::Attached { output, input } = started else {
            return Err(RuntimeError::Internal { doing, source: "the engine didn't attach".into() });
        };
        let resize = self.resizer(Terminal::Exec(id.clone()), request.size.filter(|_| request.tty));
        let driver = self.clone();
        let command = request.command.first().cloned().unwrap_or_default();
        let refused = Arc::new(OnceLock::new());
        Ok(ExecSession {
            input,
            output: in_our_words(streams(output), command, refused.clone()),
            resize,
            exit: Box::pin(async move {
                let code = driver.exec_exit(&id).await?;
                Ok(refused.get().copied().unwrap_or(code))
            }),
        })
    }

    /// Attaches to a task, what it printed before included.
    pub(crate) async fn attach_task(
        &self,
        key: &TaskKey,
        size: Option<ExecSize>,
    ) -> RuntimeResult<ExecSession> {
        let container = self.task_container(key).await?;
        let container =
            container.ok_or_else(|| RuntimeError::NotFound { what: format!("task `{}`", key.task) })?;
        // An ended task has nothing to stream: the engine would keep the line open for ever.
        let runs = self.task_status(key).await? == TaskStatus::Running;
        let options = AttachContainerOptions {
            detach_keys: None,
            logs: true,
            stream: runs,
            stdin: runs,
            stdout: true,
            stderr: true,
        };
        let call = self.engine.docker.attach_container(&container, Some(options));
        let attached = self.engine.call(format!("attach to task `{}`", key.task), call).await?;
        let resize = self.resizer(Terminal::Task(container), size);
        let exit = |driver: Self, key: TaskKey| async move { driver.task_exit(&key).await };
        let over = exit(self.clone(), key.clone());
        // One that ends between the look and the attachment leaves the line open too.
        let over = async move {
            let _ = over.await;
            tokio::time::sleep(LAST_WORDS).await;
        };
        Ok(ExecSession {
            input: attached.input,
            output: streams(attached.output).take_until(Box::pin(over)).boxed(),
            resize,
            exit: Box::pin(exit(self.clone(), key.clone())),
        })
    }

    async fn container_of(
        &self,
        environment: &EnvironmentKey,
        instance: &InstanceId,
    ) -> RuntimeResult<String> {
        let installation = &self.host.installation;
        let mut select = labels::select_environment(installation, environment, labels::KIND_INSTANCE);
        select.push(format!("{}={instance}", labels::INSTANCE));
        let found = self.listed(select).await?.into_iter().next();
        found
            .map(|one| one.container)
            .ok_or_else(|| RuntimeError::NotFound { what: format!("instance `{instance}`") })
    }

    async fn exec_exit(&self, id: &str) -> RuntimeResult<i64> {
        loop {
            let call = self.engine.docker.inspect_exec(id);
            let exec = self.engine.call("learn a command's exit code", call).await?;
            if exec.running != Some(true) {
                return Ok(exec.exit_code.unwrap_or(-1));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn task_exit(&self, key: &TaskKey) -> RuntimeResult<i64> {
        loop {
            match self.task_status(key).await? {
                TaskStatus::Ended { code, .. } => return Ok(code),
                TaskStatus::Absent => {
                    return Err(RuntimeError::NotFound { what: format!("task `{}`", key.task) });
                }
                TaskStatus::Running => tokio::time::sleep(LOOK).await,
            }
        }
    }

    /// Starts the task that passes sizes on; it ends when the session is dropped.
    fn resizer(&self, terminal: Terminal, first: Option<ExecSize>) -> mpsc::Sender<ExecSize> {
        let (sender, mut sizes) = mpsc::channel(SIZES);
        let driver = self.clone();
        self.tasks.spawn(async move {
            let mut next = first;
            loop {
                if let Some(size) = next
                    && let Err(error) = driver.resize_terminal(&terminal, size).await
                {
                    // A terminal of the wrong size is a nuisance, not a failure.
                    tracing::debug!(%error, "a terminal can't be resized");
                }
                next = tokio::select! {
                    () = driver.cancel.cancelled() => return,
                    size = sizes.recv() => match size {
                        Some(size) => Some(size),
                        None => return,
                    },
                };
            }
        });
        sender
    }

    async fn resize_terminal(&self, terminal: &Terminal, size: ExecSize) -> RuntimeResult<()> {
        let doing = "resize a terminal";
        match terminal {
            Terminal::Exec(id) => {
                let options = ResizeExecOptions { height: size.rows, width: size.columns };
                self.engine.call(doing, self.engine.docker.resize_exec(id, options)).await
            }
            Terminal::Task(container) => {
                let options = ResizeContainerTTYOptions { h: size.rows.into(), w: size.columns.into() };
                self.engine.call(doing, self.engine.docker.resize_container_tty(container, options)).await
            }
        }
    }
}

enum Terminal {
    Exec(String),
    Task(String),
}

/// A command that can't be started is told by the engine in the command's output, in the words of what runs containers.
/// Here it gets ours, on standard error, and the exit code that a shell gives.
fn in_our_words(output: Output, command: String, refused: Arc<OnceLock<i64>>) -> Output {
    let told = output.enumerate().map(move |(index, item)| {
        let (stream, bytes) = item?;
        match not_started(&bytes, &command).filter(|_| index == 0) {
            Some((code, text)) => {
                let _ = refused.set(code);
                Ok((LogStream::Err, text.into()))
            }
            None => Ok((stream, bytes)),
        }
    });
    told.boxed()
}

/// Reads why a command can't be started: its exit code and a line for people.
fn not_started(output: &[u8], command: &str) -> Option<(i64, String)> {
    let text = std::str::from_utf8(output).ok()?.strip_prefix("OCI runtime exec failed: ")?;
    Some(match told(text, command) {
        Some((code, words)) => (code, format!("{words}\n")),
        None => (NOT_EXECUTABLE, format!("`{}` can't be started: {}\n", shown(command), text.trim())),
    })
}

/// Turns what the engine says about a command that can't be started into a shell's exit code and words of ours; `None` when
/// it is about something else.
pub(crate) fn told(text: &str, command: &str) -> Option<(i64, String)> {
    let says = |words: &str| text.contains(words);
    if says("executable file not found") || (says("exec: \"") && says("no such file or directory")) {
        Some((NOT_FOUND, format!("`{}` isn't in the image", shown(command))))
    } else if says("exec: \"") && says("permission denied") {
        Some((NOT_EXECUTABLE, format!("`{}` may not be executed: permission denied", shown(command))))
    } else {
        None
    }
}

fn shown(command: &str) -> String {
    command.chars().take(120).flat_map(char::escape_debug).collect()
}

fn streams(
    output: impl futures_util::Stream<Item = Result<LogOutput, bollard::errors::Error>> + Send + 'static,
) -> Output {
    let bytes = output.map(|item| match item {
        Ok(LogOutput::StdErr { message }) => Ok((LogStream::Err, message)),
        Ok(output) => Ok((LogStream::Out, output.into_bytes())),
        Err(error) => Err(translate("read a command's output".to_owned(), error)),
    });
    bytes.boxed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_cant_be_started_is_told_in_our_words() {
        let told = |text: &str| not_started(text.as_bytes(), "foo");
        let start = "OCI runtime exec failed: exec failed: unable to start container process: exec: ";
        let absent = Some((127, "`foo` isn't in the image\n".to_owned()));
        assert_eq!(told(&format!("{start}\"foo\": executable file not found in $PATH: unknown\r\n")), absent);
        assert_eq!(told(&format!("{start}\"foo\": stat foo: no such file or directory: unknown")), absent);
        let forbidden = told(&format!("{start}\"foo\": permission denied: unknown")).unwrap();
        assert_eq!(forbidden.0, 126);
        assert!(told("OCI runtime exec failed: something new").unwrap().1.contains("something new"));
        assert_eq!(told("output of the command itself"), None);
    }
}
