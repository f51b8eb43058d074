//! Tasks: one-off commands in a release.

use async_trait::async_trait;
use panda_domain::formation::Size;
use panda_domain::ids::{PlacementId, TaskId};
use panda_domain::names::AppName;

use super::RuntimeResult;
use super::workloads::{EnvironmentKey, FileSpec, ImageUser, PullImage, SecretEnv};

/// Names a task.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskKey {
    /// Where.
    pub environment: EnvironmentKey,
    /// Its id. The same id is the same task: starting it twice attaches.
    pub task: TaskId,
}

/// A task as it should run, once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskSpec {
    /// Its key.
    pub key: TaskKey,
    /// For whom.
    pub placement: PlacementId,
    /// The app's name.
    pub app: AppName,
    /// The image.
    pub image: PullImage,
    /// Who it runs as.
    pub user: ImageUser,
    /// argv.
    pub command: Vec<String>,
    /// Variables.
    pub env: SecretEnv,
    /// Files.
    pub files: Vec<FileSpec>,
    /// Its size.
    pub size: Size,
    /// Whether it gets a terminal and its input stays open: then exec-like attachment is possible.
    pub tty: bool,
    /// Seconds until it is killed.
    pub timeout_s: u32,
}

/// What a task does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TaskStatus {
    /// Not there.
    Absent,
    /// Being started or running.
    Running,
    /// Ended by itself or killed.
    Ended {
        /// Exit code; 128 + n for signal n.
        code: i64,
        /// Killed for its memory.
        oom: bool,
        /// Killed at its time-out.
        timed_out: bool,
    },
}

/// Tasks.
#[async_trait]
pub trait Tasks: Send + Sync {
    /// Starts the task unless it was started before under this id, even if it has ended.
    async fn start_task(&self, spec: &TaskSpec) -> RuntimeResult<()>;
    /// Tells what it does. Kills it when its time is over.
    async fn task_status(&self, key: &TaskKey) -> RuntimeResult<TaskStatus>;
    /// Kills it; ended or absent is fine. Its status and logs stay until removed.
    async fn cancel_task(&self, key: &TaskKey) -> RuntimeResult<()>;
    /// Forgets it with its logs. Absent is fine.
    async fn remove_task(&self, key: &TaskKey) -> RuntimeResult<()>;
}
