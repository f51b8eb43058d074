//! The one place where tests start processes: to their end, or as daemons that end with their handle.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process};

/// A program with its arguments and surroundings. Its environment is empty but for `PATH` and what is given.
#[derive(Debug, Clone)]
pub struct Program {
    path: PathBuf,
    arguments: Vec<OsString>,
    environment: BTreeMap<OsString, OsString>,
    folder: Option<PathBuf>,
}

/// How a program ended and what it said.
#[derive(Debug, Clone)]
pub struct Finished {
    /// The exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// A program that runs until it is stopped; ended by SIGKILL when the handle goes.
#[derive(Debug)]
pub struct Daemon {
    name: String,
    log: PathBuf,
    child: Mutex<Child>,
}

impl Program {
    /// Names the program: a path, or a name that `PATH` finds.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        let environment = std::env::var_os("PATH").map(|path| ("PATH".into(), path)).into_iter().collect();
        Self { path: path.into(), arguments: Vec::new(), environment, folder: None }
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: Into<OsString>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Sets a variable.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.environment.insert(name.into(), value.into());
        self
    }

    /// Passes the whole environment of the tests on; what is set here wins.
    #[must_use]
    pub fn with_own_environment(mut self) -> Self {
        for (name, value) in std::env::vars_os() {
            self.environment.entry(name).or_insert(value);
        }
        self
    }

    /// Sets the working directory.
    #[must_use]
    pub fn in_folder(mut self, folder: impl Into<PathBuf>) -> Self {
        self.folder = Some(folder.into());
        self
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one module of the tests that starts processes"
    )]
    fn command(&self) -> std::process::Command {
        let mut command = std::process::Command::new(&self.path);
        command.args(&self.arguments).env_clear().envs(&self.environment).stdin(Stdio::null());
        if let Some(folder) = &self.folder {
            command.current_dir(folder);
        }
        command
    }

    /// Runs it to its end; kills it at the deadline.
    pub async fn run(&self, deadline: Duration) -> anyhow::Result<Finished> {
        let mut command = tokio::process::Command::from(self.command());
        command.kill_on_drop(true).stdout(Stdio::piped()).stderr(Stdio::piped());
        let output = tokio::time::timeout(deadline, command.output())
            .await
            .with_context(|| {
                format!("`{}` {:?} didn't end within {deadline:?}", self.path.display(), self.arguments)
            })?
            .with_context(|| format!("starting `{}`", self.path.display()))?;
        Ok(Finished::from(output))
    }

    /// Runs it to its end and blocks, for `Drop` and for places without a runtime.
    pub fn run_blocking(&self) -> anyhow::Result<Finished> {
        let output =
            self.command().output().with_context(|| format!("starting `{}`", self.path.display()))?;
        Ok(Finished::from(output))
    }

    /// Runs it blocking and returns its output; anything but exit 0 is an error with what it said.
    pub fn output(&self) -> anyhow::Result<String> {
        let done = self.run_blocking()?;
        if done.code != Some(0) {
            bail!(
                "`{}` {:?} exited with {:?}: {}",
                self.path.display(),
                self.arguments,
                done.code,
                done.stderr.trim()
            );
        }
        Ok(done.stdout)
    }

    /// Starts it; its output is appended to the file `log`.
    pub fn start(&self, name: &str, log: &Path) -> anyhow::Result<Daemon> {
        let out = File::options().create(true).append(true).open(log)?;
        let child = self
            .command()
            .stdout(out.try_clone()?)
            .stderr(out)
            .spawn()
            .with_context(|| format!("starting `{}`", self.path.display()))?;
        Ok(Daemon { name: name.to_owned(), log: log.to_owned(), child: Mutex::new(child) })
    }
}

impl From<std::process::Output> for Finished {
    fn from(output: std::process::Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) }
    }
}

impl Daemon {
    /// Returns its process id.
    pub fn pid(&self) -> u32 {
        self.child.lock().unwrap_or_else(PoisonError::into_inner).id()
    }

    /// Returns how it ended, if it did.
    pub fn ended(&self) -> Option<ExitStatus> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner).try_wait().ok().flatten()
    }

    /// Returns what it has written so far.
    pub fn log(&self) -> String {
        fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// Sends SIGKILL and waits for the end.
    pub fn kill9(&self) {
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = child.kill();
        let _ = child.wait();
    }

    /// Sends SIGTERM and waits; an end later than the deadline is an error.
    pub async fn terminate(&self, deadline: Duration) -> anyhow::Result<ExitStatus> {
        if let Some(pid) = Pid::from_raw(i32::try_from(self.pid())?)
            && self.ended().is_none()
        {
            kill_process(pid, Signal::TERM)?;
        }
        let begun = Instant::now();
        loop {
            if let Some(status) = self.ended() {
                return Ok(status);
            }
            if begun.elapsed() > deadline {
                bail!("{} still runs {deadline:?} after SIGTERM", self.name);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill9();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_program_that_overstays_is_killed_and_named() {
        let error = Program::new("sleep").args(["60"]).run(Duration::from_millis(50)).await.unwrap_err();
        assert!(error.to_string().contains("sleep"), "{error}");
    }

    #[tokio::test]
    async fn a_program_sees_only_the_environment_that_it_was_given() {
        let done = Program::new("env").env("GIVEN", "1").run(Duration::from_secs(10)).await.unwrap();
        let mut names: Vec<_> = done.stdout.lines().filter_map(|line| line.split('=').next()).collect();
        names.sort_unstable();
        assert_eq!(names, ["GIVEN", "PATH"]);
    }
}
