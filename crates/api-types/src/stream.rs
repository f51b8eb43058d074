//! What streams carry, as server-sent events.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::deployment::Deployment;

/// A step of a deployment, for the tree that people watch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeployStep {
    /// Unique within the deployment; a repeated one replaces the earlier. `build`, `build/3`, `release`, `rollout/web`, …
    pub key: String,
    /// What people read.
    pub title: String,
    /// `running`, `done`, `cached`, `skipped`, `failed`.
    pub state: String,
    /// Milliseconds it took or has taken.
    pub elapsed_ms: u64,
    /// More, such as `2 of 3 ready`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// One event of `GET …/deployments/{id}/events`. The SSE `id` is the sequence number, the SSE `event` the kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum DeployEvent {
    /// The deployment's state changed.
    State {
        /// As it is now.
        deployment: Box<Deployment>,
    },
    /// A step began, went on or ended.
    Step {
        /// The step.
        step: DeployStep,
    },
    /// A line of the build log or of the release command.
    Log {
        /// The step's key.
        step: String,
        /// The line, control codes taken out but colours.
        line: String,
    },
    /// The stream is over: the deployment ended or is live.
    End {
        /// As it is now.
        deployment: Box<Deployment>,
    },
}

/// A log line of an app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LogLine {
    /// RFC 3339 with nanoseconds.
    pub at: String,
    /// The process.
    pub process: String,
    /// The instance; empty for tasks and builds.
    pub instance: String,
    /// `out` or `err`.
    pub stream: String,
    /// The line.
    pub line: String,
}

/// What happened, who did it, to what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EventView {
    /// Its number; rises.
    pub id: i64,
    /// When.
    pub at: String,
    /// `deployment.live`, `env.set`, `app.created`, …
    pub kind: String,
    /// Who.
    pub by: String,
    /// The app's name, if it concerns one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<String>,
    /// For people.
    pub text: String,
}
